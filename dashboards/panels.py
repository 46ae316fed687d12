"""House style over grafanalib: every panel of every board is made here, so that all of them look and read alike.

grafanalib 0.7 writes the JSON of Grafana 6 to 9. What current Grafana would misread is corrected here, once: thresholds
whose first step is the string "null", legends without ``showLegend``, heatmaps in the shape of a removed plug-in, and
plug-in migrations that run where ``pluginVersion`` is missing. ``document.clean`` removes what is left over, such
as the limit of 100 data points that would draw a day in quarter hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Final, Literal

from grafanalib.core import GridPos, Heatmap, Panel, Stat, StateTimeline, Table, Text, TimeSeries

from cacheclient.contract import DASHBOARD_UIDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerts.model import Reading

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_PLUGIN_VERSION = "11.0.0"
_GOOD, _FAIR, _BAD, _PLAIN = "green", "orange", "red", "text"
Steps = list[dict[str, Any]]
PLAIN: Final[Steps] = [{"color": _PLAIN, "value": None}]


def at_least(good: float, fair: float | None = None) -> Steps:
    """Return colours for a quantity that should be ``good`` or more; below ``fair`` it is red."""
    if fair is None:
        return [{"color": _BAD, "value": None}, {"color": _GOOD, "value": good}]
    return [{"color": _BAD, "value": None}, {"color": _FAIR, "value": fair}, {"color": _GOOD, "value": good}]


def below(good: float, fair: float | None = None) -> Steps:
    """Return colours for a quantity that should stay below ``good``; from ``fair`` on it is red."""
    if fair is None:
        return [{"color": _GOOD, "value": None}, {"color": _BAD, "value": good}]
    return [{"color": _GOOD, "value": None}, {"color": _FAIR, "value": good}, {"color": _BAD, "value": fair}]


def steps_of(reading: Reading) -> Steps:
    """Return the colours of a signal: its alert threshold separates good from bad."""
    if reading.limit is None:
        return PLAIN
    return at_least(reading.limit) if reading.good == "above" else below(reading.limit)


@dataclass(frozen=True, slots=True)
class Query:
    """One Prometheus query of a panel."""

    expr: str
    legend: str = "{{pod}}"
    format: Literal["time_series", "heatmap", "table"] = "time_series"
    exemplars: bool = False

    def as_json(self, ref: str, *, instant: bool) -> dict[str, Any]:
        """Return the query as Grafana's Prometheus plug-in stores it."""
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "exemplar": self.exemplars,
            "expr": self.expr,
            "format": self.format,
            "instant": instant,
            "legendFormat": self.legend,
            "range": not instant,
            "refId": ref,
        }


@dataclass(frozen=True, slots=True)
class Column:
    """One value column of a table."""

    title: str
    expr: str
    unit: str = "short"
    steps: Sequence[dict[str, Any]] = ()


def graph(
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    *,
    steps: Steps = PLAIN,
    stack: Literal["none", "normal", "percent"] = "none",
    log: bool = False,
    width: int = 12,
) -> Panel:
    """Return a time series; every threshold above the first is drawn as a dashed line."""
    return TimeSeries(
        **_shared(title, description, queries, width, 8),
        unit=unit,
        thresholds=steps,
        fillOpacity=10 if stack == "none" else 60,
        showPoints="never",
        scaleDistributionType="log" if log else "linear",
        scaleDistributionLog=10,
        thresholdsStyleMode="dashed" if len(steps) > 1 else "off",
        stacking={"mode": stack, "group": "A"},
        tooltipMode="multi",
        tooltipSort="desc",
        extraJson=_extra({"fieldConfig": {"defaults": {"min": 0}} if not log else {}}, legend=True),
    )


def graph_of(reading: Reading, *more: Query, **look: Any) -> Panel:
    """Return the time series of a signal, with its alert threshold as a line."""
    title = f"{reading.title} over time"
    look.setdefault("steps", steps_of(reading))
    return graph(title, reading.description, [Query(reading.expr, reading.legend), *more], reading.unit, **look)


def stat(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    steps: Steps = PLAIN,
    board: str = "",
    texts: Mapping[int, tuple[str, str]] | None = None,
) -> Panel:
    """Return one figure, coloured by its target; a click opens ``board``, which explains it."""
    defaults: dict[str, Any] = {"color": {"mode": "thresholds"}}
    if board:
        defaults["links"] = [{"title": "Explain", "url": f"/d/{DASHBOARD_UIDS[board]}?${{__url_time_range}}"}]
    return Stat(
        **_shared(title, description, [Query(expr, "{{namespace}}")], 4, 4, instant=True),
        format=unit,
        thresholds=steps,
        mappings=_texts(texts or {}),
        colorMode="background" if len(steps) > 1 else "value",
        graphMode="none",
        noValue="no data",
        reduceCalc="lastNotNull",
        extraJson=_extra({"fieldConfig": {"defaults": defaults}}),
    )


def stat_of(reading: Reading, *, board: str = "", steps: Steps | None = None) -> Panel:
    """Return the present value of a signal."""
    colours = steps_of(reading) if steps is None else steps
    return stat(reading.title, reading.description, reading.expr, reading.unit, steps=colours, board=board)


def timeline(
    title: str, description: str, queries: Sequence[Query], texts: Mapping[int, tuple[str, str]], *, width: int = 12
) -> Panel:
    """Return states over time; ``texts`` maps each value to its text and colour."""
    return StateTimeline(
        **_shared(title, description, queries, width, 8),
        mappings=_texts(texts),
        thresholds=PLAIN,
        showValue="auto",
        extraJson=_extra({"fieldConfig": {"defaults": {"unit": "none"}}}, legend=True),
    )


def cells(title: str, description: str, queries: Sequence[Query], unit: str, *, steps: Steps, width: int = 24) -> Panel:
    """Return one row of cells for each series, coloured by the thresholds: a heat map of processes over time."""
    return StateTimeline(
        **_shared(title, description, queries, width, 8),
        thresholds=steps,
        showValue="never",
        extraJson=_extra(
            {
                "type": "status-history",
                "fieldConfig": {"defaults": {"unit": unit, "color": {"mode": "thresholds"}}},
            },
            legend=True,
        ),
    )


def words(title: str, content: str, *, width: int = 24) -> Panel:
    """Return a panel of text in Markdown."""
    return Text(
        title=title,
        content=content,
        mode="markdown",
        gridPos=GridPos(h=3, w=width, x=0, y=0),
        extraJson={"pluginVersion": _PLUGIN_VERSION},
    )


def heatmap(title: str, description: str, buckets: str, unit: str, *, width: int = 24) -> Panel:
    """Return a distribution over time from the buckets of a Prometheus histogram."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5, "steps": 64},
        "exemplars": {"color": "rgba(31,120,193,0.8)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }
    query = Query(buckets, "{{le}}", "heatmap", exemplars=True)
    return Heatmap(
        **_shared(title, description, [query], width, 9),
        options=options,
        extraJson=_extra({"fieldConfig": {"defaults": {"unit": unit, "thresholds": {"steps": PLAIN}}}}),
    )


def table(
    title: str, description: str, by: str, columns: Sequence[Column], *, labels: Mapping[str, str] | None = None
) -> Panel:
    """Return one row per value of label ``by``; ``labels`` are further labels of the first query, with their titles.

    Rows are sorted by the last column, largest first.
    """
    values = {f"Value #{ref}": column.title for ref, column in zip(ascii_uppercase, columns, strict=False)}
    titles = {by: by.capitalize(), **(labels or {}), **values}
    joined = [
        {"id": "joinByField", "options": {"byField": by, "mode": "outer"}},
        {"id": "filterFieldsByName", "options": {"include": {"names": list(titles)}}},
        {"id": "organize", "options": {"renameByName": titles, "indexByName": {n: i for i, n in enumerate(titles)}}},
    ]
    queries = [Query(column.expr, "", "table") for column in columns]
    return Table(
        **_shared(title, description, queries, 24, 8, instant=True),
        thresholds=PLAIN,
        unit="short",
        transformations=joined,
        overrides=[_column_override(column) for column in columns],
        extraJson=_extra({"options": {"sortBy": [{"displayName": columns[-1].title, "desc": True}]}}),
    )


def _column_override(column: Column) -> dict[str, Any]:
    properties: list[dict[str, Any]] = [{"id": "unit", "value": column.unit}]
    if column.steps:
        properties += [
            {"id": "thresholds", "value": {"mode": "absolute", "steps": list(column.steps)}},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}},
        ]
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def _shared(
    title: str, description: str, queries: Sequence[Query], width: int, height: int, *, instant: bool = False
) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "dataSource": DATASOURCE,
        "targets": [query.as_json(ref, instant=instant) for ref, query in zip(ascii_uppercase, queries, strict=False)],
        "gridPos": GridPos(h=height, w=width, x=0, y=0),
    }


def _texts(texts: Mapping[int, tuple[str, str]]) -> list[dict[str, Any]]:
    options = {
        str(value): {"text": text, "color": colour, "index": index}
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}] if options else []


def _extra(more: dict[str, Any], *, legend: bool = False) -> dict[str, Any]:
    extra = {**more, "pluginVersion": _PLUGIN_VERSION}
    if legend:
        extra["options"] = {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}}
    return extra
