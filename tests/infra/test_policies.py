"""The policies: every stack keeps them, each is broken once, and the pack serves them as the engine asks."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from cacheclient.contract import APP_NAME
from infra import stack_files
from infra.policy import rules
from infra.policy.pack import policies
from infra.policy.workload import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.render import Rendered

    RenderOnce = Callable[[str], Rendered]

Manifest = dict[str, Any]


def violations(manifests: list[Manifest]) -> dict[str, list[str]]:
    """The violations by rule."""
    found: dict[str, list[str]] = {}
    for object_rule in rules.OBJECT_RULES:
        lines = [f"{name_of(manifest)}: {line}" for manifest in manifests for line in object_rule(manifest)]
        found[object_rule.__name__] = lines
    for stack_rule in rules.STACK_RULES:
        found[stack_rule.__name__] = [f"{name_of(m)}: {line}" for m, line in stack_rule(tuple(manifests))]
    return {name: lines for name, lines in found.items() if lines}


def test_every_stack_keeps_every_policy_and_takes_all_advice(manifests: list[Manifest]) -> None:
    assert violations(manifests) == {}


def redis_pod(by_name: dict[str, Manifest]) -> Manifest:
    spec: Manifest = by_name["StatefulSet redis"]["spec"]["template"]["spec"]
    return spec


def redis(by_name: dict[str, Manifest]) -> Manifest:
    container: Manifest = redis_pod(by_name)["containers"][0]
    return container


def put(
    target: Callable[[dict[str, Manifest]], Manifest], key: str, value: Any
) -> Callable[[dict[str, Manifest]], None]:
    def change(by_name: dict[str, Manifest]) -> None:
        if value is None:
            del target(by_name)[key]
        else:
            target(by_name)[key] = value

    return change


def drop(name: str) -> Callable[[dict[str, Manifest]], None]:
    def change(by_name: dict[str, Manifest]) -> None:
        del by_name[name]

    return change


def at(name: str, *path: str) -> Callable[[dict[str, Manifest]], Manifest]:
    def target(by_name: dict[str, Manifest]) -> Manifest:
        place = by_name[name]
        for key in path:
            place = place[key]
        return place

    return target


def security(by_name: dict[str, Manifest]) -> Manifest:
    context: Manifest = redis(by_name)["securityContext"]
    return context


def variable(name: str, **rest: Any) -> list[Manifest]:
    return [{"name": name, **rest}]


LABELS = ("metadata", "labels")
SET = "StatefulSet redis"
BROKEN = [
    ("restricted_pods", put(redis_pod, "hostNetwork", True), "hostNetwork is on"),
    ("restricted_pods", put(redis_pod, "volumes", [{"name": "h", "hostPath": {"path": "/"}}]), "volume h is of a kind"),
    ("restricted_pods", put(security, "runAsNonRoot", False), "container redis: it may run as root"),
    ("restricted_pods", put(security, "runAsUser", 0), "container redis: it may run as root"),
    ("restricted_pods", put(security, "privileged", True), "container redis: it may gain privileges"),
    ("restricted_pods", put(security, "allowPrivilegeEscalation", None), "container redis: it may gain privileges"),
    ("restricted_pods", put(security, "capabilities", {"drop": ["NET_RAW"]}), "container redis: it keeps capabilities"),
    (
        "restricted_pods",
        put(security, "capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        "container redis: it keeps capabilities",
    ),
    ("restricted_pods", put(security, "seccompProfile", {"type": "Unconfined"}), "it has no seccomp profile"),
    ("restricted_pods", put(security, "readOnlyRootFilesystem", None), "its root file system is writable"),
    ("stated_resources", put(redis, "resources", None), "container redis: no cpu in its requests"),
    (
        "stated_resources",
        put(lambda m: redis(m)["resources"]["limits"], "memory", "64Gi"),
        "container redis: its memory is not reserved in full",
    ),
    ("fixed_images", put(redis, "image", "registry:5000/redis"), "registry:5000/redis names no fixed version"),
    ("fixed_images", put(redis, "image", "redis:latest"), "redis:latest names no fixed version"),
    ("digested_images", put(redis, "image", "redis:7.2.16"), "redis:7.2.16 has no digest"),
    ("commands_and_probes", put(redis, "command", None), "container redis: no command"),
    ("commands_and_probes", put(redis, "readinessProbe", None), "container redis: no readinessProbe"),
    ("own_service_accounts", put(redis_pod, "serviceAccountName", None), "it uses the default service account"),
    ("own_service_accounts", put(redis_pod, "automountServiceAccountToken", None), "a token for the Kubernetes API"),
    (
        "own_service_accounts",
        put(at("ServiceAccount redis"), "automountServiceAccountToken", True),
        "its token is mounted unless a pod says otherwise",
    ),
    (
        "passwords_in_files",
        put(redis, "env", variable("X", valueFrom={"secretKeyRef": {"name": "s", "key": "k"}})),
        "container redis: X holds a secret",
    ),
    ("passwords_in_files", put(redis, "env", variable("DB_PASSWORD", value="geheim")), "DB_PASSWORD holds a secret"),
    ("passwords_in_files", put(redis, "envFrom", [{"secretRef": {"name": "s"}}]), "a whole Secret in its environment"),
    ("passwords_in_files", put(at("ConfigMap redis-files", "data"), "password", "x"), "password: a secret belongs"),
    ("inside_services", put(at("Service sentinel", "spec"), "type", "NodePort"), "it is of type NodePort"),
    ("immutable_files", put(at("ConfigMap redis-files"), "immutable", False), "it can change while pods mount it"),
    ("restricted_namespaces", put(at("Namespace cache-prod", "metadata"), "labels", {}), "enforce is None"),
    ("stated_immutables", put(at(SET, "spec"), "revisionHistoryLimit", None), "revisionHistoryLimit is left to"),
    ("stated_immutables", put(at(SET, "spec"), "persistentVolumeClaimRetentionPolicy", None), "volumes may be deleted"),
    ("selecting_services", put(at("Service sentinel", "spec"), "selector", {"app": "x"}), "it selects no pod"),
    ("selecting_services", put(at("Service sentinel", "spec"), "selector", {}), "it selects no pod"),
    (
        "selecting_services",
        put(lambda m: m["Service sentinel"]["spec"]["ports"][0], "targetPort", "sentry"),
        "Service sentinel: port sentry is none of StatefulSet sentinel",
    ),
    ("scraped_services", drop("Service redis-headless"), "port metrics is found at 0 Services instead of one"),
    ("disruption_budgets", drop("PodDisruptionBudget redis"), f"{SET}: 0 disruption budgets instead of one"),
    (
        "disruption_budgets",
        put(at("PodDisruptionBudget redis", "spec"), "maxUnavailable", 3),
        "PodDisruptionBudget redis does not let exactly one pod go",
    ),
    ("separate_nodes", put(redis_pod, "affinity", None), f"{SET}: its pods may all land on one node"),
    ("covered_pods", drop("NetworkPolicy cache-deny-all"), "no NetworkPolicy limits its ingress"),
    ("existing_references", drop("ServiceAccount redis"), f"{SET}: ServiceAccount redis is not in the stack"),
    ("existing_references", drop("ConfigMap redis-files"), f"{SET}: ConfigMap redis-files"),
    ("existing_references", drop("Service redis-headless"), f"{SET}: Service redis-headless is not in the stack"),
]


@pytest.fixture
def by_name(render_once: RenderOnce) -> dict[str, Manifest]:
    """Production's manifests, to be broken; those named by their content go by their plain name."""
    found = {}
    for manifest in copy.deepcopy(list(render_once("prod").manifests.values())):
        name = name_of(manifest)
        found[name.rpartition("-")[0] if manifest["kind"] == "ConfigMap" else name] = manifest
    return found


@pytest.mark.parametrize(
    ("rule", "change", "expected"), BROKEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_broken_manifest_is_found(
    by_name: dict[str, Manifest], rule: str, change: Callable[[dict[str, Manifest]], None], expected: str
) -> None:
    change(by_name)
    if rule == "covered_pods":  # the policies of the sets limit both directions, too
        drop("NetworkPolicy cache-redis")(by_name)
    found = violations(list(by_name.values()))
    assert any(expected in line for line in found.get(rule, [])), found


def test_each_policy_is_broken_once_and_is_in_the_pack() -> None:
    every = [rule.__name__ for rule in (*rules.OBJECT_RULES, *rules.STACK_RULES)]
    assert {rule for rule, _, _ in BROKEN} == set(every)
    assert [policy.name for policy in policies()] == [name.replace("_", "-") for name in every]
    assert all(policy.description.endswith(".") for policy in policies())


def test_a_selector_that_is_not_understood_is_an_error_not_a_pass(by_name: dict[str, Manifest]) -> None:
    by_name["NetworkPolicy cache-deny-all"]["spec"]["podSelector"] = {"matchExpressions": [{"key": "x"}]}
    with pytest.raises(ValueError, match="matchExpressions"):
        violations(list(by_name.values()))


@pytest.fixture(scope="module")
def analyzer() -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    """The pack as the engine starts it: a process that prints its port and answers over gRPC."""
    command = [sys.executable, str(stack_files.ROOT / "infra" / "policy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            process.kill()


def analyze(analyzer: Any, rendered: Rendered, manifests: list[Manifest]) -> list[Any]:
    """What the pack says about the objects, first one by one and then as a stack."""
    urns = {name_of(r.properties): r.urn for r in rendered.registrations if r.is_manifest}
    types = {r.urn: r.type for r in rendered.registrations}
    found: list[Any] = []
    resources = []
    for manifest in manifests:
        properties = struct_pb2.Struct()
        properties.update(manifest)
        urn = urns[name_of(manifest)]
        fields = {"urn": urn, "type": types[urn], "name": urn.rpartition("::")[2], "properties": properties}
        found += analyzer.Analyze(analyzer_pb2.AnalyzeRequest(**fields)).diagnostics
        resources.append(analyzer_pb2.AnalyzerResource(**fields))
    found += analyzer.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=resources)).diagnostics
    return found


def test_the_pack_names_its_policies_to_the_engine(analyzer: Any) -> None:
    info = analyzer.GetAnalyzerInfo(analyzer_pb2.google_dot_protobuf_dot_empty__pb2.Empty())
    assert info.name == APP_NAME
    levels = {policy.name: policy.enforcementLevel for policy in info.policies}
    assert len(levels) == len(policies())
    assert levels["restricted-pods"] == analyzer_pb2.MANDATORY
    assert levels["digested-images"] == analyzer_pb2.ADVISORY


def test_the_pack_passes_what_the_stacks_hold(analyzer: Any, rendered: Rendered, manifests: list[Manifest]) -> None:
    assert analyze(analyzer, rendered, manifests) == []


def test_the_pack_stops_a_broken_stack_and_names_the_resource(
    analyzer: Any, render_once: RenderOnce, by_name: dict[str, Manifest]
) -> None:
    security(by_name)["privileged"] = True
    del by_name["PodDisruptionBudget redis"]
    found = analyze(analyzer, render_once("prod"), list(by_name.values()))
    assert {f.policyName: f.enforcementLevel for f in found} == {
        "restricted-pods": analyzer_pb2.MANDATORY,
        "disruption-budgets": analyzer_pb2.MANDATORY,
    }
    (on_stack,) = [f for f in found if f.policyName == "disruption-budgets"]
    assert on_stack.urn.endswith("StatefulSet::redis")
    assert "0 disruption budgets instead of one" in on_stack.message
