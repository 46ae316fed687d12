"""What the rules ask of a manifest: its pods, and which labels a selector takes. Works on any mapping, not only dicts.

Pulumi hands a policy read-only views of the properties, so nothing here may ask for a ``dict`` or a ``list``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = Mapping[str, Any]

_TEMPLATES: Final = {
    "StatefulSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
# Their containers serve until they are stopped; those of the others end by themselves.
SERVING: Final = {"StatefulSet", "Deployment", "DaemonSet"}


@dataclass(frozen=True)
class PodTemplate:
    """The pods of a workload."""

    owner: Manifest
    labels: Manifest
    spec: Manifest

    @property
    def containers(self) -> tuple[Manifest, ...]:
        """All containers, those that run first included."""
        return (*self.spec.get("initContainers", ()), *self.spec.get("containers", ()))


def pod_template(manifest: Manifest) -> PodTemplate | None:
    """Return the pods that a manifest makes; None if it makes none."""
    path = _TEMPLATES.get(manifest.get("kind", ""))
    if path is None:
        return None
    template: Manifest = manifest
    for key in path:
        template = template.get(key) or {}
    return PodTemplate(manifest, template.get("metadata", {}).get("labels", {}), template.get("spec", {}))


def pod_templates(manifests: tuple[Manifest, ...]) -> Iterator[PodTemplate]:
    """Yield the pods of every workload."""
    for manifest in manifests:
        if (template := pod_template(manifest)) is not None:
            yield template


def name_of(manifest: Manifest) -> str:
    """Return kind and name, as messages begin with them."""
    return f"{manifest.get('kind', '?')} {manifest.get('metadata', {}).get('name', '?')}"


def takes(selector: Manifest, labels: Manifest) -> bool:
    """Whether labels carry everything that a selector's ``matchLabels`` asks for; an empty selector takes all.

    Raises:
        ValueError: for ``matchExpressions``, which nothing of ours uses: a rule must not pass by not understanding.
    """
    if selector.get("matchExpressions"):
        raise ValueError("matchExpressions are not understood by the policies")
    return carries(labels, selector.get("matchLabels", {}))


def carries(labels: Manifest, wanted: Manifest) -> bool:
    """Whether ``labels`` have every one of ``wanted`` with its value."""
    return all(labels.get(key) == value for key, value in wanted.items())
