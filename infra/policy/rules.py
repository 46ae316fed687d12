"""The rules, each a pure function that yields one line per violation. Their docstrings are what Pulumi shows.

``OBJECT_RULES`` look at one manifest; ``STACK_RULES`` at all manifests of a stack together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from dashboards.provisioning import SIDECAR_LABEL
from infra.policy.workload import SERVING, Manifest, carries, name_of, pod_template, pod_templates, takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")
_SECRET_NAME: Final = re.compile(r"PASSWORD|PASSWD|TOKEN|SECRET_?(ACCESS_)?KEY|CREDENTIAL", re.IGNORECASE)
_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
_POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
_VOLUMES: Final = {"name", "configMap", "emptyDir", "secret", "persistentVolumeClaim", "projected", "downwardAPI"}
_SERVER_PROBES: Final = ("livenessProbe", "readinessProbe")


def restricted_pods(manifest: Manifest) -> Iterator[str]:
    """Pods meet the "restricted" Pod Security level, and their root file system is read-only."""
    template = pod_template(manifest)
    if template is None:
        return
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if template.spec.get(key):
            yield f"{key} is on"
    for volume in template.spec.get("volumes", ()):
        if not set(volume) <= _VOLUMES:
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in template.containers:
        for fault in _container_faults(template.spec.get("securityContext", {}), container.get("securityContext", {})):
            yield f"container {container['name']}: {fault}"


def _container_faults(pod: Manifest, own: Manifest) -> Iterator[str]:
    def stated(key: str) -> Any:
        return own.get(key, pod.get(key))

    if stated("runAsNonRoot") is not True or stated("runAsUser") == 0:
        yield "it may run as root"
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    capabilities = own.get("capabilities", {})
    if list(capabilities.get("drop", ())) != ["ALL"] or capabilities.get("add"):
        yield "it keeps capabilities"
    if (stated("seccompProfile") or {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "it has no seccomp profile"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "its root file system is writable"


def stated_resources(manifest: Manifest) -> Iterator[str]:
    """Every container states requests and limits of CPU, memory and storage; memory is reserved in full."""
    template = pod_template(manifest)
    for container in template.containers if template else ():
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for side, amounts in (("requests", requests), ("limits", limits)):
            for missing in (resource for resource in _RESOURCES if not amounts.get(resource)):
                yield f"container {container['name']}: no {missing} in its {side}"
        if requests.get("memory") != limits.get("memory"):
            yield f"container {container['name']}: its memory is not reserved in full"


def fixed_images(manifest: Manifest) -> Iterator[str]:
    """Every image has a tag other than latest, or a digest."""
    for container, image in _images(manifest):
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        if tag in {"", "latest"} and not _DIGEST.search(image):
            yield f"container {container}: {image} names no fixed version"


def digested_images(manifest: Manifest) -> Iterator[str]:
    """Every image has a digest: a tag can be moved."""
    for container, image in _images(manifest):
        if not _DIGEST.search(image):
            yield f"container {container}: {image} has no digest"


def _images(manifest: Manifest) -> Iterator[tuple[str, str]]:
    template = pod_template(manifest)
    for container in template.containers if template else ():
        yield container["name"], container.get("image", "")


def commands_and_probes(manifest: Manifest) -> Iterator[str]:
    """Every container states its command; one that serves has a liveness and a readiness probe."""
    template = pod_template(manifest)
    if template is None:
        return
    for container in template.containers:
        if not container.get("command"):
            yield f"container {container['name']}: no command, which shows only when it is started"
    for container in template.spec.get("containers", ()) if manifest["kind"] in SERVING else ():
        for missing in (probe for probe in _SERVER_PROBES if not container.get(probe)):
            yield f"container {container['name']}: no {missing}"


def own_service_accounts(manifest: Manifest) -> Iterator[str]:
    """No pod uses the namespace's default account, and none carries a token for the Kubernetes API."""
    template = pod_template(manifest)
    if template is not None:
        if template.spec.get("serviceAccountName", "default") == "default":
            yield "it uses the default service account"
        if template.spec.get("automountServiceAccountToken") is not False:
            yield "a token for the Kubernetes API is mounted"
    if manifest.get("kind") == "ServiceAccount" and manifest.get("automountServiceAccountToken") is not False:
        yield "its token is mounted unless a pod says otherwise"


def passwords_in_files(manifest: Manifest) -> Iterator[str]:
    """Passwords reach a pod as files from a Secret: the environment is inherited, dumped and logged."""
    template = pod_template(manifest)
    for container in template.containers if template else ():
        for variable in container.get("env", ()):
            name, source = variable["name"], variable.get("valueFrom", {})
            if source.get("secretKeyRef") or (_SECRET_NAME.search(name) and _is_literal_secret(variable)):
                yield f"container {container['name']}: {name} holds a secret"
        if any(source.get("secretRef") for source in container.get("envFrom", ())):
            yield f"container {container['name']}: a whole Secret in its environment"
    if manifest.get("kind") == "ConfigMap":
        for key in manifest.get("data", {}):
            if _SECRET_NAME.search(key):
                yield f"{key}: a secret belongs into a Secret"


def _is_literal_secret(variable: Manifest) -> bool:
    # A path (.../password-file) is no secret.
    return bool(variable.get("value")) and not variable["value"].startswith("/")


def inside_services(manifest: Manifest) -> Iterator[str]:
    """No Service opens a port to the world: a cache has no business there."""
    if manifest.get("kind") == "Service" and manifest["spec"].get("type", "ClusterIP") != "ClusterIP":
        yield f"it is of type {manifest['spec']['type']}, reachable from outside of the cluster"


def immutable_files(manifest: Manifest) -> Iterator[str]:
    """ConfigMaps are immutable, so an edit makes a new one and rolls the pods, instead of changing under them.

    Dashboards may change: no pod of ours mounts them, and Grafana's sidecar follows.
    """
    dashboard = SIDECAR_LABEL.items() <= manifest["metadata"].get("labels", {}).items()
    if manifest.get("kind") == "ConfigMap" and manifest.get("immutable") is not True and not dashboard:
        yield "it can change while pods mount it"


def restricted_namespaces(manifest: Manifest) -> Iterator[str]:
    """Namespaces enforce the "restricted" Pod Security level."""
    if manifest.get("kind") == "Namespace":
        labels = manifest["metadata"].get("labels", {})
        if labels.get(_POD_SECURITY) != "restricted":
            yield f"label {_POD_SECURITY} is {labels.get(_POD_SECURITY)!r}"


def stated_immutables(manifest: Manifest) -> Iterator[str]:
    """StatefulSets state what can never be changed later, and keep their volumes."""
    if manifest.get("kind") != "StatefulSet":
        return
    spec = manifest["spec"]
    for key in ("serviceName", "podManagementPolicy", "revisionHistoryLimit"):
        if key not in spec:
            yield f"{key} is left to the default"
    retention = spec.get("persistentVolumeClaimRetentionPolicy", {})
    if (retention.get("whenDeleted"), retention.get("whenScaled")) != ("Retain", "Retain"):
        yield "its volumes may be deleted with it"


def selecting_services(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """Every Service selects pods, and every named port of it is one of theirs."""
    for service in _of_kind(manifests, "Service"):
        selector = dict(service["spec"].get("selector", {}))
        selector.pop("statefulset.kubernetes.io/pod-name", None)  # the controller adds it to each pod
        chosen = [template for template in pod_templates(manifests) if carries(template.labels, selector)]
        if not selector or not chosen:
            yield service, "it selects no pod"
        for template in chosen:
            names = {port["name"] for container in template.containers for port in container.get("ports", ())}
            for port in service["spec"].get("ports", ()):
                if isinstance(port["targetPort"], str) and port["targetPort"] not in names:
                    yield service, f"port {port['targetPort']} is none of {name_of(template.owner)}"


def scraped_services(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """Every ServiceMonitor finds exactly one Service with the port that it scrapes."""
    for monitor in _of_kind(manifests, "ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            found = [
                service
                for service in _of_kind(manifests, "Service")
                if takes(monitor["spec"]["selector"], service["metadata"].get("labels", {}))
                and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
            ]
            if len(found) != 1:
                yield monitor, f"port {endpoint['port']} is found at {len(found)} Services instead of one"


def disruption_budgets(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """Every StatefulSet has exactly one disruption budget, which lets one pod go and never all."""
    for stateful_set in _of_kind(manifests, "StatefulSet"):
        labels = stateful_set["spec"]["template"]["metadata"]["labels"]
        budgets = [
            budget
            for budget in _of_kind(manifests, "PodDisruptionBudget")
            if takes(budget["spec"].get("selector", {}), labels)
        ]
        if len(budgets) != 1:
            yield stateful_set, f"{len(budgets)} disruption budgets instead of one"
        for budget in budgets:
            if budget["spec"].get("maxUnavailable") != 1:
                yield stateful_set, f"{name_of(budget)} does not let exactly one pod go at a time"


def separate_nodes(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """The pods of a StatefulSet prefer, or need, different nodes."""
    for stateful_set in _of_kind(manifests, "StatefulSet"):
        affinity = stateful_set["spec"]["template"]["spec"].get("affinity", {}).get("podAntiAffinity", {})
        terms = [
            *affinity.get("requiredDuringSchedulingIgnoredDuringExecution", ()),
            *(t["podAffinityTerm"] for t in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", ())),
        ]
        labels = stateful_set["spec"]["template"]["metadata"]["labels"]
        if not any(
            t["topologyKey"] == "kubernetes.io/hostname" and takes(t.get("labelSelector", {}), labels) for t in terms
        ):
            yield stateful_set, "its pods may all land on one node"


def covered_pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """Every pod is under a NetworkPolicy in both directions, so that what is not allowed is refused."""
    policies = [policy["spec"] for policy in _of_kind(manifests, "NetworkPolicy")]
    for template in pod_templates(manifests):
        for direction in ("Ingress", "Egress"):
            if not any(
                direction in policy.get("policyTypes", ()) and takes(policy.get("podSelector", {}), template.labels)
                for policy in policies
            ):
                yield template.owner, f"no NetworkPolicy limits its {direction.lower()}"


def existing_references(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, str]]:
    """Service accounts, ConfigMaps and governing Services that a workload names are in the stack."""
    present = {name_of(manifest) for manifest in manifests}
    for template in pod_templates(manifests):
        wanted = [f"ServiceAccount {template.spec.get('serviceAccountName', 'default')}"]
        volumes = template.spec.get("volumes", ())
        named = [volume["configMap"] for volume in volumes if "configMap" in volume]
        wanted += [f"ConfigMap {source['name']}" for source in named if not source.get("optional")]
        if template.owner["kind"] == "StatefulSet":
            wanted.append(f"Service {template.owner['spec'].get('serviceName')}")
        for missing in (name for name in wanted if name not in present):
            yield template.owner, f"{missing} is not in the stack"


def _of_kind(manifests: tuple[Manifest, ...], kind: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest.get("kind") == kind)


OBJECT_RULES: Final[tuple[Callable[[Manifest], Iterator[str]], ...]] = (
    restricted_pods,
    stated_resources,
    fixed_images,
    digested_images,
    commands_and_probes,
    own_service_accounts,
    passwords_in_files,
    inside_services,
    immutable_files,
    restricted_namespaces,
    stated_immutables,
)
STACK_RULES: Final[tuple[Callable[[tuple[Manifest, ...]], Iterator[tuple[Manifest, str]]], ...]] = (
    selecting_services,
    scraped_services,
    disruption_budgets,
    separate_nodes,
    covered_pods,
    existing_references,
)
# What a stack may choose: images that no registry holds, and a cluster without network policies.
ADVICE: Final = (digested_images, covered_pods)
