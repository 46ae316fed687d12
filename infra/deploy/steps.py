"""The steps of a deployment, which of them a stack needs, and which object belongs to which. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cacheclient.contract import Component, Label
from infra.settings import Settings

Manifest = Mapping[str, Any]
Manifests = Mapping[str, Manifest]


class Way(StrEnum):
    """How objects come into the cluster; both ways make the same ones."""

    KUBECTL = "kubectl"
    PULUMI = "pulumi"


class Name(StrEnum):
    """The steps, in their order."""

    PREFLIGHT = "preflight"
    NAMESPACE = "namespace"
    SECRETS = "secrets"
    REDIS = "redis"
    READY = "ready"
    MONITORING = "monitoring"
    APPLICATION = "application"
    HIT_RATE = "hit-rate"
    PREWARM = "prewarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; ``left_out`` says why it is not carried out, if it is not."""

    name: Name
    does: str
    left_out: str = ""


_MONITORING: Final = {"ServiceMonitor", "PrometheusRule"}
_CLUSTER: Final = {"Namespace", "PriorityClass"}
_SET: Final = {Component.REDIS.value, Component.SENTINEL.value, Component.BACKUP.value}


def part_of(manifest: Manifest) -> Name:
    """Return the step that applies an object."""
    labels = manifest["metadata"].get("labels", {})
    if manifest["kind"] in _CLUSTER:
        return Name.NAMESPACE
    if manifest["kind"] in _MONITORING or "grafana_dashboard" in labels:
        return Name.MONITORING
    return Name.REDIS if labels.get(Label.COMPONENT) in _SET else Name.APPLICATION


def of(manifests: Manifests, step: Name) -> dict[str, Manifest]:
    """Return the objects of a step by file name, in the order of application."""
    return {name: manifest for name, manifest in manifests.items() if part_of(manifest) is step}


# What is asked for most comes first; everything is the night's.
WARMER: Final = f"{Component.WARMER}-hot"


def plan(settings: Settings, manifests: Manifests, way: Way, first: Name = Name.PREFLIGHT) -> tuple[Step, ...]:
    """Return all steps; those before ``first`` are left out, and those that this stack has nothing for."""
    names = tuple(Name)
    before = f"--from {first}"
    reasons = _left_out(settings, manifests, way)
    texts = _does(settings, manifests, way)
    return tuple(
        Step(
            name=name,
            does=texts[name],
            left_out=before if names.index(name) < names.index(first) else reasons.get(name, ""),
        )
        for name in names
    )


def _left_out(settings: Settings, manifests: Manifests, way: Way) -> dict[Name, str]:
    nothing = "application.deployment is not set"
    reasons = {}
    if not (settings.manage_namespace if way is Way.PULUMI else of(manifests, Name.NAMESPACE)):
        reasons[Name.NAMESPACE] = "manageNamespace is false"
    if not settings.monitoring.enabled:
        reasons[Name.MONITORING] = "monitoring.enabled is false"
    if not of(manifests, Name.APPLICATION) and not settings.application.deployment:
        reasons[Name.APPLICATION] = nothing
    if not settings.application.deployment:
        reasons[Name.HIT_RATE] = nothing
    if not settings.warmup.enabled:
        reasons[Name.PREWARM] = "warmup.enabled is false"
    return reasons


def _does(settings: Settings, manifests: Manifests, way: Way) -> dict[Name, str]:
    def objects(step: Name) -> str:
        return f"{len(of(manifests, step))} objects"

    given = settings.application
    target = f"{given.deployment} in {given.namespace}"
    rolled = f"; roll {given.image} into {target}" if given.image else f"; leave {target} as it is"
    up = way is Way.PULUMI
    return {
        Name.PREFLIGHT: f"check tools, access to {settings.context}, classes, definitions, images and Secrets",
        Name.NAMESPACE: f"{'pulumi up' if up else 'apply'} the namespace {settings.namespace}",
        Name.SECRETS: "check the Secrets that pods mount" + ("" if up else "; make the passwords, if there are none"),
        Name.REDIS: f"pulumi up: {len(manifests)} objects" if up else f"apply {objects(Name.REDIS)} of the set",
        Name.READY: "wait until all pods are ready and most Sentinels name one master",
        Name.MONITORING: f"{'look for' if up else 'apply'} {objects(Name.MONITORING)}: monitors, rules, dashboards",
        Name.APPLICATION: f"{'look for' if up else 'apply'} {objects(Name.APPLICATION)}"
        + (rolled if given.deployment else ""),
        Name.HIT_RATE: f"measure the hit rate of {target}: {given.hit_rate:.0%} of {given.min_lookups:,} lookups",
        Name.PREWARM: f"run CronJob {WARMER} now",
    }
