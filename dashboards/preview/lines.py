"""Time series: lines and stacked areas over time, with thresholds, events, and a legend with the last values. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import Final

from dashboards.preview import scales, svg, units
from dashboards.preview.panel import Panel
from dashboards.preview.results import Series, Span
from dashboards.preview.scales import Axis
from dashboards.preview.svg import SERIES, Box, colour, label, tag, title

_LEGEND_LINE: Final = 16.0
_LEGEND_LINES: Final = 2
_MORE: Final = 70.0  # pixels for how many there are besides
_SMALLEST_SHARE: Final = 1e-6  # of the largest value: what a logarithmic axis still shows
Band = tuple[str, Series, tuple[tuple[float, float, float], ...]]  # name, series, (moment, lower, upper)


def draw(panel: Panel, box: Box) -> str:
    """Return the drawing of a time series panel below its title."""
    named = panel.named
    plot = box.inside(left=62, top=6, right=12, bottom=20 + _LEGEND_LINE * _LEGEND_LINES)
    stack = panel.custom.get("stacking", {}).get("mode", "none")
    bands = _stacked(named, percent=stack == "percent") if stack != "none" else _plain(named)
    unit = "percentunit" if stack == "percent" else panel.unit
    axis = Axis(0.0, 1.0, plot.bottom, plot.y) if stack == "percent" else _value_axis(panel, bands, plot)
    lines = [_band(band, paint, axis, panel.span, plot, filled=stack != "none") for band, paint in _painted(bands)]
    legend = _legend(bands, panel.unit, Box(plot.x, plot.bottom + 24, plot.width, _LEGEND_LINE))
    grids = value_grid(axis, unit, plot), time_grid(panel.span, plot)
    return "".join((*grids, *lines, _limits(panel, axis, plot), marks(panel, plot), legend))


def value_grid(axis: Axis, unit: str, plot: Box) -> str:
    """Return the horizontal lines of the value axis with their labels."""
    return "".join(
        svg.line(plot.x, axis.place(value), plot.right, axis.place(value), class_="grid")
        + label(units.text(value, unit), plot.x - 6, axis.place(value) + 4, "faint end")
        for value in scales.ticks(axis)
    )


def time_grid(span: Span, plot: Box) -> str:
    """Return the moments below the plot."""
    axis = Axis(span.start, span.end, plot.x, plot.right)
    moments = scales.time_ticks(span.start, span.end, max(2, int(plot.width / 90)))
    short = len(moments) > 1 and moments[1] - moments[0] < 60  # noqa: PLR2004  a minute has so many seconds
    return "".join(
        label(units.clock(moment, seconds=short), axis.place(moment), plot.bottom + 14, "faint mid")
        for moment in moments
    )


def marks(panel: Panel, plot: Box) -> str:
    """Return a vertical line for each event."""
    axis = Axis(panel.span.start, panel.span.end, plot.x, plot.right)
    return "".join(
        svg.line(
            axis.place(event.moment), plot.y, axis.place(event.moment), plot.bottom,
            title(f"{units.clock(event.moment, seconds=True)} {event.words}"),
            stroke=colour(event.colour), stroke_dasharray="3 3", opacity=0.7,
        )
        for event in panel.events
    )  # fmt: skip


def _plain(named: Sequence[tuple[str, Series]]) -> list[Band]:
    return [(name, series, tuple((at, 0.0, value) for at, value in series.points)) for name, series in named]


def _stacked(named: Sequence[tuple[str, Series]], *, percent: bool) -> list[Band]:
    """Put each series on top of those before it; as shares of their sum with ``percent``."""
    values = [dict(series.points) for _, series in named]
    moments = sorted({moment for points in values for moment in points})
    base = dict.fromkeys(moments, 0.0)
    whole = {m: (sum(p.get(m, 0.0) for p in values) or 1.0) if percent else 1.0 for m in moments}
    bands: list[Band] = []
    for (name, series), points in zip(named, values, strict=True):
        top = {m: base[m] + points.get(m, 0.0) / whole[m] for m in moments}
        bands.append((name, series, tuple((m, base[m], top[m]) for m in moments)))
        base = top
    return bands


def _value_axis(panel: Panel, bands: Sequence[Band], plot: Box) -> Axis:
    tops = [top for _, _, points in bands for _, _, top in points]
    if panel.custom.get("scaleDistribution", {}).get("type") == "log":
        limits = [step["value"] for step in panel.steps[1:]] if panel.custom["thresholdsStyle"]["mode"] != "off" else []
        positive = [top for top in (*tops, *limits) if top > 0] or [1.0]
        largest = max(positive)
        return scales.logarithmic(max(min(positive), largest * _SMALLEST_SHARE), largest, plot.bottom, plot.y)
    largest = max(tops, default=0.0)
    near = [s["value"] for s in panel.steps[1:] if s["value"] <= 2 * largest or panel.unit == "percentunit"]
    high = max([largest, *near]) if panel.custom.get("thresholdsStyle", {}).get("mode") != "off" else largest
    rounds: scales.Rounds = "bytes" if panel.unit in units.BINARY else "seconds" if panel.unit == "s" else "numbers"
    axis = scales.linear(min([0.0, *tops]), high, plot.bottom, plot.y, rounds)
    if panel.unit == "percentunit" and high <= 1 < axis.high:
        return Axis(axis.low, 1.0, plot.bottom, plot.y)
    return axis


def _painted(bands: Sequence[Band]) -> list[tuple[Band, str]]:
    return list(zip(bands, cycle(SERIES)))


def _band(band: Band, paint: str, axis: Axis, span: Span, plot: Box, *, filled: bool) -> str:
    name, _, points = band
    across = Axis(span.start, span.end, plot.x, plot.right)
    drawn = []
    for piece in _pieces(points, span.step):
        upper = [(across.place(at), axis.place(top) if top > 0 or not axis.log else axis.start) for at, _, top in piece]
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in upper)
        if filled:
            lower = " L".join(f"{across.place(at):.1f} {axis.place(low):.1f}" for at, low, _ in reversed(piece))
            drawn.append(tag("path", title(name), d=f"{path} L{lower} Z", fill=paint, fill_opacity=0.55))
        elif len(piece) == 1:
            drawn.append(tag("circle", title(name), cx=upper[0][0], cy=upper[0][1], r=2, fill=paint))
        drawn.append(tag("path", title(name), d=path, stroke=paint, class_="line"))
    return "".join(drawn)


def _pieces(points: Sequence[tuple[float, float, float]], step: float) -> list[Sequence[tuple[float, float, float]]]:
    """Cut where points are missing: a line across a gap would claim values that nobody measured."""
    cuts = [i + 1 for i, (one, other) in enumerate(pairwise(points)) if other[0] - one[0] > 1.5 * step]
    ends = [*cuts, len(points)]
    return [points[start:end] for start, end in zip([0, *cuts], ends, strict=True) if end > start]


def _limits(panel: Panel, axis: Axis, plot: Box) -> str:
    if panel.custom.get("thresholdsStyle", {}).get("mode", "off") == "off":
        return ""
    return "".join(
        svg.line(
            plot.x, axis.place(step["value"]), plot.right, axis.place(step["value"]),
            title(f"threshold {units.text(step['value'], panel.unit)}"),
            stroke=colour(step["color"]), stroke_dasharray="7 5", stroke_width=1.4,
        )
        for step in panel.steps[1:]
        if axis.low <= step["value"] <= axis.high
    )  # fmt: skip


def _legend(bands: Sequence[Band], unit: str, place: Box) -> str:
    """Return names with their last values, in lines as wide as the plot; what does not fit is counted."""
    drawn, x, row = [], place.x, 0
    for index, (band, paint) in enumerate(_painted(bands)):
        words = f"{svg.fitted(band[0] or 'value', 230)}  {units.text(_last(band[1]), unit)}"
        room = place.width - (_MORE if row == _LEGEND_LINES - 1 and index < len(bands) - 1 else 0)
        if x > place.x and x + svg.width_of(words) + 18 > place.x + room:
            x, row = place.x, row + 1
        if row == _LEGEND_LINES:
            y = place.y + (row - 1) * _LEGEND_LINE + 6
            drawn.append(label(f"and {len(bands) - index} more", place.right, y, "faint end"))
            break
        y = place.y + row * _LEGEND_LINE
        drawn.append(svg.rect(Box(x, y, 10, 4), fill=paint) + label(words, x + 14, y + 6, hint=band[0]))
        x += svg.width_of(words) + 26
    return "".join(drawn)


def _last(series: Series) -> float:
    return series.last if series.points else math.nan
