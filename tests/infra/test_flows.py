"""NetworkPolicies proved by evaluation: the flows of one table are allowed, every other pair and port is refused."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from cacheclient.contract import Label, Port
from infra import stack_files
from infra.settings import Settings, parse
from tests.infra.reach import End, matches, pods_of, reaches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.render import Rendered

    RenderOnce = Callable[[str], Rendered]

Manifest = dict[str, Any]

DNS, HTTPS, SSH, SQL, ANY = 53, 443, 22, 5432, 31999
PORTS = sorted({*Port, DNS, HTTPS, SSH, SQL, ANY})
PROTOCOLS = ("TCP", "UDP")


class Flow(NamedTuple):
    """Whoever ``source`` describes may reach whoever ``target`` describes. The words are those of ``role``."""

    source: str
    target: str
    port: int
    protocols: tuple[str, ...] = ("TCP",)


OURS = ("redis", "sentinel", "cache-backup", "cache-api", "cache-warmer", "new")

# The whole of what is allowed. Everything that is not here is refused.
FLOWS = (
    Flow("redis", "redis", Port.REDIS),  # replication; the scripts ask their peers
    Flow("redis", "sentinel", Port.SENTINEL),  # the start script asks who is master, the stop hook for a failover
    Flow("sentinel", "redis", Port.REDIS),  # monitoring
    Flow("sentinel", "sentinel", Port.SENTINEL),  # agreement
    Flow("cache-backup", "redis", Port.REDIS),  # a backup is read from a replica
    Flow("cache-backup", "sentinel", Port.SENTINEL),
    Flow("cache-backup", "object store", HTTPS),
    Flow("cache-warmer", "redis", Port.REDIS),
    Flow("cache-warmer", "sentinel", Port.SENTINEL),
    Flow("cache-warmer", "object store", HTTPS),  # its sources may be anywhere, by default
    Flow("cache-warmer", "object store", SQL),
    Flow("cache-api", "redis", Port.REDIS),
    Flow("cache-api", "sentinel", Port.SENTINEL),
    Flow("client", "cache-api", Port.API),
    Flow("prometheus", "cache-api", Port.API),
    Flow("client", "redis", Port.REDIS),
    Flow("client", "sentinel", Port.SENTINEL),
    Flow("prometheus", "redis", Port.EXPORTER),
    Flow("prometheus", "sentinel", Port.EXPORTER),
    # Name resolution, wherever the resolver runs: a node's own has no pod that a policy could select.
    *(
        Flow(own, other, DNS, PROTOCOLS)
        for own in OURS
        for other in ("client", "prometheus", "object store", "elsewhere")
    ),
)


def outsiders(settings: Settings, own: End) -> Iterator[tuple[str, End]]:
    """Everybody else that could try, by role."""
    for namespace in settings.network.client_namespaces:
        yield "client", End(f"application in {namespace}", namespace, {"app": "shop"})
    watched = settings.monitoring.namespace
    role = "prometheus" if settings.monitoring.enabled else "elsewhere"
    yield role, End("Prometheus", watched, {"app.kubernetes.io/name": "prometheus"})
    yield "elsewhere", End("pod without our labels", own.namespace, {"app": "shop"})
    yield "new", End("pod of ours without a policy", own.namespace, {**own.labels, Label.COMPONENT.value: "new"})
    yield "elsewhere", End("redis of another environment", "cache-other", {**own.labels, Label.INSTANCE.value: "other"})
    yield "elsewhere", End("pod elsewhere with our labels", "elsewhere", own.labels)
    yield "elsewhere", End("CoreDNS", "kube-system", {"k8s-app": "kube-dns"})
    yield "object store" if settings.backup.enabled else "elsewhere", End("S3", address="203.0.113.7")
    yield "elsewhere", End("metadata service of the cloud", address="169.254.169.254")


def ends(rendered: Rendered) -> list[tuple[str, End]]:
    """Our pods and all others, by role."""
    own = [(pod.labels[Label.COMPONENT.value], pod) for pod in pods_of(list(rendered.manifests.values()))]
    settings = parse(rendered.stack, stack_files.read(rendered.stack))
    return [*own, *outsiders(settings, own[0][1])]


def deviations(rendered: Rendered, policies: list[Manifest]) -> list[str]:
    """Every connection to or from a pod of ours that is allowed and not in the table, or the other way round."""
    found = []
    table = {(f.source, f.target, f.port, protocol) for f in FLOWS for protocol in f.protocols}
    for (source_role, source), (target_role, target) in itertools.product(ends(rendered), repeat=2):
        if not {source_role, target_role} & {*OURS}:
            continue
        for port, protocol in itertools.product(PORTS, PROTOCOLS):
            wanted = (source_role, target_role, port, protocol) in table
            if reaches(policies, source, target, port, protocol) is not wanted:
                found.append(f"{source.name} -> {target.name} {port}/{protocol}: {'refused' if wanted else 'allowed'}")
    return found


def network_policies(rendered: Rendered) -> list[Manifest]:
    found = [m for m in rendered.manifests.values() if m["kind"] == "NetworkPolicy"]
    assert found
    return copy.deepcopy(found)


def test_exactly_the_flows_of_the_table_are_allowed(rendered: Rendered) -> None:
    assert deviations(rendered, network_policies(rendered)) == []


def test_every_flow_of_the_table_and_every_role_is_met_in_production(render_once: RenderOnce) -> None:
    roles = {role for role, _ in ends(render_once("prod"))}
    assert {role for flow in FLOWS for role in (flow.source, flow.target)} == roles


@pytest.mark.parametrize("removed", ["cache-redis", "cache-sentinel", "cache-api", "cache-allow-dns", "cache-deny-all"])
def test_each_policy_is_needed(render_once: RenderOnce, removed: str) -> None:
    rendered = render_once("prod")
    left = [policy for policy in network_policies(rendered) if policy["metadata"]["name"] != removed]
    assert deviations(rendered, left)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ({}, "pod without our labels -> redis 6379/TCP: allowed"),
        ({"podSelector": {}}, "pod without our labels -> redis 6379/TCP: allowed"),
        ({"namespaceSelector": {}}, "redis of another environment -> redis 6379/TCP: allowed"),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, "S3 -> redis 6379/TCP: allowed"),
    ],
)
def test_one_peer_too_many_is_found(render_once: RenderOnce, peer: Manifest, expected: str) -> None:
    rendered = render_once("prod")
    policies = network_policies(rendered)
    (redis,) = [policy for policy in policies if policy["metadata"]["name"] == "cache-redis"]
    redis["spec"]["ingress"].append({"ports": [{"port": 6379}], **({"from": [peer]} if peer else {})})
    assert expected in deviations(rendered, policies)


SHOP = End("shop", "apps", {"app": "shop"}, {"http": 8080})
BASE = End("base", "data", {"app": "base"}, {"sql": 5432})
OUTSIDE = End("outside", address="10.1.2.3")


def policy(namespace: str, **spec: Any) -> Manifest:
    return {"metadata": {"namespace": namespace}, "spec": {"podSelector": {}, **spec}}


@pytest.mark.parametrize(
    ("policies", "source", "target", "port", "expected"),
    [
        ([], SHOP, BASE, 5432, True),
        ([policy("data")], SHOP, BASE, 5432, False),
        ([policy("data")], BASE, SHOP, 8080, True),
        ([policy("data", egress=[])], BASE, SHOP, 8080, False),
        ([policy("other")], SHOP, BASE, 5432, True),
        ([policy("data", ingress=[{}])], SHOP, BASE, 5432, True),
        ([policy("data", ingress=[{"ports": [{"port": "sql"}]}])], SHOP, BASE, 5432, True),
        ([policy("data", ingress=[{"ports": [{"port": "http"}]}])], SHOP, BASE, 5432, False),
        ([policy("data", ingress=[{"ports": [{"port": 5000, "endPort": 6000}]}])], SHOP, BASE, 5432, True),
        ([policy("data", ingress=[{"ports": [{"port": 5432, "protocol": "UDP"}]}])], SHOP, BASE, 5432, False),
        ([policy("data", ingress=[{"from": [{"podSelector": {}}]}])], SHOP, BASE, 5432, False),
        ([policy("data", ingress=[{"from": [{"namespaceSelector": {}}]}])], SHOP, BASE, 5432, True),
        (
            [
                policy(
                    "data",
                    ingress=[{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}],
                )
            ],
            SHOP,
            BASE,
            5432,
            False,
        ),
        ([policy("data", egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}])], BASE, OUTSIDE, 443, True),
        (
            [policy("data", egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}])],
            BASE,
            OUTSIDE,
            443,
            False,
        ),
        ([policy("data", egress=[{"to": [{"namespaceSelector": {}}]}])], BASE, OUTSIDE, 443, False),
    ],
)
def test_the_evaluator_knows_what_a_policy_means(
    policies: list[Manifest], source: End, target: End, port: int, *, expected: bool
) -> None:
    assert reaches(policies, source, target, port) is expected


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["shop"], True),
        ("In", ["x"], False),
        ("NotIn", ["shop"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_selectors_may_be_expressions(operator: str, values: list[str], *, expected: bool) -> None:
    term = {"key": "app", "operator": operator, "values": values}
    assert matches({"matchExpressions": [term]}, SHOP.labels) is expected
