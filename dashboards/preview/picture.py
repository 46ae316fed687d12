"""A whole board as one SVG picture: rows and panels on Grafana's grid of 24 columns. Pure, but for its questions.

On a narrow picture, as a phone shows it, panels stand below each other, and single figures in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from dashboards.document import COLUMNS
from dashboards.preview import cells, lines, svg, units
from dashboards.preview.panel import Answer, Event, Panel
from dashboards.preview.results import Choices, Prometheus, QueryError, Span, legend
from dashboards.preview.svg import Box, label, rect, tag

WIDTH: Final = 1560.0
NARROW: Final = 420.0  # pixels; letters then have about the size that they are written in
_UNIT: Final = 34.0  # pixels for one unit of height on Grafana's grid
_GAP: Final = 8.0
_HEAD: Final = 64.0
_TITLE: Final = 24.0
_AT_ONCE: Final = 8  # questions on their way to Prometheus together
_DRAW: Final[Mapping[str, Callable[[Panel, Box], str]]] = {
    "timeseries": lines.draw,
    "state-timeline": cells.states,
    "status-history": cells.states,
    "heatmap": cells.heatmap,
    "stat": cells.stat,
    "table": cells.table,
    "text": cells.words,
}
Placed = tuple[Mapping[str, Any], Box]  # a panel or row, and its place on the grid


def draw(
    board: Mapping[str, Any], prometheus: Prometheus, span: Span, choices: Choices, *, rows: bool = True,
    narrow: bool = False,
) -> str:  # fmt: skip
    """Return a board as an SVG document; with ``rows`` those that Grafana shows collapsed are open.

    A query that fails shows its reason in its panel.
    """
    choices, width = choices.on(board), NARROW if narrow else WIDTH
    placed = list(_placed(board, rows=rows))
    placed = list(_stacked(placed)) if narrow else placed
    events = _events(board, prometheus, span, choices)
    asked = [panel for panel, _ in placed if panel["type"] not in {"row", "text"}]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = dict(
            zip((p["id"] for p in asked), pool.map(lambda p: ask(p, prometheus, span, choices), asked), strict=True)
        )
    bottom = max((place.bottom for _, place in placed), default=0)
    drawn = [
        _drawn(panel, _pixels(place, width), Panel(panel, answers.get(panel["id"], ()), span, events))
        for panel, place in placed
    ]
    return document(board, span, width, _HEAD + bottom * _UNIT + _GAP, drawn)


def document(board: Mapping[str, Any], span: Span, width: float, height: float, drawn: Sequence[str]) -> str:
    """Return the SVG document around drawings."""
    when = f"{units.clock(span.start, seconds=True)} to {units.clock(span.end, seconds=True)}"
    return tag(
        "svg",
        tag("style", svg.STYLE),
        rect(Box(0, 0, width, height), style="fill:var(--paper)"),
        label(str(board["title"]), 14, 30, "board", style=f"font-size:{min(22, width / 22):.0f}px"),
        label(svg.fitted(str(board["description"]), width - 185), 14, 50, "faint plain", str(board["description"])),
        label(when, width - 14, 50, "faint plain end"),
        *drawn,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
    )


def ask(panel: Mapping[str, Any], prometheus: Prometheus, span: Span, choices: Choices) -> list[Answer]:
    """Return the answers to a panel's queries."""
    answers = []
    for target in panel.get("targets", ()):
        expr = choices.expand(target["expr"], span)
        try:
            found = prometheus.at(expr, span.end) if target["instant"] else prometheus.over(expr, span)
            answers.append(Answer(target, found))
        except QueryError as error:
            answers.append(Answer(target, error=str(error)))
    return answers


def _events(board: Mapping[str, Any], prometheus: Prometheus, span: Span, choices: Choices) -> list[Event]:
    """Return the moments at which each annotation begins."""
    found: list[Event] = []
    for note in board["annotations"]["list"]:
        try:
            series = prometheus.over(choices.expand(note["expr"], span), span)
        except QueryError:
            continue  # the panels say that Prometheus does not answer
        for each in series:
            moments = [moment for moment, _ in each.points]
            begun = [m for m, before in zip(moments, [span.start, *moments], strict=False) if m - before > span.step]
            words = f"{note['name']}: {legend(note['textFormat'], each.labels)}"
            found += [Event(moment, note["iconColor"], words) for moment in begun]
    return found


def _placed(board: Mapping[str, Any], *, rows: bool) -> Iterator[Placed]:
    """Yield every row and panel with its place; opened rows push down what follows."""
    added = 0
    for panel in board["panels"]:
        yield panel, _grid(panel, added)
        inner = panel.get("panels", []) if rows else []
        if inner:
            first = panel["gridPos"]["y"] + 1
            for each in inner:
                yield each, _grid(each, added)
            added += max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in inner) - first


def _grid(panel: Mapping[str, Any], added: float) -> Box:
    place = panel["gridPos"]
    return Box(place["x"], place["y"] + added, place["w"], place["h"])


def _stacked(placed: Sequence[Placed]) -> Iterator[Placed]:
    """Put panels below each other, as wide as the grid, but two figures side by side."""
    top, beside = 0.0, False  # beside: the place to the right of a figure is free
    for index, (panel, place) in enumerate(placed):
        figure = panel["type"] == "stat"
        pair = figure and not beside and index + 1 < len(placed) and placed[index + 1][0]["type"] == "stat"
        wide = COLUMNS / 2 if pair or beside else COLUMNS
        yield panel, Box(COLUMNS / 2 if beside else 0, top, wide, place.height)
        beside = pair
        top += 0 if pair else place.height


def _pixels(place: Box, width: float) -> Box:
    column = (width - _GAP) / COLUMNS
    return Box(
        _GAP + place.x * column, _HEAD + place.y * _UNIT, place.width * column - _GAP, place.height * _UNIT - _GAP
    )


def _drawn(json: Mapping[str, Any], box: Box, panel: Panel) -> str:
    if json["type"] == "row":
        return label(str(json["title"]), 14, box.y + _UNIT - 10, "row")
    inside = box.inside(top=_TITLE, bottom=4)
    empty = json["type"] != "text" and not panel.named
    body = cells.nothing(panel, inside) if empty else _DRAW[json["type"]](panel, inside)
    hint = str(json.get("description", ""))
    heading = label(svg.fitted(str(json["title"]), box.width), box.x + 12, box.y + 18, "title", hint)
    drawn = rect(box, class_="panel", rx=5) + heading + body
    links = panel.defaults.get("links", ()) if "fieldConfig" in json else ()
    return tag("a", drawn, href=links[0]["url"].partition("?")[0]) if links else drawn
