"""The program under Pulumi's real engine: what it plans is what it does, and what it must refuse it refuses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
from pulumi.automation import CommandError, ConfigValue
from pulumi_kubernetes.core.v1 import PersistentVolumeClaim

from cacheclient.contract import APP_NAME
from infra import credentials, node_sets
from infra.render import render
from tests.engine.provider import Memory, identity
from tests.engine.session import Session, Step

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def changes(steps: list[Step]) -> list[tuple[str, str]]:
    """What is not left as it is, by operation and logical name, the way there included."""
    return [(step.operation, step.name.rpartition(":")[2]) for step in steps if step.operation != "same"]


def objects(session: Session) -> dict[str, dict[str, Any]]:
    """What the "cluster" holds."""
    backend = session.provider.backend
    assert isinstance(backend, Memory)
    return dict(backend.objects)


def stack_urn(stack: str) -> str:
    return f"urn:pulumi:{stack}::{APP_NAME}::pulumi:pulumi:Stack::{APP_NAME}-{stack}"


def renamed(*, aliases: bool) -> Callable[..., PersistentVolumeClaim]:
    """Volume claims under other logical names, with or without the old names as aliases."""

    def make(name: str, *, opts: pulumi.ResourceOptions, **properties: Any) -> PersistentVolumeClaim:
        old = pulumi.ResourceOptions(aliases=[pulumi.Alias(name=name)] if aliases else [])
        return PersistentVolumeClaim(f"volume-{name}", opts=pulumi.ResourceOptions.merge(opts, old), **properties)

    return make


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_an_update_does_exactly_what_its_preview_showed(open_session: Callable[[str], Session], stack: str) -> None:
    session = open_session(stack)
    planned, done = session.preview(), session.up()
    assert {step.operation for step in planned} == {"create"}
    assert sorted(map(repr, planned)) == sorted(map(repr, done))
    rendered = render(stack)
    assert sorted(step.urn for step in done) == sorted([r.urn for r in rendered.registrations] + [stack_urn(stack)])
    assert objects(session) == {identity(m): m for m in rendered.manifests.values()}  # the same as from `make render`


def test_a_second_update_changes_nothing(dev: Session) -> None:
    assert {step.operation for step in dev.up()} == {"same"}
    assert dev.provider.calls == []


def test_an_edited_setting_makes_new_files_then_rolls_the_pods_then_removes_the_old_files(dev: Session) -> None:
    before = objects(dev)["StatefulSet cache-dev/redis"]
    dev.set("redis.maxClients", 1999)
    planned = dev.preview()
    assert dict(Counter(changes(planned))) == dict(Counter(changes(dev.up())))
    assert [(operation, urn.rpartition(":")[2]) for operation, urn in dev.provider.calls] == [
        ("create", "redis-files"),
        ("update", "redis"),
        ("delete", "redis-files"),
    ]
    after = objects(dev)["StatefulSet cache-dev/redis"]
    assert before["spec"]["template"] != after["spec"]["template"]  # the pods roll ...
    assert after["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    unrolled = {key: value for key, value in after["spec"].items() if key != "template"}
    assert unrolled == {key: value for key, value in before["spec"].items() if key != "template"}


def test_larger_volumes_change_the_claims_in_place(dev: Session) -> None:
    dev.set("redis.storage", "3Gi")
    assert Counter(changes(dev.up())) == {("update", f"data-redis-{n}"): 1 for n in range(3)}


def test_nothing_that_holds_data_is_ever_replaced_by_an_edit(dev: Session) -> None:
    edits = {"redis.memory": "384Mi", "sentinel.downAfterSeconds": 10, "redis.cpuLimit": "1", "spread": "hard"}
    for path, value in edits.items():
        dev.set(path, value)
    replaced = {step.name.rpartition("$")[2] for step in dev.preview() if "replace" in step.operation}
    assert replaced == {f"kubernetes:core/v1:ConfigMap::{name}-files" for name in ("redis", "sentinel")}


def test_a_renamed_volume_is_refused_in_production(prod: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    before = objects(prod)
    monkeypatch.setattr(node_sets, "PersistentVolumeClaim", renamed(aliases=False))
    with pytest.raises(CommandError, match=r"data-(redis|sentinel)-\d\S* cannot be deleted\n.*protected"):
        prod.preview()
    assert objects(prod) == before


def test_a_renamed_volume_with_its_old_name_as_alias_changes_nothing(
    prod: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_sets, "PersistentVolumeClaim", renamed(aliases=True))
    steps = prod.preview()
    assert changes(steps) == []
    assert len([step for step in steps if "volume-data-" in step.name]) == 6


def test_production_keeps_its_volumes_when_it_is_made_smaller(prod: Session) -> None:
    prod.set("redis.replicas", 2)
    with pytest.raises(CommandError, match="protected"):
        prod.up()
    assert "PersistentVolumeClaim cache-prod/data-redis-2" in objects(prod)


def test_production_cannot_be_destroyed_not_even_in_part(prod: Session) -> None:
    before = objects(prod)
    with pytest.raises(CommandError, match="protected"):
        prod.destroy()
    assert objects(prod) == before
    assert prod.provider.calls == []


def test_dev_is_destroyed_without_a_rest(open_session: Callable[[str], Session]) -> None:
    session = open_session("dev")
    session.up()
    assert len(objects(session)) > 20
    session.destroy()
    assert objects(session) == {}


def test_a_bad_stack_file_is_refused_with_all_its_faults_before_anything_is_registered(dev: Session) -> None:
    before = objects(dev)
    for path, value in {
        "redis.memroy": "1Gi",
        "sentinel.quorum": 7,
        "redis.storage": "x",
        "namespace": "Cache",
    }.items():
        dev.set(path, value)
    for run in (dev.preview, dev.up):
        with pytest.raises(CommandError) as caught:
            run()
        message = str(caught.value)
        assert "redis.memroy: unknown key; did you mean memory?" in message
        assert "redis.storage: 'x' is not allowed" in message
        assert "namespace: 'Cache' is not allowed" in message
        assert "Traceback" not in message
    assert (dev.provider.checked, dev.provider.calls) == ([], [])
    assert objects(dev) == before


def test_the_cli_itself_refuses_a_value_of_another_type(dev: Session) -> None:
    dev.set("protect", "perhaps")
    with pytest.raises(CommandError, match="configuration key 'protect' must be of type 'boolean'"):
        dev.preview()
    assert dev.provider.checked == []


def test_passwords_of_a_stack_are_encrypted_in_its_state_and_in_the_clear_in_its_secret_only(dev: Session) -> None:
    made = credentials.generate()
    given = made.files()
    dev.stack.set_config("passwords", ConfigValue(json.dumps(given), secret=True))
    assert changes(dev.up()) == [("create", "auth")]
    held = objects(dev)["Secret cache-dev/redis-auth"]["stringData"]
    assert {name: held[name] for name in given} == given
    elsewhere = [
        path.read_text(encoding="utf-8")
        for path in dev.folder.rglob("*")
        if path.is_file() and path.suffix in {".json", ".yaml"}
    ]
    assert len(elsewhere) > 2
    assert not [name for name, password in given.items() if any(password in text for text in elsewhere)]


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_secret_that_leaves_the_stack_stays_in_the_cluster_and_no_pod_is_touched(
    brought_up: Callable[[str], Session], stack: str
) -> None:
    session = brought_up(stack)
    made = credentials.generate()
    given = made.files()
    session.stack.set_config("passwords", ConfigValue(json.dumps(given), secret=True))
    session.up()
    before = objects(session)
    session.provider.forget()
    session.stack.remove_config("passwords")
    assert changes(session.up()) == [("delete", "auth")]  # from the state
    assert session.provider.calls == []
    assert objects(session) == before
    assert f"Secret cache-{stack}/redis-auth" in before


def test_applications_find_addresses_but_no_password_in_the_outputs(dev: Session) -> None:
    outputs = dev.stack.outputs()
    assert outputs["sentinelAddress"].value == "sentinel.cache-dev.svc:26379"
    assert not any(output.secret for output in outputs.values())
