from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra import quantities, stack_files
from infra.settings import Settings, SettingsError, parse
from infra.settings_schema import Passwords

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL: dict[str, Any] = {
    "context": "kind",
    "namespace": "cache-dev",
    "manageNamespace": True,
    "protect": False,
    "spread": "soft",
    "storageClass": "",
    "secretName": "redis-auth",
    "redis": {},
    "sentinel": {},
    "exporter": {},
    "backup": {},
    "warmup": {},
    "client": {},
    "api": {},
    "monitoring": {},
    "priority": {},
    "cost": {},
    "tls": {},
    "network": {},
    "application": {},
}


def faults(**changes: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        parse("dev", MINIMAL | changes)
    return caught.value.faults


def test_the_defaults_are_the_required_sizes_and_times() -> None:
    settings = parse("dev", MINIMAL)
    redis, sentinel = settings.redis, settings.sentinel
    assert (redis.replicas, redis.cpu_request, redis.memory, redis.storage, redis.save) == (
        3,
        "500m",
        "2Gi",
        "10Gi",
        ("60 1000",),
    )
    assert (sentinel.replicas, sentinel.quorum, sentinel.parallel_syncs) == (3, 2, 1)
    assert (sentinel.down_after_seconds, sentinel.failover_timeout_seconds) == (30, 180)


@pytest.mark.parametrize("stack", ["dev", "staging", "prod"])
def test_every_stack_file_of_the_repository_is_accepted(stack: str) -> None:
    assert parse(stack, stack_files.read(stack)).namespace == f"cache-{stack}"


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(AttributeError):
        parse("dev", MINIMAL).redis.memory = "1Gi"  # type: ignore[misc]


def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_key() -> None:
    assert faults(redis={"memroy": "1Gi"}) == ("redis.memroy: unknown key; did you mean memory?",)
    assert faults(sentinal={}) == ("sentinal: unknown key; did you mean sentinel?",)


def test_an_unknown_key_like_no_other_gets_the_list_of_keys() -> None:
    (fault,) = faults(network={"xyz": 1})
    assert fault == "network.xyz: unknown key; allowed: clientNamespaces, policies"


def test_a_missing_key_is_named_with_what_it_may_be() -> None:
    with pytest.raises(SettingsError) as caught:
        parse("dev", {key: value for key, value in MINIMAL.items() if key != "namespace"})
    (fault,) = caught.value.faults
    assert fault.startswith("namespace: missing; a Kubernetes name")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"redis": {"memory": "2 GB"}},
            "redis.memory: '2 GB' is not allowed; a whole number followed by Mi, Gi or Ti",
        ),
        ({"redis": {"replBacklog": "512Ki"}}, "redis.replBacklog: '512Ki' is not allowed; a whole number"),
        ({"redis": {"memory": 512}}, "redis.memory: 512 is not allowed"),
        ({"redis": {"image": "redis:latest"}}, "redis.image: 'redis:latest' is not allowed; an image with a fixed tag"),
        ({"redis": {"image": "redis"}}, "redis.image: 'redis' is not allowed"),
        ({"redis": {"cpuRequest": 1}}, "redis.cpuRequest: 1 is not allowed; CPU cores as a text"),
        ({"redis": {"replicas": 1}}, "redis.replicas: 1 is not allowed; a whole number, 2 to 9"),
        ({"redis": {"replicas": 3.5}}, "redis.replicas: 3.5 is not allowed"),
        ({"redis": {"replicas": True}}, "redis.replicas: True is not allowed"),
        ({"redis": {"save": ["60"]}}, "redis.save: ['60'] is not allowed; a list of \"SECONDS CHANGES\" pairs"),
        ({"redis": {"keyPatterns": []}}, "redis.keyPatterns: [] is not allowed"),
        ({"redis": {"keyPatterns": ["a b"]}}, "redis.keyPatterns: ['a b'] is not allowed"),
        ({"redis": ["memory"]}, "redis: ['memory'] is not allowed; a group of keys"),
        (
            {"sentinel": {"downAfterSeconds": 0}},
            "sentinel.downAfterSeconds: 0 is not allowed; whole seconds, 1 to 3600",
        ),
        ({"spread": "strict"}, "spread: 'strict' is not allowed; hard or soft"),
        ({"protect": "yes"}, "protect: 'yes' is not allowed; true or false"),
        ({"namespace": "Cache"}, "namespace: 'Cache' is not allowed; a Kubernetes name"),
        ({"monitoring": {"scrapeInterval": "1m"}}, "monitoring.scrapeInterval: '1m' is not allowed; 1s to 999s"),
        ({"tls": {"version": ""}}, "tls.version: '' is not allowed; a text of 1 to 63"),
        ({"tls": {"version": 1}}, "tls.version: 1 is not allowed; a text of 1 to 63"),
        ({"priority": {"value": -1}}, "priority.value: -1 is not allowed; a whole number, 0 to"),
        (
            {"monitoring": {"grafana": "grafana.example"}},
            "monitoring.grafana: 'grafana.example' is not allowed; an http",
        ),
        ({"network": {"clientNamespaces": "apps"}}, "network.clientNamespaces: 'apps' is not allowed; a list of"),
    ],
)
def test_an_impossible_value_is_refused_with_its_path_and_what_is_allowed(
    changes: dict[str, Any], expected: str
) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sentinel": {"quorum": 1}}, "sentinel.quorum: 1 of 3 Sentinels is not allowed; more than half"),
        ({"sentinel": {"quorum": 4}}, "sentinel.quorum: 4 of 3 Sentinels is not allowed; more than half"),
        ({"sentinel": {"replicas": 5}}, "sentinel.quorum: 2 of 5 Sentinels is not allowed; more than half"),
        ({"sentinel": {"replicas": 4, "quorum": 3}}, "sentinel.replicas: 4 is not allowed; odd"),
        (
            {"redis": {"minReplicasToWrite": 3}},
            "redis.minReplicasToWrite: 3 is not allowed; less than redis.replicas (3)",
        ),
        ({"sentinel": {"failoverTimeoutSeconds": 30}}, "sentinel.failoverTimeoutSeconds: 30 is not allowed; more than"),
        ({"redis": {"minReplicasMaxLagSeconds": 30}}, "redis.minReplicasMaxLagSeconds: 30 is not allowed; less than"),
        ({"redis": {"memory": "256Mi"}}, "redis.memory: 256Mi is not allowed; with it, 296Mi are needed"),
        ({"redis": {"replBacklog": "1Gi"}}, "redis.memory: 2Gi is not allowed; with it, 2654Mi are needed"),
        ({"redis": {"memory": "31Mi"}}, "redis.memory: 31Mi is not allowed; memory_limit is 32505856: at least"),
        ({"redis": {"storage": "3Gi"}}, "redis.storage: 3Gi is not allowed; at least 3687Mi, 3 times maxmemory"),
        ({"redis": {"cpuRequest": "2"}}, "redis.cpuRequest: 2 is not allowed; at most redis.cpuLimit (1)"),
        ({"priority": {"value": 5}}, "priority.className: '' is not allowed; priority.value (5) declares a class"),
        ({"priority": {"value": 5, "className": "system-x"}}, "priority.className: 'system-x' is not allowed"),
        ({"exporter": {"cpuLimit": "5m"}}, "exporter.cpuRequest: 10m is not allowed; at most exporter.cpuLimit (5m)"),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes: dict[str, Any], expected: str) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(expected)


def test_every_fault_is_reported_at_once() -> None:
    found = faults(spread="x", redis={"memory": "x", "replica": 3}, sentinel={"quorum": "two"}, unknown=1)
    assert [fault.split(":")[0] for fault in found] == [
        "unknown",
        "spread",
        "redis.replica",
        "redis.memory",
        "sentinel.quorum",
    ]


def test_every_contradiction_is_reported_at_once() -> None:
    assert len(faults(redis={"minReplicasToWrite": 5, "cpuLimit": "100m"}, sentinel={"quorum": 1})) == 3


def test_an_impossible_stack_name_is_refused() -> None:
    with pytest.raises(SettingsError, match="stack name 'Dev'"):
        parse("Dev", MINIMAL)


PASSWORDS = {
    name: f"{name}-0123456789abcdef"
    for name in ("app", "repl", "sentinel", "exporter", "backup", "ops", "admin", "sentinel-auth")
}


def test_no_message_and_no_repr_shows_a_password() -> None:
    shown = "\n".join(faults(passwords=PASSWORDS | {"app": "geheim", "ops": "spaces are not allowed"}))
    assert shown.count("the value (not shown) is not allowed") == 2
    assert "geheim" not in shown
    assert "spaces" not in shown
    settings = parse("dev", MINIMAL | {"passwords": PASSWORDS})
    assert settings.passwords is not None
    assert settings.passwords.sentinel_auth == PASSWORDS["sentinel-auth"]
    assert "0123456789abcdef" not in repr(settings)


def test_a_missing_password_is_named() -> None:
    (fault,) = faults(passwords={name: value for name, value in PASSWORDS.items() if name != "repl"})
    assert fault.startswith("passwords.repl: missing")


def test_pulumi_yaml_lists_exactly_the_settings_with_their_kinds() -> None:
    schema = yaml.safe_load((stack_files.ROOT / "Pulumi.yaml").read_text())["config"]
    fields = {field.encode_name: field for field in msgspec.structs.fields(Settings)}
    assert schema.keys() == fields.keys() - {"passwords"}
    for name, spec in schema.items():
        is_group = isinstance(fields[name].type, type) and issubclass(fields[name].type, msgspec.Struct)
        assert (spec["type"] == "object") == is_group
        assert spec["description"]


def test_settings_without_a_default_have_none_in_pulumi_yaml_either_so_the_cli_demands_them(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text((stack_files.ROOT / "Pulumi.yaml").read_text())
    (tmp_path / "Pulumi.new.yaml").write_text("config: {}\n")
    with pytest.raises(SettingsError) as caught:
        parse("new", stack_files.read("new", tmp_path))
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["context", "namespace"]


def test_passwords_are_named_after_the_users_of_redis() -> None:
    assert {field.encode_name for field in msgspec.structs.fields(Passwords)} == PASSWORDS.keys()


def write_stack(folder: Path, text: str) -> Path:
    (folder / "Pulumi.yaml").write_text(
        "config:\n  spread: {type: string, default: soft}\n  redis: {default: {a: 1, b: 2}}\n"
    )
    (folder / "Pulumi.dev.yaml").write_text(text)
    return folder


def test_a_stack_file_replaces_a_default_as_a_whole_as_the_cli_does(tmp_path: Path) -> None:
    root = write_stack(tmp_path, "config: {'cachestack:redis': {a: 3}, context: bare}")
    assert stack_files.read("dev", root) == {"spread": "soft", "redis": {"a": 3}, "context": "bare"}


def test_encrypted_values_and_options_of_the_cli_are_left_to_the_cli(tmp_path: Path) -> None:
    root = write_stack(tmp_path, "config: {'cachestack:passwords': {secure: v1:abc}, 'pulumi:tags': {a: b}}")
    assert stack_files.read("dev", root).keys() == {"spread", "redis"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config: {'kubernetes:context': prod}", "Pulumi.dev.yaml: kubernetes:context: unknown key"),
        ("config: {a: 1, a: 2}", "Pulumi.dev.yaml: not valid YAML: key 'a' is given twice"),
        ("config: [", "Pulumi.dev.yaml: not valid YAML"),
        ("[]", "Pulumi.dev.yaml: no mapping named config"),
        ("", "Pulumi.dev.yaml: no mapping named config"),
    ],
)
def test_a_stack_file_that_is_none_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(stack_files.StackFileError) as caught:
        stack_files.read("dev", write_stack(tmp_path, text))
    assert str(caught.value).startswith(message)


def test_an_unknown_stack_is_answered_with_the_stacks_there_are() -> None:
    with pytest.raises(
        stack_files.StackFileError, match=r"there is no Pulumi\.test\.yaml; allowed: dev, prod, staging"
    ):
        stack_files.read("test")


def test_an_override_sets_one_value_with_its_yaml_type() -> None:
    values: dict[str, Any] = {"redis": {"memory": "1Gi"}}
    for assignment in ("redis.replicas=5", "monitoring.enabled=true", "redis.image=redis:7.0", "redis.save=[]"):
        stack_files.override(values, assignment)
    assert values == {
        "redis": {"memory": "1Gi", "replicas": 5, "image": "redis:7.0", "save": []},
        "monitoring": {"enabled": True},
    }


@pytest.mark.parametrize("assignment", ["redis.image", "=3", "redis..image=x", "namespace.x=3"])
def test_an_override_that_is_none_is_refused(assignment: str) -> None:
    with pytest.raises(stack_files.StackFileError, match=r"^'"):
        stack_files.override({"namespace": "a"}, assignment)


@given(st.integers(min_value=1, max_value=999_999))
def test_quantities_count_in_their_units(number: int) -> None:
    assert quantities.size_bytes(f"{number}Gi") == 1024 * quantities.size_bytes(f"{number}Mi") == number * 2**30
    assert quantities.millicores(f"{number}") == 1000 * quantities.millicores(f"{number}m") == 1000 * number


@pytest.mark.parametrize("text", ["", "Mi", "1G", "1.5Gi", "-1Gi", "1 Gi"])
def test_a_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number followed by"):
        quantities.size_bytes(text)


@pytest.mark.parametrize("text", ["", "m", "0.5", "1k"])
def test_a_text_that_is_no_cpu_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole cores"):
        quantities.millicores(text)


ENABLED = {"enabled": True, "bucket": "backups", "image": "registry.example.com/cachestack:0.1.0"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backup": {"bucket": "Up"}}, "backup.bucket: 'Up' is not allowed; a bucket: 3 to 63 lower-case"),
        ({"backup": {"schedule": "hourly"}}, "backup.schedule: 'hourly' is not allowed; five cron fields"),
        ({"backup": {"endpoint": "minio:9000"}}, "backup.endpoint: 'minio:9000' is not allowed; http(s)://host"),
        ({"backup": {"compression": "gzip"}}, "backup.compression: 'gzip' is not allowed; none or zstd"),
        ({"backup": {"keepDays": 0}}, "backup.keepDays: 0 is not allowed; whole days, 1 to 3650"),
        ({"backup": {"objectStoreCidrs": []}}, "backup.objectStoreCidrs: [] is not allowed; a list of address ranges"),
        ({"backup": {"prefix": "a//b"}}, "backup.prefix: 'a//b' is not allowed; names of A-Z"),
        ({"backup": ENABLED | {"bucket": ""}}, "backup.bucket: '' is not allowed with backup.enabled"),
        ({"backup": ENABLED | {"image": ""}}, "backup.image: '' is not allowed with backup.enabled"),
        ({"backup": ENABLED | {"scratch": "1Gi"}}, "backup.scratch: 1Gi is not allowed; at least 2458Mi"),
        ({"backup": ENABLED | {"drillMemory": "1Gi"}}, "backup.drillMemory: 1Gi is not allowed; at least 1598Mi"),
        ({"backup": {"encryptionSecret": "keys"}}, "backup.encryptionKeyId: '' is not allowed with"),
        ({"backup": {"encryptionKeyId": "k"}}, "backup.encryptionKeyId: 'k' is not allowed with"),
        ({"backup": {"cpuRequest": "3"}}, "backup.cpuRequest: 3 is not allowed; at most backup.cpuLimit"),
    ],
)
def test_backups_that_cannot_work_are_refused(changes: dict[str, Any], expected: str) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(expected)


def test_backups_are_off_unless_wanted_and_need_only_a_bucket_and_an_image() -> None:
    assert not parse("dev", MINIMAL).backup.enabled
    assert parse("dev", MINIMAL | {"backup": ENABLED}).backup.keep_last == 42


WARM = {"enabled": True, "image": "registry.example.com/cachestack:0.1.0"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"warmup": {"enabled": True}}, "warmup.image: '' is not allowed with warmup.enabled; an image that the"),
        ({"warmup": {"fullSchedule": "nightly"}}, "warmup.fullSchedule: 'nightly' is not allowed; five cron fields"),
        ({"warmup": {"hotSchedule": "0 24 * * *"}}, "warmup.hotSchedule: '0 24 * * *' is not allowed; '24' is no hour"),
        ({"warmup": {"secretName": ""}}, "warmup.secretName: '' is not allowed; a Kubernetes name"),
        ({"warmup": {"fullDeadlineSeconds": 0}}, "warmup.fullDeadlineSeconds: 0 is not allowed; whole seconds"),
        ({"warmup": {"sourcePorts": []}}, "warmup.sourcePorts: [] is not allowed; a list of TCP ports"),
        ({"warmup": {"sourcePorts": [70000]}}, "warmup.sourcePorts: [70000] is not allowed; a list of TCP ports"),
        ({"warmup": {"sourceCidrs": ["10.0.0.1/8"]}}, "warmup.sourceCidrs: '10.0.0.1/8' is not allowed; an address"),
        ({"warmup": {"cpuRequest": "2"}}, "warmup.cpuRequest: 2 is not allowed; at most warmup.cpuLimit"),
        ({"warmup": {"plan": "x"}}, "warmup.plan: unknown key; "),
        (
            {"warmup": WARM, "client": {"maxStalenessSeconds": 5}},
            "client.maxStalenessSeconds: 5 is not allowed with warmup.enabled; less than 5",
        ),
    ],
)
def test_warm_ups_that_cannot_work_are_refused(changes: dict[str, Any], expected: str) -> None:
    (fault,) = faults(**changes)
    assert fault.startswith(expected)
