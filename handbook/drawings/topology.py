"""What a production stack brings up, and who connects to whom, from its rendered manifests and NetworkPolicies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from cacheclient.contract import Component, Label
from handbook.drawings.svg import Drawing

MANIFESTS: Final = Path(__file__).resolve().parents[2] / "tests" / "rendered" / "prod"
_LABEL: Final = Label.COMPONENT.value
_NAMESPACE: Final = "kubernetes.io/metadata.name"
_APPS: Final = "applications"
_OUTSIDE: Final = "outside"
_MONITORING: Final = "monitoring"
_PLACES: Final[dict[str, tuple[float, float, float, float]]] = {
    _APPS: (20, 60, 190, 90),
    _MONITORING: (20, 310, 190, 90),
    Component.SENTINEL.value: (350, 60, 230, 80),
    Component.REDIS.value: (350, 195, 230, 90),
    Component.API.value: (350, 345, 230, 70),
    Component.BACKUP.value: (720, 60, 190, 80),
    Component.WARMER.value: (720, 195, 190, 80),
    _OUTSIDE: (720, 465, 190, 60),
}
_NEIGHBOURS: Final = 160  # pixels between the tops of two boxes, one above the other
_FAR: Final = 300
Edge = tuple[str, str, tuple[int, ...]]


def draw() -> str:
    """Return the drawing."""
    manifests = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(MANIFESTS.glob("*.yaml"))]
    sheet = Drawing(1000, 540, "Who connects to whom in a production stack")
    namespace = next(each["metadata"]["name"] for each in manifests if each["kind"] == "Namespace")
    sheet.outer(320, 20, 610, 415, f"namespace {namespace}")
    for source, target, ports in sorted(edges(manifests)):
        _connect(sheet, source, target, ", ".join(map(str, ports)))
    for name, place in _PLACES.items():
        title, *lines = _words(name, manifests)
        sheet.box(*place, title, lines)
    return sheet.svg()


def edges(manifests: list[dict[str, Any]]) -> set[Edge]:
    """Return who may connect to whom, and to which ports."""
    found: dict[tuple[str, str], set[int]] = {}
    specs = [each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"]
    policies = {own: spec for spec in specs if (own := spec["podSelector"]["matchLabels"].get(_LABEL))}
    for own, policy in policies.items():
        for rule in policy.get("ingress", []):
            for peer in rule["from"]:
                for source in [_outsider(peer)] if "namespaceSelector" in peer else policies.keys() - {own}:
                    found.setdefault((source, own), set()).update(port["port"] for port in rule["ports"])
        for rule in policy.get("egress", []):
            if any("ipBlock" in peer for peer in rule.get("to", [])):
                found.setdefault((own, _OUTSIDE), set()).update(port["port"] for port in rule["ports"])
    return {(source, target, tuple(sorted(ports))) for (source, target), ports in found.items()}


def _outsider(peer: dict[str, Any]) -> str:
    name = peer["namespaceSelector"]["matchLabels"][_NAMESPACE]
    return _MONITORING if name == _MONITORING else _APPS


def _connect(sheet: Drawing, source: str, target: str, label: str) -> None:
    (x, y, w, h), (to_x, to_y, to_w, to_h) = _PLACES[source], _PLACES[target]
    down = to_y > y
    if x == to_x and abs(to_y - y) > _NEIGHBOURS:  # around what is between them
        sheet.arrow(
            x + w,
            y + h / 2,
            to_x + to_w,
            to_y + to_h / 2,
            label,
            bend=(-1 if down else 1) * (24 if abs(to_y - y) < _FAR else 66),
            at=0.28,  # where no other arrow passes
        )
    elif x == to_x:
        aside = x + w * (0.25 if down else 0.75)
        sheet.arrow(aside, y + h if down else y, aside, to_y if down else to_y + to_h, label)
    elif to_x > x:
        sheet.arrow(x + w, y + h / 2, to_x, to_y + to_h / 2 + (y - to_y) / 12, label, at=0.62)
    else:
        sheet.arrow(x, y + h / 2, to_x + to_w, to_y + to_h / 2 + (y - to_y) / 12, label, at=0.26)


def _words(name: str, manifests: list[dict[str, Any]]) -> list[str]:
    """Return what stands in a box."""
    sets = {
        each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] in {"StatefulSet", "Deployment"}
    }
    jobs = sorted(
        each["metadata"]["name"] for each in manifests if each["kind"] == "CronJob" and name in each["metadata"]["name"]
    )
    known = {
        _APPS: ["your application", "cacheclient: L1", "in each process"],
        _MONITORING: ["Prometheus", "rules, alerts, boards"],
        _OUTSIDE: ["outside", "object store, sources"],
    }
    if name in known:
        return known[name]
    if jobs:
        return [name, *jobs]
    pods = sets[name]["replicas"]
    containers = [each["name"] for each in sets[name]["template"]["spec"]["containers"]]
    if name == Component.API.value:
        return [name, f"{pods} pods"]
    role = "one of them the master" if name == Component.REDIS.value else "agree on the master"
    return [
        f"{name}-0 to {name}-{pods - 1}",
        role,
        "each with " + ", ".join(each for each in containers if each != name),
    ]
