"""What has to hold before a deployment begins, and how to mend what does not. Pure: ``looking`` finds the facts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cacheclient.contract import EXPORTER_AUTH_FILE, PASSWORD_FILES
from infra.deploy.steps import Manifests, Way
from infra.policy.workload import pod_templates
from infra.settings import Settings
from infra.warmers import PLAN_KEY

_DEFINED: Final = {  # kinds that are not Kubernetes' own, and the resources that the API server lists for them
    "ServiceMonitor": "servicemonitors.monitoring.coreos.com",
    "PrometheusRule": "prometheusrules.monitoring.coreos.com",
}
_EXAMPLE: Final = re.compile(r"@sha256:0{64}$|^registry\.example\.com/")


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not hold, and what to do; ``fatal`` unless the deployment can go on; of which Secret, if of one."""

    what: str
    fix: str
    fatal: bool = True
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found. None means that nobody could tell, which is no fault.

    Attributes:
        missing_tools: programs that are not on PATH.
        contexts: those of the kubeconfig.
        unreachable: why the API server does not answer; empty if it does.
        has_namespace: whether the namespace is there.
        denied: kinds of which nothing may be created.
        resources: what the API server lists of the groups in ``_DEFINED``.
        storage_classes: by name, whether it is the default.
        nodes: how many are ready and take pods.
        secrets: the names of the files of each Secret, by its name.
        refused: what the API server would refuse, in its own words.
        stack_exists: whether the Pulumi backend knows the stack.
    """

    missing_tools: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    unreachable: str = ""
    has_namespace: bool = True
    denied: tuple[str, ...] = ()
    resources: frozenset[str] | None = None
    storage_classes: Mapping[str, bool] | None = None
    nodes: int | None = None
    secrets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    stack_exists: bool = True


def faults(stack: str, settings: Settings, manifests: Manifests, way: Way, facts: Facts) -> list[Fault]:
    """Return everything that stands in the way, at once; what cannot be known without the cluster only with it."""
    found = [Fault(f"{tool} is not on PATH", f"install {tool}") for tool in facts.missing_tools]
    found += images(manifests)
    if facts.missing_tools:
        return found
    if facts.unreachable:
        known = ", ".join(facts.contexts) or "none"
        fix = f"set `context` in Pulumi.{stack}.yaml (your kubeconfig has: {known}), or log in again"
        return [*found, Fault(f"the cluster of context {settings.context} does not answer: {facts.unreachable}", fix)]
    return [*found, *_cluster(settings, manifests, facts), *_pulumi(stack, way, facts)]


def images(manifests: Manifests) -> list[Fault]:
    """Find images that are an example's, and those that a tag alone names."""
    used = sorted({c["image"] for pod in pod_templates(tuple(manifests.values())) for c in pod.containers})
    build = "build the Dockerfile, push it, and name it in the stack file with its digest"
    example = [Fault(f"image {image} is the example's", build) for image in used if _EXAMPLE.search(image)]
    moving = [image for image in used if "@sha256:" not in image]
    pinned = "name it with its @sha256: digest: a tag can be moved, also to what was never tried"
    return example + [Fault(f"image {image} has no digest", pinned, fatal=False) for image in moving]


def _cluster(settings: Settings, manifests: Manifests, facts: Facts) -> Iterator[Fault]:
    if facts.denied:
        ask = f"ask for the right, or check: kubectl --context {settings.context} auth can-i create KIND"
        yield Fault(f"you may not create {', '.join(facts.denied)} in {settings.namespace}", ask)
    if not facts.has_namespace and not settings.manage_namespace:
        yield Fault(
            f"namespace {settings.namespace} does not exist, and manageNamespace is false",
            f"kubectl --context {settings.context} create namespace {settings.namespace}",
        )
    kinds = {manifest["kind"] for manifest in manifests.values()} & _DEFINED.keys()
    for kind in sorted(kinds):
        if facts.resources is not None and _DEFINED[kind] not in facts.resources:
            fix = "install the Prometheus operator's definitions, or set monitoring.enabled to false"
            yield Fault(f"the cluster does not know {kind}", fix)
    yield from _storage(settings, facts)
    needed = max(settings.redis.replicas, settings.sentinel.replicas)
    if settings.spread == "hard" and facts.nodes is not None and facts.nodes < needed:
        fix = f"add nodes, uncordon some, or set spread to soft (which keeps {needed} pods on {facts.nodes} nodes)"
        yield Fault(f"spread is hard and needs {needed} nodes; {facts.nodes} are ready and take pods", fix)
    for said in facts.refused:
        yield Fault(f"the API server refuses it: {said}", "change the stack file accordingly")


def _storage(settings: Settings, facts: Facts) -> Iterator[Fault]:
    classes, wanted = facts.storage_classes, settings.storage_class
    if classes is None or (wanted in classes if wanted else any(classes.values())):
        return
    known = ", ".join(classes) or "none"
    what = f"there is no StorageClass {wanted}" if wanted else "the cluster has no default StorageClass"
    yield Fault(what, f"set storageClass to one that exists ({known})")


def _pulumi(stack: str, way: Way, facts: Facts) -> Iterator[Fault]:
    if way is Way.PULUMI and not facts.stack_exists:
        yield Fault(f"the Pulumi backend does not know the stack {stack}", f"pulumi stack init {stack}")


def mounted(manifests: Manifests) -> dict[str, frozenset[str]]:
    """Return the files that pods mount from each Secret, by its name; those that may be missing are left out."""
    wanted: dict[str, frozenset[str]] = {}
    for pod in pod_templates(tuple(manifests.values())):
        for volume in pod.spec.get("volumes", ()):
            for name, items in _secrets_of(volume):
                wanted[name] = wanted.get(name, frozenset()) | {item["key"] for item in items}
    return wanted


def _secrets_of(volume: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, str]]]]:
    """Return the Secrets of a volume, alone or put together from several, without those that may be missing."""
    alone = volume.get("secret", {})
    several = [source.get("secret", {}) for source in volume.get("projected", {}).get("sources", ())]
    found = [(alone.get("secretName"), alone), *((secret.get("name"), secret) for secret in several)]
    return [(name, secret.get("items", ())) for name, secret in found if name and not secret.get("optional")]


def made(settings: Settings, manifests: Manifests, way: Way, present: Mapping[str, frozenset[str]]) -> str:
    """Return the Secret that the deployment makes by itself, that of the passwords; nothing where it need not.

    Pulumi has to be given it, or the passwords: what it does not declare it would not know.
    """
    name = settings.secret_name
    wanted = name in mounted(manifests) and name not in present and name not in _declared(manifests)
    return name if wanted and way is Way.KUBECTL else ""


def _declared(manifests: Manifests) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in manifests.values() if manifest["kind"] == "Secret"}


def lacking(stack: str, settings: Settings, manifests: Manifests, present: Mapping[str, frozenset[str]]) -> list[Fault]:
    """Find Secrets that pods would wait for; those that the stack declares are there in time."""
    declared = _declared(manifests)
    backup = settings.backup
    wanted = {name: files for name, files in mounted(manifests).items() if name not in declared}
    if backup.encryption_secret in wanted:
        wanted[backup.encryption_secret] |= {backup.encryption_key_id}
    if settings.warmup.secret_name in wanted:
        wanted[settings.warmup.secret_name] |= {PLAN_KEY}
    if settings.secret_name in wanted:
        wanted[settings.secret_name] |= {*PASSWORD_FILES, EXPORTER_AUTH_FILE}
    found = []
    for name, files in sorted(wanted.items()):
        fix = _remedy(stack, settings, name, files)
        if name not in present:
            found.append(Fault(f"there is no Secret {name} in {settings.namespace}", fix, secret=name))
        elif files - present[name]:
            names = ", ".join(sorted(files - present[name]))
            found.append(Fault(f"Secret {name} in {settings.namespace} has no {names}", fix, secret=name))
    return found


def _remedy(stack: str, settings: Settings, name: str, files: frozenset[str]) -> str:
    kubectl = f"kubectl --context {settings.context}"
    commands = {
        settings.secret_name: f"python -m infra.credentials {stack} | {kubectl} create -f -",
        settings.tls.secret_name: f"python -m infra.certificates {stack} | {kubectl} apply --server-side -f -",
    }
    given = " ".join(f"--from-file={file}" for file in sorted(files)) or "--from-file=NAME"
    return commands.get(name, f"{kubectl} -n {settings.namespace} create secret generic {name} {given}")
