"""Who reaches whom under a set of NetworkPolicies: their meaning, evaluated, where no cluster enforces them.

After the API's own definition (networking.k8s.io/v1): a pod that no policy selects for a direction is open in it; one
that any selects is closed but for the union of what those policies allow. A connection needs both ends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """A pod, or with an ``address`` something outside of the cluster. ``ports`` are its named ports."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = ""

    @property
    def namespace_labels(self) -> dict[str, str]:
        """The label that the API server puts on every namespace."""
        return {"kubernetes.io/metadata.name": self.namespace}


def reaches(policies: Sequence[Policy], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection from ``source`` to ``target`` is allowed."""
    return _opens(policies, "Egress", source, target, (target, port, protocol)) and _opens(
        policies, "Ingress", target, source, (target, port, protocol)
    )


def _opens(policies: Sequence[Policy], direction: str, here: End, there: End, at: tuple[End, int, str]) -> bool:
    if here.address:
        return True  # outside of the cluster no policy applies
    selecting = [policy for policy in policies if direction in _types(policy) and _selects(policy, here)]
    if not selecting:
        return True
    rules, peers = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
    return any(
        _peer_matches(policy, rule.get(peers), there) and _port_matches(rule.get("ports"), *at)
        for policy in selecting
        for rule in policy["spec"].get(rules) or []
    )


def _types(policy: Policy) -> Sequence[str]:
    spec = policy["spec"]
    return spec.get("policyTypes") or (["Ingress", "Egress"] if "egress" in spec else ["Ingress"])


def _selects(policy: Policy, pod: End) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def _peer_matches(policy: Policy, peers: Sequence[Mapping[str, Any]] | None, there: End) -> bool:
    return not peers or any(_is_peer(policy, peer, there) for peer in peers)


def _is_peer(policy: Policy, peer: Mapping[str, Any], there: End) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = [ipaddress.ip_network(cidr) for cidr in (block["cidr"], *block.get("except", ()))]
        address = ipaddress.ip_address(there.address) if there.address else None
        return address is not None and address in inside[0] and not any(address in net for net in inside[1:])
    if there.address:
        return False
    if "namespaceSelector" in peer:
        home = matches(peer["namespaceSelector"], there.namespace_labels)
    else:
        home = policy["metadata"]["namespace"] == there.namespace
    return home and matches(peer.get("podSelector", {}), there.labels)


def _port_matches(ports: Sequence[Mapping[str, Any]] | None, target: End, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for allowed in ports:
        if allowed.get("protocol", "TCP") != protocol:
            continue
        first = allowed.get("port")
        if isinstance(first, str):
            first = target.ports.get(first, -1)
        if first is None or first <= port <= allowed.get("endPort", first):
            return True
    return False


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_holds(term, labels) for term in selector.get("matchExpressions", ()))


def _holds(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    present, value = term["key"] in labels, labels.get(term["key"])
    return {
        "In": value in term.get("values", ()),
        "NotIn": value not in term.get("values", ()),
        "Exists": present,
        "DoesNotExist": not present,
    }[term["operator"]]


def pods_of(manifests: Sequence[Mapping[str, Any]]) -> Iterator[End]:
    """Yield one pod of every workload of a stack."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", {}).get("template") or spec.get("template")
        if template is None:
            continue
        ports = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c.get("ports", ())}
        metadata = manifest["metadata"]
        yield End(metadata["name"], metadata["namespace"], template["metadata"]["labels"], ports)
