"""Panels of cells: states over time, distributions over time, single figures, tables, texts. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from dashboards.preview import svg, units
from dashboards.preview.lines import marks, time_grid
from dashboards.preview.panel import Panel, at_step
from dashboards.preview.results import Series, Span
from dashboards.preview.scales import Axis
from dashboards.preview.svg import Box, colour, label, rect, title

_HEAT: Final = "#e06a00"
_ROW: Final = 22.0
_MOST_FIGURES: Final = 3
_NARROWEST: Final = 70.0  # pixels of a column of a table


def states(panel: Panel, box: Box) -> str:
    """Return one line of coloured cells for each series; equal neighbours are one cell."""
    plot = box.inside(left=150, top=6, right=12, bottom=22)
    named = panel.named
    height = min(34.0, plot.height / max(1, len(named)))
    across, drawn = Axis(panel.span.start, panel.span.end, plot.x, plot.right), [time_grid(panel.span, plot)]
    for index, (name, series) in enumerate(named):
        row = Box(plot.x, plot.y + index * height, plot.width, height - 3)
        drawn.append(label(svg.fitted(name, 135), plot.x - 8, row.y + row.height / 2 + 4, "end", hint=name))
        for start, end, value in _runs(series, panel.span):
            left, right = across.place(start), across.place(end)
            words, paint = panel.mapping(value) or (units.text(value, panel.unit), at_step(value, panel.steps))
            hint = title(f"{name}: {words}, {units.clock(start, seconds=True)} to {units.clock(end, seconds=True)}")
            drawn.append(rect(Box(left, row.y, right - left, row.height), hint, fill=_solid(paint), fill_opacity=0.75))
            if svg.width_of(words) < right - left - 4:
                drawn.append(label(words, left + 5, row.y + row.height / 2 + 4, "on"))
    return "".join((*drawn, marks(panel, plot)))


def heatmap(panel: Panel, box: Box) -> str:
    """Return a distribution over time: the darker a cell, the more observations fell between its two edges."""
    plot = box.inside(left=70, top=6, right=12, bottom=22)
    rows = _buckets(panel.named)
    if not rows:
        return ""
    most = max(count for _, points in rows for count in points.values()) or 1.0
    height = plot.height / len(rows)
    wide = plot.width / max(1.0, (panel.span.end - panel.span.start) / panel.span.step + 1)
    across, drawn = Axis(panel.span.start, panel.span.end, plot.x, plot.right - wide), [time_grid(panel.span, plot)]
    stride = max(1, round(18 / height))
    for index, (edge, points) in enumerate(rows):
        y = plot.bottom - (index + 1) * height
        words = "above" if edge == float("inf") else f"≤ {units.text(edge, panel.unit)}"
        if index % stride == 0:
            drawn.append(label(words, plot.x - 6, y + height / 2 + 4, "faint end"))
        drawn += [
            rect(
                Box(across.place(moment), y, wide, height - 1),
                title(f"{units.clock(moment, seconds=True)} {words}: {units.text(count, 'short')}"),
                fill=_HEAT,
                fill_opacity=f"{0.08 + 0.92 * (count / most) ** 0.5:.2f}",
            )
            for moment, count in points.items()
            if count > 0
        ]
    return "".join((*drawn, marks(panel, plot)))


def stat(panel: Panel, box: Box) -> str:
    """Return one figure, or up to three under each other, coloured by the thresholds."""
    found = [(name, series.last) for name, series in panel.named[:_MOST_FIGURES]]
    if not found:
        return nothing(panel, box)
    height = box.height / len(found)
    drawn = []
    for index, (name, value) in enumerate(found):
        words, paint = panel.mapping(value) or (units.text(value, panel.unit), at_step(value, panel.steps))
        cell = Box(box.x + 6, box.y + index * height + 2, box.width - 12, height - 8)
        filled = panel.json["options"].get("colorMode") == "background"
        size = min(30.0, cell.height * 0.62, cell.width / (0.62 * max(4, len(words))))
        drawn.append(rect(cell, title(name), fill=_solid(paint), rx=4) if filled else "")
        style = {"style": f"font-size:{size:.0f}px" + ("" if filled else f";fill:{_ink(paint)}")}
        drawn.append(
            label(
                words, cell.x + cell.width / 2, cell.y + cell.height / 2 + size / 3, f"figure{' on' * filled}", name,
                **style,
            )
        )  # fmt: skip
    return "".join(drawn)


def table(panel: Panel, box: Box) -> str:
    """Return the rows that the panel's transformations leave, sorted as it says; what does not fit is counted.

    Where there is no room for all columns, a row becomes a column.
    """
    heads, rows = tabulated(panel)
    plot = box.inside(left=12, right=12, top=4, bottom=8)
    cells = [[(head, "") for head in heads]]
    cells += [[_cell(panel, head, value) for head, value in zip(heads, row, strict=True)] for row in rows]
    if turned := plot.width / max(1, len(heads)) < _NARROWEST:
        fit = int(plot.width / _NARROWEST)
        cells = [list(line) for line in zip(*(cells if len(cells) <= fit else cells[:fit]), strict=True)]
    room = max(2, int(plot.height / _ROW))
    shown = cells if len(cells) <= room else cells[: room - 1]
    left = len(rows) + 1 - (len(cells[0]) if turned else len(shown))
    drawn = [_line(line, plot, plot.y + index * _ROW, head=index == 0) for index, line in enumerate(shown)]
    return "".join((*drawn, label(f"and {left} more", plot.x, plot.bottom, "faint") if left > 0 else ""))


def _line(line: Sequence[tuple[str, str]], plot: Box, y: float, *, head: bool) -> str:
    """Return one line of a table, of texts with the names of their colours."""
    wide = plot.width / max(1, len(line))
    drawn = [] if head else [svg.line(plot.x, y - 3, plot.right, y - 3, class_="grid")]
    for column, (words, paint) in enumerate(line):
        x = plot.x + column * wide
        if paint:
            drawn.append(rect(Box(x - 4, y - 1, wide - 6, _ROW - 4), fill=colour(paint), fill_opacity=0.85, rx=3))
        look = "faint" if head else "plain on" if paint else "plain"
        drawn.append(label(svg.fitted(words, wide - 10), x, y + 13, look, words))
    return "".join(drawn)


def words(panel: Panel, box: Box) -> str:
    """Return the text of a text panel, without its marks of Markdown."""
    content = str(panel.json["options"]["content"]).replace("**", "").replace("`", "")
    lines = [line for part in content.splitlines() for line in textwrap.wrap(part, int(box.width / 6.4)) or [""]]
    return "".join(label(line, box.x + 12, box.y + 16 + 17 * i, "plain") for i, line in enumerate(lines))


def nothing(panel: Panel, box: Box) -> str:
    """Return what stands where no query gave a value: the reason, or that there is no data."""
    said = panel.error or str(panel.defaults.get("noValue", "no data"))
    x, y = box.x + box.width / 2, box.y + box.height / 2
    return label(svg.fitted(said, box.width - 16), x, y, "mid bad" if panel.error else "mid faint", said)


def tabulated(panel: Panel) -> tuple[list[str], list[list[str | float | None]]]:
    """Return the column titles and the rows of a table whose queries are joined by one label."""
    settings = {t["id"]: t["options"] for t in panel.json["transformations"]}
    by, titles = settings["joinByField"]["byField"], settings["organize"]["renameByName"]
    fields = sorted(titles, key=settings["organize"]["indexByName"].__getitem__)
    joined: dict[str, dict[str, str | float]] = {}
    for answer in panel.answers:
        for series in answer.series:
            row = joined.setdefault(series.labels.get(by, ""), {})
            for name, value in series.labels.items():
                row.setdefault(name, value)
            row[f"Value #{answer.target['refId']}"] = series.last
    rows = [[row.get(field) for field in fields] for row in joined.values()]
    for order in reversed(panel.json["options"].get("sortBy", [])):
        column = [titles[field] for field in fields].index(order["displayName"])
        rows.sort(key=lambda row: _rank(row[column]), reverse=bool(order.get("desc")))
    return [titles[field] for field in fields], rows


def _rank(value: str | float | None) -> tuple[int, float, str]:
    if value is None:
        return 0, 0.0, ""
    return (1, value, "") if isinstance(value, float) else (2, 0.0, value)


def _cell(panel: Panel, head: str, value: str | float | None) -> tuple[str, str]:
    """Return the text of a cell and the name of its colour, empty for none."""
    if value is None:
        return "", ""
    if isinstance(value, str):
        return value, ""
    own: dict[str, Any] = {}
    for override in panel.json["fieldConfig"].get("overrides", []):
        if override["matcher"]["options"] == head:
            own = {p["id"]: p["value"] for p in override["properties"]}
    shown = units.text(value, own.get("unit", panel.unit))
    return shown, at_step(value, own["thresholds"]["steps"]) if "thresholds" in own else ""


def _runs(series: Series, span: Span) -> list[tuple[float, float, float]]:
    """Return (from, to, value) for each stretch of equal values; a gap ends a stretch."""
    runs: list[tuple[float, float, float]] = []
    for moment, value in series.points:
        until = min(moment + span.step, span.end)
        if runs and runs[-1][2] == value and moment - runs[-1][1] < 0.5 * span.step:
            runs[-1] = (runs[-1][0], until, value)
        else:
            runs.append((moment, until, value))
    return runs


def _buckets(named: Sequence[tuple[str, Series]]) -> list[tuple[float, dict[float, float]]]:
    """Return (upper edge, observations by moment) of each bucket: Prometheus counts what is below each edge.

    Edges below and above all observations are left out.
    """
    totals = sorted(((float(series.labels["le"]), series) for _, series in named), key=lambda pair: pair[0])
    rows: list[tuple[float, dict[float, float]]] = []
    below: dict[float, float] = {}
    for edge, same in groupby(totals, key=lambda pair: pair[0]):
        cumulative: dict[float, float] = {}
        for _, series in same:
            for moment, value in series.points:
                cumulative[moment] = cumulative.get(moment, 0.0) + value
        rows.append((edge, {m: max(0.0, v - below.get(m, 0.0)) for m, v in cumulative.items()}))
        below = cumulative
    used = [index for index, (_, points) in enumerate(rows) if any(points.values())]
    return rows[used[0] : used[-1] + 1] if used else []


def _solid(name: str) -> str:
    return "#69717c" if name == "text" else colour(name)


def _ink(name: str) -> str:
    return "var(--ink)" if name == "text" else colour(name)
