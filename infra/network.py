"""Who may talk to whom: deny everything, then allow exactly the paths that the set needs."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pulumi
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from cacheclient.contract import APP_NAME, Component, Label, Port
from infra import workloads

if TYPE_CHECKING:
    from pulumi_kubernetes.networking.v1 import (
        IPBlockArgsDict,
        NetworkPolicyEgressRuleArgsDict,
        NetworkPolicyIngressRuleArgsDict,
        NetworkPolicyPeerArgsDict,
        NetworkPolicyPortArgsDict,
        NetworkPolicySpecArgsDict,
    )

    from infra.settings import Settings
    from infra.settings_pods import Backup, WarmUp
    from infra.workloads import Scope

# The label that the API server puts on every namespace.
NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"
DNS_PORT: Final = 53
LINK_LOCAL: Final = "169.254.0.0/16"


def own_pods(scope: Scope) -> dict[str, str]:
    """Return the labels of every pod of this environment, and of no other environment."""
    return {Label.PART_OF.value: APP_NAME, Label.INSTANCE.value: scope.instance}


def deny_all(scope: Scope) -> NetworkPolicySpecArgsDict:
    """Return the policy that closes every pod of the environment in both directions."""
    return {"pod_selector": {"match_labels": own_pods(scope)}, "policy_types": ["Ingress", "Egress"]}


def allow_dns(scope: Scope) -> NetworkPolicySpecArgsDict:
    """Return the policy for name resolution, wherever it runs: a node-local resolver has no pod to select."""
    ports: list[NetworkPolicyPortArgsDict] = [
        {"port": DNS_PORT, "protocol": "UDP"},
        {"port": DNS_PORT, "protocol": "TCP"},
    ]
    return {"pod_selector": {"match_labels": own_pods(scope)}, "policy_types": ["Egress"], "egress": [{"ports": ports}]}


def allow_server(scope: Scope, component: Component, port: Port, settings: Settings) -> NetworkPolicySpecArgsDict:
    """Return the policy of a set's pods: own pods and clients reach ``port``; they themselves reach both sets."""
    peers: list[NetworkPolicyPeerArgsDict] = [{"pod_selector": {"match_labels": own_pods(scope)}}]
    peers += [_namespace(name) for name in settings.network.client_namespaces]
    ingress: list[NetworkPolicyIngressRuleArgsDict] = [{"from_": peers, "ports": [_tcp(port)]}]
    if settings.monitoring.enabled:
        ingress.append({"from_": [_namespace(settings.monitoring.namespace)], "ports": [_tcp(Port.EXPORTER)]})
    return {
        "pod_selector": workloads.match(scope, component),
        "policy_types": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [_to_both_sets(scope)],
    }


def allow_backup(scope: Scope, backup: Backup) -> NetworkPolicySpecArgsDict:
    """Return the policy of the backup jobs: they reach both sets and the object store, and nobody reaches them."""
    store: NetworkPolicyEgressRuleArgsDict = {
        "to": [{"ip_block": _outside(cidr)} for cidr in backup.object_store_cidrs],
        "ports": [{"port": store_port(backup.endpoint), "protocol": "TCP"}],
    }
    return {
        "pod_selector": workloads.match(scope, Component.BACKUP),
        "policy_types": ["Ingress", "Egress"],
        "egress": [_to_both_sets(scope), store],
    }


def allow_warmer(scope: Scope, warmup: WarmUp) -> NetworkPolicySpecArgsDict:
    """Return the policy of the warm-up jobs: they reach both sets and their sources, and nobody reaches them."""
    return {
        "pod_selector": workloads.match(scope, Component.WARMER),
        "policy_types": ["Ingress", "Egress"],
        "egress": [_to_both_sets(scope), _to_sources(warmup)],
    }


def allow_api(scope: Scope, settings: Settings) -> NetworkPolicySpecArgsDict:
    """Return the policy of the API's pods: clients and Prometheus reach them, and they reach both sets."""
    asking = [*settings.network.client_namespaces]
    if settings.monitoring.enabled:
        asking.append(settings.monitoring.namespace)
    ingress: list[NetworkPolicyIngressRuleArgsDict] = (
        [{"from_": [_namespace(name) for name in asking], "ports": [_tcp(Port.API)]}] if asking else []
    )
    return {
        "pod_selector": workloads.match(scope, Component.API),
        "policy_types": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [_to_both_sets(scope), *([_to_sources(settings.warmup)] if settings.api.warms else [])],
    }


def _to_sources(warmup: WarmUp) -> NetworkPolicyEgressRuleArgsDict:
    return {
        "to": [{"ip_block": _outside(cidr)} for cidr in warmup.source_cidrs],
        "ports": [{"port": port, "protocol": "TCP"} for port in warmup.source_ports],
    }


def _to_both_sets(scope: Scope) -> NetworkPolicyEgressRuleArgsDict:
    return {
        "to": [{"pod_selector": {"match_labels": own_pods(scope)}}],
        "ports": [_tcp(Port.REDIS), _tcp(Port.SENTINEL)],
    }


def store_port(endpoint: str) -> int:
    """Return the TCP port of an object store: that of its endpoint, or that of its scheme."""
    url = urlsplit(endpoint or "https://aws")
    return url.port or {"http": 80, "https": 443}[url.scheme]


def _outside(cidr: str) -> IPBlockArgsDict:
    """Return a block of addresses without those at which clouds hand out the credentials of the node."""
    block, link_local = ip_network(cidr), ip_network(LINK_LOCAL)
    if isinstance(block, IPv4Network) and isinstance(link_local, IPv4Network) and link_local.subnet_of(block):
        return {"cidr": cidr, "except_": [LINK_LOCAL]}
    return {"cidr": cidr}


def _namespace(name: str) -> NetworkPolicyPeerArgsDict:
    return {"namespace_selector": {"match_labels": {NAMESPACE_LABEL: name}}}


def _tcp(port: Port) -> NetworkPolicyPortArgsDict:
    return {"port": port.value, "protocol": "TCP"}


class Policies(pulumi.ComponentResource):
    """The network policies of one environment."""

    def __init__(self, name: str, scope: Scope, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:network:Policies", name, None, opts)
        specs = {
            "deny-all": (Component.REDIS, deny_all(scope)),
            "allow-dns": (Component.REDIS, allow_dns(scope)),
            "redis": (Component.REDIS, allow_server(scope, Component.REDIS, Port.REDIS, settings)),
            "sentinel": (Component.SENTINEL, allow_server(scope, Component.SENTINEL, Port.SENTINEL, settings)),
        }
        if settings.backup.enabled:
            specs["backup"] = (Component.BACKUP, allow_backup(scope, settings.backup))
        if settings.warmup.enabled:
            specs["warmer"] = (Component.WARMER, allow_warmer(scope, settings.warmup))
        if settings.api.enabled:
            specs["api"] = (Component.API, allow_api(scope, settings))
        for policy, (component, spec) in specs.items():
            labelled = workloads.metadata(scope, component, f"cache-{policy}")
            NetworkPolicy(policy, metadata=labelled, spec=spec, opts=pulumi.ResourceOptions(parent=self))
        self.register_outputs({})
