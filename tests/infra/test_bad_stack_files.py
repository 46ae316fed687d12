"""Bad stack files, as people write them: each is refused with the path, the value, what is allowed, and all at once."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra import render, stack_files
from infra.settings import Settings, SettingsError, parse

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"context": "kind", "namespace": "cache-dev"}

# What is wrong in the file, and how each line of the answer begins. The lines come in the order of the settings.
BAD: list[tuple[str, list[str]]] = [
    # keys
    ("redis: {memroy: 1Gi}", ["redis.memroy: unknown key; did you mean memory?"]),
    ("redis: {cpu_request: 1}", ["redis.cpu_request: unknown key; did you mean cpuRequest?"]),
    ("redis: {Replicas: 3}", ["redis.Replicas: unknown key; did you mean replicas?"]),
    ("sentinal: {}", ["sentinal: unknown key; did you mean sentinel?"]),
    ("backups: {}", ["backups: unknown key; did you mean backup?"]),
    ("network: {zzz: 1}", ["network.zzz: unknown key; allowed: clientNamespaces, policies"]),
    ("network: {7: true}", ["network.7: unknown key; allowed: clientNamespaces, policies"]),
    ("'kubernetes:context': x", ["Pulumi.dev.yaml: kubernetes:context: unknown key; keys here begin with cachestack:"]),
    ("protect: true\nprotect: false", ["Pulumi.dev.yaml: not valid YAML: key 'protect' is given twice"]),
    ("cachestack:protect: true\nprotect: false", ["Pulumi.dev.yaml: protect: given twice, with and without"]),
    ("redis: {memory: 1Gi, memory: 2Gi}", ["Pulumi.dev.yaml: not valid YAML: key 'memory' is given twice"]),
    ("redis: [", ["Pulumi.dev.yaml: not valid YAML"]),
    ("? [a, b]\n: 1", ["Pulumi.dev.yaml: not valid YAML"]),
    ("redis: !!python/object:os.system {}", ["Pulumi.dev.yaml: not valid YAML"]),
    # types
    ("redis:", ["redis: None is not allowed; a group of keys"]),
    ("redis: 2Gi", ["redis: '2Gi' is not allowed; a group of keys"]),
    ("redis: [memory]", ["redis: ['memory'] is not allowed; a group of keys"]),
    ("namespace: 7", ["namespace: 7 is not allowed; a Kubernetes name"]),
    ("namespace: 2026-01-01", ["namespace: datetime.date(2026, 1, 1) is not allowed; a Kubernetes name"]),
    ("redis: {replicas: '3'}", ["redis.replicas: '3' is not allowed; a whole number, 2 to 9"]),
    ("redis: {replicas: 3.5}", ["redis.replicas: 3.5 is not allowed; a whole number, 2 to 9"]),
    ("redis: {replicas: true}", ["redis.replicas: True is not allowed; a whole number, 2 to 9"]),
    ("redis: {maxClients: .inf}", ["redis.maxClients: inf is not allowed; a whole number, 32 to 60000"]),
    ("redis: {cpuLimit: 2}", ["redis.cpuLimit: 2 is not allowed; CPU cores as a text"]),
    ("protect: 'yes'", ["protect: 'yes' is not allowed; true or false"]),
    ("protect: 1", ["protect: 1 is not allowed; true or false"]),
    (
        "network: {clientNamespaces: apps}",
        ["network.clientNamespaces: 'apps' is not allowed; a list of"],
    ),
    ("network: {clientNamespaces: [apps, 7]}", ["network.clientNamespaces: ['apps', 7] is not allowed; a list of"]),
    ("monitoring: {labels: [release]}", ["monitoring.labels: ['release'] is not allowed; a map from label names"]),
    # ranges and forms
    ("namespace: Cache", ["namespace: 'Cache' is not allowed; a Kubernetes name"]),
    ("namespace: -cache", ["namespace: '-cache' is not allowed; a Kubernetes name"]),
    (r'namespace: "cache\n"', [r"namespace: 'cache\n' is not allowed; a Kubernetes name"]),
    (f"namespace: {'a' * 64}", [f"namespace: '{'a' * 64}' is not allowed; a Kubernetes name"]),
    ("context: ''", ["context: '' is not allowed; a text of at least one character"]),
    ("spread: strict", ["spread: 'strict' is not allowed; hard or soft"]),
    ("redis: {replicas: 1}", ["redis.replicas: 1 is not allowed; a whole number, 2 to 9"]),
    ("redis: {memory: 2GB}", ["redis.memory: '2GB' is not allowed; a whole number followed by Mi, Gi or Ti"]),
    ("redis: {memory: 0Gi}", ["redis.memory: '0Gi' is not allowed"]),
    ("redis: {image: redis}", ["redis.image: 'redis' is not allowed; an image with a fixed tag"]),
    ("redis: {image: 'redis:latest'}", ["redis.image: 'redis:latest' is not allowed; an image with a fixed tag"]),
    ("redis: {image: 'redis:7.2@sha256:abc'}", ["redis.image: 'redis:7.2@sha256:abc' is not allowed"]),
    ("redis: {pullPolicy: Never}", ["redis.pullPolicy: 'Never' is not allowed; Always or IfNotPresent"]),
    ("redis: {save: ['60']}", ["redis.save: ['60'] is not allowed; a list of"]),
    ("redis: {keyPatterns: []}", ["redis.keyPatterns: [] is not allowed; a list of key patterns"]),
    ("sentinel: {downAfterSeconds: 0}", ["sentinel.downAfterSeconds: 0 is not allowed; whole seconds, 1 to 3600"]),
    ("monitoring: {scrapeInterval: 1m}", ["monitoring.scrapeInterval: '1m' is not allowed; 1s to 999s"]),
    (
        "monitoring: {thresholds: {hitRate: many}}",
        ["monitoring.thresholds: {'hitRate': 'many'} is not allowed; a map"],
    ),
    (
        "monitoring: {thresholds: {hitRaten: 0.5}}",
        ["monitoring.thresholds.hitRaten: no such limit; did you mean hitRate?"],
    ),
    (
        "monitoring: {thresholds: {hitRate: 1.5}}",
        ["monitoring.thresholds.hitRate: 1.5 is not allowed; a share, above 0"],
    ),
    (
        "monitoring: {thresholds: {connections: 0.5}}",
        ["monitoring.thresholds.connections: 0.5 is not allowed; a whole"],
    ),
    ("cost: {perMillionQueries: -1}", ["cost.perMillionQueries: -1 is not allowed; US dollars as a number"]),
    ("cost: {perMillionQueries: .nan}", ["cost.perMillionQueries: nan is not allowed; US dollars"]),
    ("cost: {perRedisGibMonth: 36 USD}", ["cost.perRedisGibMonth: '36 USD' is not allowed; US dollars"]),
    ("cost: {perMilionQueries: 2}", ["cost.perMilionQueries: unknown key; did you mean perMillionQueries?"]),
    ("monitoring: {thresholds: {quorum: 2}}", ["monitoring.thresholds.quorum: no such limit"]),
    ("monitoring: {labels: {a b: c}}", ["monitoring.labels: {'a b': 'c'} is not allowed; a map from label names"]),
    (
        "monitoring: {grafana: grafana.example.com}",
        ["monitoring.grafana: 'grafana.example.com' is not allowed"],
    ),
    ("backup: {schedule: hourly}", ["backup.schedule: 'hourly' is not allowed; five cron fields"]),
    ("backup: {schedule: 61 * * * *}", ["backup.schedule: '61 * * * *' is not allowed; '61' is no minute (0 to 59)"]),
    ("backup: {schedule: 0 0 31 13 *}", ["backup.schedule: '0 0 31 13 *' is not allowed; '13' is no month (1 to 12)"]),
    ("backup: {schedule: '0 */0 * * *'}", ["backup.schedule: '0 */0 * * *' is not allowed; '*/0' is no hour"]),
    ("backup: {endpoint: 's3.example.com'}", ["backup.endpoint: 's3.example.com' is not allowed; http(s)://host"]),
    ("backup: {endpoint: 'http://s3:70000'}", ["backup.endpoint: 'http://s3:70000' is not allowed; Port out of range"]),
    ("backup: {objectStoreCidrs: [300.0.0.0/8]}", ["backup.objectStoreCidrs: '300.0.0.0/8' is not allowed"]),
    ("backup: {objectStoreCidrs: [10.0.0.1/8]}", ["backup.objectStoreCidrs: '10.0.0.1/8' is not allowed"]),
    # values that contradict each other
    ("sentinel: {quorum: 1}", ["sentinel.quorum: 1 of 3 Sentinels is not allowed; more than half"]),
    ("sentinel: {replicas: 4, quorum: 3}", ["sentinel.replicas: 4 is not allowed; odd"]),
    ("redis: {minReplicasToWrite: 3}", ["redis.minReplicasToWrite: 3 is not allowed; less than redis.replicas (3)"]),
    ("sentinel: {failoverTimeoutSeconds: 30}", ["sentinel.failoverTimeoutSeconds: 30 is not allowed; more than"]),
    ("redis: {minReplicasMaxLagSeconds: 30}", ["redis.minReplicasMaxLagSeconds: 30 is not allowed; less than"]),
    ("redis: {storage: 3Gi}", ["redis.storage: 3Gi is not allowed; at least 3687Mi"]),
    ("redis: {replBacklog: 1Gi}", ["redis.memory: 2Gi is not allowed; with it, 2654Mi are needed"]),
    ("exporter: {cpuLimit: 5m}", ["exporter.cpuRequest: 10m is not allowed; at most exporter.cpuLimit (5m)"]),
    ("priority: {value: 7}", ["priority.className: '' is not allowed; priority.value (7) declares a class"]),
    (
        "backup: {enabled: true}",
        ["backup.bucket: '' is not allowed with backup.enabled", "backup.image: '' is not allowed with backup.enabled"],
    ),
    ("backup: {encryptionKeyId: k}", ["backup.encryptionKeyId: 'k' is not allowed with backup.encryptionSecret ''"]),
    ("api: {enabled: true}", ["api.image: '' is not allowed with api.enabled"]),
    ("api: {enabled: true, image: 'a:1', warms: true}", ["api.warms: True is not allowed without warmup.enabled"]),
    ("api: {replicas: 0}", ["api.replicas: 0 is not allowed; a whole number, 1 to 100"]),
    ("api: {jwtIssuer: 'a b'}", ["api.jwtIssuer: 'a b' is not allowed; a text without spaces"]),
    ("api: {jwtConfigMap: keys, jwtIssuer: me}", ["api.jwtConfigMap: 'keys' is not allowed with api.jwtAudience ''"]),
    ("api: {jwtAudience: a, jwtIssuer: me}", ["api.jwtConfigMap: '' is not allowed with api.jwtAudience 'a'"]),
    (
        "api: {enabled: true, image: 'a:1', memory: 128Mi}",
        ["api.memory: 128Mi is not allowed; at least 256Mi with client.l1Memory 64Mi"],
    ),
    ("api: {adminSecret: [a]}", ["api.adminSecret: ['a'] is not allowed; a Kubernetes name"]),
    ("client: {namespace: Shop}", ["client.namespace: 'Shop' is not allowed; a cache namespace"]),
    ("client: {version: 0}", ["client.version: 0 is not allowed; a whole number from 1"]),
    ("client: {l1Entries: 5}", ["client.l1Entries: unknown key; did you mean l1MaxEntries?"]),
    ("client: {l1TtlSeconds: 1801}", ["client.l1TtlSeconds: 1801 is not allowed; at most client.l2TtlSeconds (1800)"]),
    ("client: {maxStalenessSeconds: 61}", ["client.maxStalenessSeconds: 61 is not allowed; whole seconds, 1 to 60"]),
    # several at once, of every sort, and no rule judges a value that was refused
    (
        "spread: x\nredis: {memory: x, storage: 1Gi, replica: 3}\nsentinel: {quorum: 7}\nzzz: 1",
        [
            "zzz: unknown key",
            "spread: 'x' is not allowed",
            "redis.replica: unknown key; did you mean replicas?",
            "redis.memory: 'x' is not allowed",
            "sentinel.quorum: 7 of 3 Sentinels is not allowed",
        ],
    ),
    (
        "redis: 7\nsentinel: {failoverTimeoutSeconds: 5}\nexporter: {cpuLimit: 5m, memory: []}",
        [
            "redis: 7 is not allowed; a group of keys",
            "exporter.memory: [] is not allowed",
            "sentinel.failoverTimeoutSeconds: 5 is not allowed; more than",
            "exporter.cpuRequest: 10m is not allowed",
        ],
    ),
]


@pytest.fixture
def refusal(tmp_path: Path) -> Any:
    """Write a stack file with a good beginning and read it; return the lines of the answer."""
    shutil.copy(stack_files.ROOT / "Pulumi.yaml", tmp_path)

    def read(wrong: str) -> list[str]:
        right = yaml.safe_dump({key: value for key, value in GOOD.items() if not wrong.startswith(f"{key}:")})
        text = "config:\n" + "".join(f"  {line}\n" for line in (right + wrong).splitlines())
        (tmp_path / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
        try:
            parse("dev", stack_files.read("dev", tmp_path))
        except SettingsError as error:
            return list(error.faults)
        except stack_files.StackFileError as error:
            return [str(error)]
        return []

    return read


@pytest.mark.parametrize(("wrong", "expected"), BAD)
def test_a_bad_stack_file_is_refused_with_a_line_for_each_fault(refusal: Any, wrong: str, expected: list[str]) -> None:
    found = refusal(wrong)
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_a_good_stack_file_is_accepted_by_the_same_reader(refusal: Any) -> None:
    assert refusal("protect: true") == []


def groups() -> dict[str, type[msgspec.Struct]]:
    found = {field.encode_name: field.type for field in msgspec.structs.fields(Settings)}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)}


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["2Gi", "500m", "redis:7.2", "0 0 * * *", "10.0.0.0/8", "http://a:99999"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.dates() | st.binary(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(SCALARS, v, max_size=3), max_leaves=6
)
GROUPS = {
    name: VALUES
    | st.dictionaries(st.sampled_from([field.encode_name for field in msgspec.structs.fields(group)]) | TEXTS, VALUES)
    for name, group in groups().items()
}
STACKS = st.fixed_dictionaries(
    {}, optional=GROUPS | {"spread": VALUES, "protect": VALUES, "namespace": VALUES, "x": VALUES}
)


@given(STACKS)
def test_whatever_a_stack_file_holds_is_accepted_or_refused_line_by_line(values: dict[str, Any]) -> None:
    whole = {"manageNamespace": True, "protect": False, "spread": "soft", "storageClass": "", "secretName": "s", **GOOD}
    with contextlib.suppress(SettingsError):
        parse("dev", whole | {name: {} for name in groups()} | values)


@given(
    st.text(max_size=60) | st.sampled_from(["[" * 9999, "a: 2026-99-99", "a: " + "9" * 5000, "*x", "<<: 7", "? {a: b}"])
)
def test_whatever_text_an_override_or_a_file_is_one_error_says_so(text: str) -> None:
    with contextlib.suppress(stack_files.StackFileError):
        stack_files.override({}, f"redis.image={text}")


def test_a_file_that_is_no_text_is_refused_with_its_name(tmp_path: Path) -> None:
    shutil.copy(stack_files.ROOT / "Pulumi.yaml", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_bytes(b"config: {a: \xff}")
    with pytest.raises(stack_files.StackFileError, match=r"^Pulumi\.dev\.yaml: cannot be read"):
        stack_files.read("dev", tmp_path)


def test_nothing_is_registered_when_every_fault_is_reported() -> None:
    with pytest.raises(render.RenderError) as caught:
        render.render("dev", overrides=["redis.memroy=1Gi", "sentinel.quorum=7", "spread=x"])
    assert str(caught.value).count("\n") == 3
