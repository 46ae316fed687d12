"""One set of pods with identity and storage: what Redis and Sentinel have in common, and its component.

The specs are pure. Logical names are constant for ever: a rename would make Pulumi replace the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pulumi
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import ConfigMap, PersistentVolumeClaim, Service, ServiceAccount
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from infra import workloads
from infra.topology import CLAIM, pod_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulumi_kubernetes.apps.v1 import StatefulSetSpecArgsDict
    from pulumi_kubernetes.core.v1 import PodSpecArgsDict
    from pulumi_kubernetes.meta.v1 import ObjectMetaArgsDict

    from cacheclient.contract import Component
    from infra.workloads import Scope

POD_NAME_LABEL: Final = "statefulset.kubernetes.io/pod-name"
# A StatefulSet's claim templates can never change, and volumes must be able to grow. So the claims are resources of
# their own, which the StatefulSet adopts by name; the template only names them and sizes a claim somebody deleted.
TEMPLATE_SIZE: Final = "10Gi"
# When all pods are gone, all come back at once. One by one (OrderedReady), the first waits for a master whose pod waits
# for the first to be ready: measured, that ends in minutes without a master, and with whoever came first promoted, even
# with an empty disk. Rolling updates are one by one in either case.
START_ORDER: Final = "Parallel"
# Immutable in a StatefulSet too, so it is stated from the first day.
REVISIONS_KEPT: Final = 10


@dataclass(frozen=True, kw_only=True)
class NodeSetSpec:
    """What sets one set of pods apart from another.

    ``files`` is mounted; ``ports`` are by name; another value of one of the pods' ``annotations`` rolls them.
    """

    scope: Scope
    component: Component
    replicas: int
    storage: str
    storage_class: str
    files: Mapping[str, str]
    ports: Mapping[str, int]
    metrics_port: int
    pod: PodSpecArgsDict
    annotations: Mapping[str, str]
    min_ready_seconds: int

    @property
    def headless_name(self) -> str:
        """The governing Service; also where Prometheus finds the exporters."""
        return f"{self.component}-headless"

    @property
    def files_name(self) -> str:
        """The ConfigMap, named by its content."""
        return files_name(self.component, self.files)


def files_name(component: Component, files: Mapping[str, str]) -> str:
    """Return the name of the ConfigMap with a component's files."""
    return workloads.content_name(f"{component}-files", files)


def pod_metadata(nodes: NodeSetSpec) -> ObjectMetaArgsDict:
    """Return the labels and annotations of a set's pods."""
    metadata: ObjectMetaArgsDict = {"labels": workloads.pod_labels(nodes.scope, nodes.component)}
    if nodes.annotations:
        metadata["annotations"] = dict(nodes.annotations)
    return metadata


def stateful_set_spec(nodes: NodeSetSpec) -> StatefulSetSpecArgsDict:
    """Return the StatefulSet of a set. Its volumes outlive it and a scale-down."""
    return {
        "replicas": nodes.replicas,
        "service_name": nodes.headless_name,
        "pod_management_policy": START_ORDER,
        "min_ready_seconds": nodes.min_ready_seconds,
        "revision_history_limit": REVISIONS_KEPT,
        # The partition is said, not left out: without one, the controller makes a pod that was deleted during a rollout
        # from the old template again, so a template that no pod can start from could not be mended.
        "update_strategy": {"type": "RollingUpdate", "rolling_update": {"partition": 0}},
        "persistent_volume_claim_retention_policy": {"when_deleted": "Retain", "when_scaled": "Retain"},
        "selector": workloads.match(nodes.scope, nodes.component),
        "template": {"metadata": pod_metadata(nodes), "spec": nodes.pod},
        "volume_claim_templates": [
            {
                "metadata": {"name": CLAIM, "labels": workloads.selector(nodes.scope, nodes.component)},
                "spec": workloads.claim_spec(TEMPLATE_SIZE, nodes.storage_class),
            }
        ],
    }


class NodeSet(pulumi.ComponentResource):
    """Service account, files, volumes, Services, disruption budget and StatefulSet of one set of pods."""

    def __init__(self, name: str, nodes: NodeSetSpec, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:redis:NodeSet", name, None, opts)
        self.nodes = nodes
        self._child = pulumi.ResourceOptions(parent=self)
        account = ServiceAccount(
            name, metadata=self._metadata(name), automount_service_account_token=False, opts=self._child
        )
        files = ConfigMap(
            f"{name}-files",
            metadata=self._metadata(nodes.files_name),
            data=dict(nodes.files),
            immutable=True,
            # An edit replaces it, which protection would refuse. A destroy stops at the StatefulSet that needs it.
            opts=pulumi.ResourceOptions(parent=self, protect=False),
        )
        PodDisruptionBudget(
            name,
            metadata=self._metadata(name),
            spec=workloads.one_at_a_time(nodes.scope, nodes.component),
            opts=self._child,
        )
        headless = self._services()
        # Not on the ClusterIP Services: Pulumi waits for their endpoints, which are the pods of this very StatefulSet.
        needed = [account, files, headless, *self._claims()]
        self.stateful_set = StatefulSet(
            name,
            metadata=self._metadata(name),
            spec=stateful_set_spec(nodes),
            opts=pulumi.ResourceOptions(parent=self, depends_on=needed),
        )
        self.register_outputs({})

    def _metadata(self, name: str) -> ObjectMetaArgsDict:
        return workloads.metadata(self.nodes.scope, self.nodes.component, name)

    def _services(self) -> Service:
        """Declare the pods' own Services and return the headless one that governs the StatefulSet."""
        nodes = self.nodes
        labels = workloads.selector(nodes.scope, nodes.component)
        for pod in pod_names(nodes.component, nodes.replicas):
            spec = workloads.service_spec(labels | {POD_NAME_LABEL: pod}, nodes.ports, not_ready=True)
            Service(pod, metadata=self._metadata(pod), spec=spec, opts=self._child)
        ports = {**nodes.ports, "metrics": nodes.metrics_port}
        return Service(
            nodes.headless_name,
            metadata=self._metadata(nodes.headless_name),
            spec=workloads.service_spec(labels, ports, headless=True, not_ready=True),
            opts=self._child,
        )

    def _claims(self) -> list[PersistentVolumeClaim]:
        nodes = self.nodes
        claims = [f"{CLAIM}-{pod}" for pod in pod_names(nodes.component, nodes.replicas)]
        spec = workloads.claim_spec(nodes.storage, nodes.storage_class)
        return [
            PersistentVolumeClaim(name, metadata=self._metadata(name), spec=spec, opts=self._child) for name in claims
        ]
