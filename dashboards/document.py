"""The frame of every dashboard: variables, annotations, links, the arrangement of panels, and clean JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import attr
from grafanalib._gen import DashboardEncoder
from grafanalib.core import Annotations, Dashboard, DashboardLink, GridPos, Panel, RowPanel, Templating, Time

from alerts.signals import master_addresses
from cacheclient.contract import BUILD_INFO, DASHBOARD_UIDS, HITS, INVALIDATIONS, Exporter
from dashboards.panels import DATASOURCE
from dashboards.scopes import EVENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TAG: Final = "cache"
COLUMNS: Final = 24
# Grafana migrates older schemas on load, and its migration from 12 (grafanalib's default) forgets the shared crosshair.
_SCHEMA_VERSION = 39
_SHARED_CROSSHAIR = 1
_REFRESH_ON_TIME_CHANGE = 2

# What Grafana 10 and newer read; the rest of grafanalib's output is for plug-ins that no longer exist.
_DOCUMENT_KEYS = frozenset({
    "annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh", "schemaVersion", "tags",
    "templating", "time", "timezone", "title", "uid",
})  # fmt: skip
_PANEL_KEYS = frozenset({
    "datasource", "description", "fieldConfig", "gridPos", "id", "links", "options", "pluginVersion", "targets",
    "title", "transformations", "type",
})  # fmt: skip
# Options of the timeline, out of which grafanalib has to make a status history.
_FOREIGN_OPTIONS = {"status-history": ("alignValue", "mergeValues")}
_ROW_KEYS = frozenset({"collapsed", "gridPos", "id", "panels", "title", "type"})


@dataclass(frozen=True, slots=True)
class Row:
    """A titled group of panels, filled from left to right; a collapsed row costs no queries until it is opened."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = True


@dataclass(frozen=True, slots=True)
class Input:
    """A number at the top of a board that its reader may change: the name of the variable, its label, its default."""

    name: str
    label: str
    value: str


def document(
    key: str,
    title: str,
    description: str,
    subject: Literal["clients", "servers"],
    rows: Sequence[Row],
    inputs: Sequence[Input] = (),
) -> dict[str, Any]:
    """Return a dashboard as the JSON object that Grafana loads.

    ``key`` is a key of ``contract.DASHBOARD_UIDS``; ``subject`` chooses the variables at the top, ``inputs`` adds some.
    """
    board = Dashboard(
        title=title,
        description=description,
        uid=DASHBOARD_UIDS[key],
        tags=[TAG],
        editable=False,
        schemaVersion=_SCHEMA_VERSION,
        graphTooltip=_SHARED_CROSSHAIR,
        refresh="30s",
        time=Time("now-3h", "now"),
        timezone="browser",
        templating=Templating(list=[*_variables(subject), *map(_textbox, inputs)]),
        annotations=Annotations(list=_annotations()),
        links=[DashboardLink(title="Cache dashboards", tags=[TAG], asDropdown=True, includeVars=True, keepTime=True)],
        panels=list(_arranged(rows)),
    ).auto_panel_ids()
    return clean(json.loads(json.dumps(board, cls=DashboardEncoder)))


def clean(board: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard without the keys that Grafana ignores or misreads, and without nulls that mean "unset"."""
    kept = {key: value for key, value in board.items() if key in _DOCUMENT_KEYS}
    cleaned: dict[str, Any] = _without_nulls({**kept, "panels": [_clean_panel(panel) for panel in board["panels"]]})
    return cleaned


def _clean_panel(panel: dict[str, Any]) -> dict[str, Any]:
    if panel["type"] != "row":
        options = {k: v for k, v in panel["options"].items() if k not in _FOREIGN_OPTIONS.get(panel["type"], ())}
        return {key: value for key, value in {**panel, "options": options}.items() if key in _PANEL_KEYS}
    kept = {key: value for key, value in panel.items() if key in _ROW_KEYS}
    return {**kept, "panels": [_clean_panel(inner) for inner in panel["panels"]]}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        # The first step of a threshold has the value null, which means minus infinity.
        step = value.keys() == {"color", "value"}
        return {k: _without_nulls(v) for k, v in value.items() if v is not None or step}
    return value


def _arranged(rows: Sequence[Row]) -> Iterator[Panel]:
    """Yield the rows with positions; what a collapsed row holds takes no place until Grafana opens it."""
    top = 0
    for row in rows:
        place = GridPos(h=1, w=COLUMNS, x=0, y=top)
        placed, bottom = _placed(row.panels, top + 1)
        yield RowPanel(title=row.title, collapsed=row.collapsed, gridPos=place, panels=placed if row.collapsed else [])
        if not row.collapsed:
            yield from placed
        top = top + 1 if row.collapsed else bottom


def _placed(panels: Sequence[Panel], top: int) -> tuple[list[Panel], int]:
    """Return the panels from left to right, in a new line where one does not fit, and the row below the last."""
    placed, left, line = [], 0, 0
    for panel in panels:
        size = panel.gridPos
        if left + size.w > COLUMNS:
            left, top, line = 0, top + line, 0
        placed.append(attr.evolve(panel, gridPos=GridPos(h=size.h, w=size.w, x=left, y=top)))
        left, line = left + size.w, max(line, size.h)
    return placed, top + line


def _variables(subject: Literal["clients", "servers"]) -> list[dict[str, Any]]:
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    if subject == "servers":
        found = [("namespace", Exporter.UP.value), ("instance", EVENTS.redis(Exporter.UP))]
    else:
        chosen = EVENTS.client(HITS.name, 'job=~"$job"')
        found = [
            ("namespace", HITS.name),
            ("job", EVENTS.client(HITS.name)),
            ("instance", chosen),
            ("cache", chosen),
        ]
    return [source, *(_variable(name, series) for name, series in found)]


def _variable(label: str, series: str) -> dict[str, Any]:
    # A plain object: grafanalib's Template writes a "current" that Grafana shows as an empty choice.
    query = f"label_values({series}, {label})"
    return {
        "type": "query",
        "name": label,
        "label": label,
        "datasource": DATASOURCE,
        "query": query,
        "refresh": _REFRESH_ON_TIME_CHANGE,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _textbox(wanted: Input) -> dict[str, Any]:
    return {
        "type": "textbox",
        "name": wanted.name,
        "label": wanted.label,
        "query": wanted.value,
        "current": {"selected": True, "text": wanted.value, "value": wanted.value},
    }


def _annotations() -> list[dict[str, Any]]:
    bursts = f"sum by (namespace) ({EVENTS.rate(EVENTS.client(INVALIDATIONS.name))}) > 10"
    build = EVENTS.client(BUILD_INFO.name)
    appeared = f"max by (namespace, version) ({build}) unless max by (namespace, version) ({build} offset 5m)"
    critical = f'ALERTS{{alertstate="firing",severity="critical",{EVENTS.recorded_series}}}'
    return [
        _annotation("Failovers", f"{master_addresses(EVENTS, '5m')} > 1", "{{master_name}} has a new master", "orange"),
        _annotation("Critical alerts", critical, "{{alertname}} {{pod}}", "red"),
        _annotation("Deploys", appeared, "version {{version}}", "blue"),
        _annotation("Invalidation bursts", bursts, "over 10 invalidations per second", "purple"),
    ]


def _annotation(name: str, expr: str, text: str, colour: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": name,
        "textFormat": text,
        "step": "60s",
        "useValueForTime": False,
    }
