"""``pulumi up`` by the real engine on a real cluster: it comes up, stays as it is, rolls one by one, and goes away."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import yaml
from pulumi.automation import ConfigValue

from cacheclient.contract import Component
from infra import credentials
from tests.e2e.cluster import Cluster, eventually, fewest_ready, kubectl, require_cluster, settings_of_this_cluster
from tests.engine.on_cluster import OnCluster
from tests.engine.session import Session, session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Record = Callable[[str, str, str], None]


@pytest.fixture
def up(tmp_path_factory: pytest.TempPathFactory, record: Record) -> Iterator[tuple[Session, Cluster]]:
    """The stack dev, brought up by the engine in a namespace of its own."""
    require_cluster()
    if shutil.which("pulumi") is None:
        pytest.skip("no pulumi on PATH")
    namespace = f"cache-e2e-{secrets.token_hex(3)}"
    with session("dev", tmp_path_factory.mktemp("up"), OnCluster()) as engine:
        for setting in (f"namespace={namespace}", *settings_of_this_cluster()):
            path, _, value = setting.partition("=")
            engine.set(path, yaml.safe_load(value))
        made = credentials.generate()
        passwords = made.files()
        engine.stack.set_config("passwords", ConfigValue(json.dumps(passwords), secret=True))
        try:
            began = time.monotonic()
            engine.up()
            record("pulumi up of dev until all pods are ready", "", f"{time.monotonic() - began:.0f} s")
            yield engine, Cluster("dev", namespace, (), engine.folder)
        finally:
            kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=180)


def test_the_engine_brings_the_set_up_keeps_it_rolls_it_and_takes_it_away(
    up: tuple[Session, Cluster], record: Record
) -> None:
    engine, cluster = up
    before = cluster.pods(Component.REDIS)
    assert all(is_ready(pod) for pod in [*before.values(), *cluster.pods(Component.SENTINEL).values()])

    engine.provider.forget()
    assert {step.operation for step in engine.up()} == {"same"}
    assert engine.provider.calls == []

    engine.set("redis.maxClients", 1999)
    with fewest_ready(cluster) as ready:
        engine.up()
    after = cluster.pods(Component.REDIS)
    assert not {p["metadata"]["uid"] for p in before.values()} & {p["metadata"]["uid"] for p in after.values()}
    record("pulumi up of an edited setting: fewest ready pods", "2", f"{min(ready)}")
    assert min(ready) == 2
    said = cluster.kubectl(
        "exec", "redis-0", "--container", "redis", "--", "sh", "-c", "grep ^maxclients /run/cachestack/*.conf"
    )
    assert "maxclients 1999" in said

    engine.destroy()
    eventually(partial(is_gone, cluster.namespace), "the namespace is gone", 120)


def is_ready(pod: dict[str, object]) -> bool:
    conditions = pod["status"]["conditions"]  # type: ignore[index]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_gone(namespace: str) -> bool:
    return kubectl("get", "namespace", namespace, "--ignore-not-found", "--output", "name") == ""
