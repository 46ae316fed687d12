"""Pure building blocks of Kubernetes objects, as dictionaries whose keys mypy checks against the SDK.

They hold the house rules once: labels, the "restricted" Pod Security level, requests and limits, placement, volumes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal

from cacheclient.contract import ALTERNATE_SUFFIX, APP_NAME, UID, Component, Label
from infra.quantities import MIB, size_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pulumi_kubernetes.core.v1 import (
        AffinityArgsDict,
        ContainerArgsDict,
        EnvVarArgsDict,
        KeyToPathArgsDict,
        PersistentVolumeClaimSpecArgsDict,
        PodAffinityTermArgsDict,
        PodSecurityContextArgsDict,
        ProbeArgsDict,
        ResourceRequirementsArgsDict,
        SecurityContextArgsDict,
        ServicePortArgsDict,
        ServiceSpecArgsDict,
        TopologySpreadConstraintArgsDict,
        VolumeArgsDict,
        VolumeProjectionArgsDict,
        WeightedPodAffinityTermArgsDict,
    )
    from pulumi_kubernetes.meta.v1 import LabelSelectorArgsDict, ObjectMetaArgsDict
    from pulumi_kubernetes.policy.v1 import PodDisruptionBudgetSpecArgsDict

    from infra.settings_pods import Container

# Logs and small files of a container; above the limit the kubelet evicts the pod instead of filling the node.
EPHEMERAL_REQUEST: Final = "64Mi"
EPHEMERAL_LIMIT: Final = "512Mi"
# Owner and group may read; the group is the pods' fsGroup.
SECRET_MODE: Final = 0o440
SCRIPT_MODE: Final = 0o555
_SECCOMP: Final = "RuntimeDefault"
_HOSTNAME: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Where the objects of one environment live, and the instance label that sets them apart: the set's name."""

    namespace: str
    instance: str


def selector(scope: Scope, component: Component) -> dict[str, str]:
    """Return the labels that select a component's pods; they never change during an object's life."""
    return {Label.NAME.value: APP_NAME, Label.INSTANCE.value: scope.instance, Label.COMPONENT.value: component.value}


def pod_labels(scope: Scope, component: Component) -> dict[str, str]:
    """Return the labels of pods and volume claims. No version: a release alone would roll every pod."""
    return selector(scope, component) | {Label.PART_OF.value: APP_NAME, Label.MANAGED_BY.value: APP_NAME}


def metadata(scope: Scope, component: Component, name: str) -> ObjectMetaArgsDict:
    """Return name, namespace and all labels of an object."""
    labels = pod_labels(scope, component) | {Label.VERSION.value: version(APP_NAME)}
    return {"name": name, "namespace": scope.namespace, "labels": labels}


def content_name(name: str, data: Mapping[str, str]) -> str:
    """Return ``name`` with a digest of the content: the name of an immutable ConfigMap.

    An edit makes a new object and so a new pod template, which rolls the pods one by one. A pod that restarts before
    its turn still mounts the old text: with one fixed name it would run the new text beside peers with the old one.
    """
    digest = sha256()
    for key in sorted(data):
        for part in (key, data[key]):
            digest.update(sha256(part.encode()).digest())
    return f"{name}-{digest.hexdigest()[:10]}"


def match(scope: Scope, component: Component) -> LabelSelectorArgsDict:
    """Return a selector of a component's pods."""
    return {"match_labels": selector(scope, component)}


def pod_security() -> PodSecurityContextArgsDict:
    """Return the pod part of the "restricted" Pod Security level; volumes belong to our group."""
    return {
        "run_as_non_root": True,
        "run_as_user": UID,
        "run_as_group": UID,
        "fs_group": UID,
        # Only a volume whose root has another group is walked: a restart must not wait for millions of chowns.
        "fs_group_change_policy": "OnRootMismatch",
        "seccomp_profile": {"type": _SECCOMP},
    }


def container_security() -> SecurityContextArgsDict:
    """Return the container part of the "restricted" Pod Security level, with a read-only root file system."""
    return {
        "allow_privilege_escalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "read_only_root_filesystem": True,
        "run_as_non_root": True,
        "seccomp_profile": {"type": _SECCOMP},
    }


def resources(container: Container, scratch_bytes: int = 0) -> ResourceRequirementsArgsDict:
    """Return requests and limits. Memory is reserved in full, CPU may burst up to its limit.

    ``scratch_bytes`` on an emptyDir are requested on top, so that the pod lands on a node that has them.
    """
    request, limit = (f"{(size_bytes(size) + scratch_bytes) // MIB}Mi" for size in (EPHEMERAL_REQUEST, EPHEMERAL_LIMIT))
    return {
        "requests": {"cpu": container.cpu_request, "memory": container.memory, "ephemeral-storage": request},
        "limits": {"cpu": container.cpu_limit, "memory": container.memory, "ephemeral-storage": limit},
    }


def container(name: str, settings: Container, *, command: Sequence[str]) -> ContainerArgsDict:
    """Return a container with everything that all of ours have in common.

    The command is always stated: an image without one only shows as CreateContainerError after minutes of waiting.
    """
    return {
        "name": name,
        "image": settings.image,
        "image_pull_policy": settings.pull_policy,
        "command": list(command),
        "resources": resources(settings),
        "security_context": container_security(),
    }


def environment(values: Mapping[str, str]) -> list[EnvVarArgsDict]:
    """Return environment variables in the order given: a later one may refer to an earlier one as ``$(NAME)``."""
    return [{"name": name, "value": value} for name, value in values.items()]


def pod_name_variable(name: str) -> EnvVarArgsDict:
    """Return an environment variable that holds the pod's own name."""
    return {"name": name, "value_from": {"field_ref": {"api_version": "v1", "field_path": "metadata.name"}}}


def http_probe(path: str, port: str, *, period: int, failures: int, timeout: int = 1) -> ProbeArgsDict:
    """Return a probe that asks by HTTP; ``period`` and ``timeout`` in seconds."""
    return {
        "http_get": {"path": path, "port": port},
        "period_seconds": period,
        "failure_threshold": failures,
        "timeout_seconds": timeout,
    }


def exec_probe(command: Sequence[str], *, period: int, failures: int, timeout: int) -> ProbeArgsDict:
    """Return a probe that runs a command; ``period`` and ``timeout`` in seconds."""
    return {
        "exec_": {"command": list(command)},
        "period_seconds": period,
        "failure_threshold": failures,
        "timeout_seconds": timeout,
    }


def config_volume(name: str, config_map: str, mode: int | None = None) -> VolumeArgsDict:
    """Return a volume with the files of a ConfigMap."""
    if mode is None:
        return {"name": name, "config_map": {"name": config_map}}
    return {"name": name, "config_map": {"name": config_map, "default_mode": mode}}


def password_volume(name: str, secret: str, keys: Sequence[str]) -> VolumeArgsDict:
    """Return a volume with the named keys of a Secret, and of each the other password that a rotation has added."""
    required: list[KeyToPathArgsDict] = [{"key": key, "path": key} for key in keys]
    added = [f"{key}{ALTERNATE_SUFFIX}" for key in keys]
    optional: list[KeyToPathArgsDict] = [{"key": key, "path": key} for key in added]
    sources: list[VolumeProjectionArgsDict] = [
        {"secret": {"name": secret, "items": required}},
        {"secret": {"name": secret, "items": optional, "optional": True}},
    ]
    return {"name": name, "projected": {"default_mode": SECRET_MODE, "sources": sources}}


def secret_volume(name: str, secret: str, keys: Sequence[str]) -> VolumeArgsDict:
    """Return a volume with only the named keys of a Secret, each as a file of that name."""
    items: list[KeyToPathArgsDict] = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": {"secret_name": secret, "default_mode": SECRET_MODE, "items": items}}


def memory_volume(name: str, size: str) -> VolumeArgsDict:
    """Return scratch space in memory: files with passwords never reach a disk."""
    return {"name": name, "empty_dir": {"medium": "Memory", "size_limit": size}}


def scratch_volume(name: str, size: str) -> VolumeArgsDict:
    """Return scratch space on the node's disk; a pod that writes more is evicted."""
    return {"name": name, "empty_dir": {"size_limit": size}}


def claim_spec(size: str, storage_class: str) -> PersistentVolumeClaimSpecArgsDict:
    """Return the spec of a volume claim; an empty class means the cluster's default."""
    spec: PersistentVolumeClaimSpecArgsDict = {
        "access_modes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class:
        spec["storage_class_name"] = storage_class
    return spec


def service_spec(
    labels: Mapping[str, str],
    ports: Mapping[str, int],
    *,
    headless: bool = False,
    not_ready: bool = False,
) -> ServiceSpecArgsDict:
    """Return the spec of a ClusterIP Service. ``not_ready`` keeps pods reachable that do not serve yet."""
    spec: ServiceSpecArgsDict = {
        "type": "ClusterIP",
        "selector": dict(labels),
        "ports": [_port(name, number) for name, number in ports.items()],
        "publish_not_ready_addresses": not_ready,
    }
    if headless:
        spec["cluster_ip"] = "None"
    return spec


def _port(name: str, number: int) -> ServicePortArgsDict:
    return {"name": name, "port": int(number), "target_port": name, "protocol": "TCP"}


def one_at_a_time(scope: Scope, component: Component) -> PodDisruptionBudgetSpecArgsDict:
    """Return a disruption budget: a drain takes one pod of the component at a time."""
    return {"max_unavailable": 1, "selector": match(scope, component)}


def affinity(scope: Scope, component: Component, spread: Literal["hard", "soft"]) -> AffinityArgsDict:
    """Return the anti-affinity of a component's pods: never two on a node (hard), or not if avoidable (soft)."""
    term: PodAffinityTermArgsDict = {"label_selector": match(scope, component), "topology_key": _HOSTNAME}
    if spread == "hard":
        return {"pod_anti_affinity": {"required_during_scheduling_ignored_during_execution": [term]}}
    preferred: WeightedPodAffinityTermArgsDict = {"weight": 100, "pod_affinity_term": term}
    return {"pod_anti_affinity": {"preferred_during_scheduling_ignored_during_execution": [preferred]}}


def zone_spread(
    scope: Scope, component: Component, spread: Literal["hard", "soft"]
) -> list[TopologySpreadConstraintArgsDict]:
    """Return the spread over zones. A hard one leaves pods pending where the nodes have no zone label."""
    return [
        {
            "max_skew": 1,
            "topology_key": _ZONE,
            "when_unsatisfiable": "DoNotSchedule" if spread == "hard" else "ScheduleAnyway",
            "label_selector": match(scope, component),
        }
    ]
