"""The drawings: axes, units, panels, and the pages as a browser shows them."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.thresholds import Thresholds
from dashboards import __main__ as command
from dashboards.boards import BOARDS
from dashboards.panels import Column, Query, at_least, graph, heatmap, stat, table, timeline
from dashboards.preview import cells, lines, page, picture, scales, units
from dashboards.preview.page import Shown
from dashboards.preview.panel import Answer, Panel
from dashboards.preview.results import Choices, Prometheus, Series, Span, legend
from dashboards.preview.serve import Boards
from dashboards.preview.svg import Box
from tests.views.answering import answering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grafanalib.core import Panel as Made

SPAN = Span(1000.0, 1300.0, 60.0)
BOX = Box(0, 0, 600, 250)


def points(*values: float) -> tuple[tuple[float, float], ...]:
    return tuple((SPAN.start + SPAN.step * index, value) for index, value in enumerate(values))


def drawn(made: Made, *series: Series) -> Panel:
    """Return the panel with the series as the answer to its first query."""
    json_ = made.to_json_data()
    targets = json_["targets"]
    return Panel(json_, [Answer(targets[0], series), *(Answer(t) for t in targets[1:])], SPAN)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.8432, "percentunit", "84.3 %"), (1, "percentunit", "100 %"), (0, "s", "0 s"), (4.2e-6, "s", "4.2 µs"),
        (0.00421, "s", "4.21 ms"), (1.0, "s", "1 s"), (90, "s", "1.5 min"), (3 * 86400, "s", "3 d"),
        (0.9999, "s", "1 s"), (3e-9, "s", "0.003 µs"), (1536, "bytes", "1.5 KiB"), (5 * 2**30, "bytes", "5 GiB"),
        (2048, "Bps", "2 KiB/s"), (12_345, "ops", "12.3 k/s"), (7, "short", "7"), (2_500_000, "short", "2.5 M"),
        (1.25, "none", "1.25"), (-3, "short", "-3"), (1234.5, "currencyUSD", "$1.23k"), (-0.5, "currencyUSD", "-$0.5"),
        (float("nan"), "s", "no data"),
    ],
)  # fmt: skip
def test_values_are_read_as_people_write_them(value: float, unit: str, shown: str) -> None:
    assert units.text(value, unit) == shown


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.sampled_from(["numbers", "bytes", "seconds"]))
def test_a_linear_axis_holds_its_values_between_few_round_ticks(
    low: float, height: float, rounds: scales.Rounds
) -> None:
    axis = scales.linear(low, low + height, 100.0, 0.0, rounds)
    found = scales.ticks(axis)
    blur = 1e-6 * (abs(low) + height)
    assert axis.low <= low + blur
    assert axis.high >= low + height - blur
    assert 2 <= len(found) <= 8
    assert axis.place(axis.low) == 100.0
    assert axis.place(axis.high) == 0.0


def test_bytes_get_ticks_that_are_round_in_powers_of_1024() -> None:
    axis = scales.linear(0, 190 * 2**20, 0, 1, "bytes")
    assert [units.text(tick, "bytes") for tick in scales.ticks(axis)] == [
        "0 B", "50 MiB", "100 MiB", "150 MiB", "200 MiB",
    ]  # fmt: skip


def test_seconds_get_ticks_that_clocks_divide_by() -> None:
    axis = scales.linear(0, 200, 0, 1, "seconds")
    assert [units.text(tick, "s") for tick in scales.ticks(axis)] == ["0 s", "1 min", "2 min", "3 min", "4 min"]


@given(st.floats(1e-9, 1e9), st.floats(1.0, 1e9))
def test_a_logarithmic_axis_spans_whole_decades(low: float, times: float) -> None:
    axis = scales.logarithmic(low, low * times, 0.0, 1.0)
    assert axis.low <= low * 1.001
    assert axis.high >= low * times * 0.999
    assert 2 <= len(scales.ticks(axis)) <= 8


def test_moments_on_the_time_axis_are_round() -> None:
    assert scales.time_ticks(1003, 1300, 5) == [1020.0, 1080.0, 1140.0, 1200.0, 1260.0]


def test_a_period_begins_and_ends_on_its_steps() -> None:
    span = Span.ending(10_007.3, 3600, points=60)
    assert (span.end % span.step, span.step) == (0, 60)
    assert 3600 <= span.end - span.start < 3660
    assert Span.ending(10_007.3, 30).step == 1


def test_variables_and_intervals_are_filled_in_as_grafana_does() -> None:
    choices = Choices({"namespace": "cache"}, scrape_seconds=2)
    expr = 'sum(rate(m{namespace=~"$namespace",pod=~"${instance:regex}"}[$__rate_interval])) / $__range_s'
    assert choices.expand(expr, Span(0, 3600, 15)) == 'sum(rate(m{namespace=~"cache",pod=~".+"}[17s])) / 3600'
    assert choices.expand("m[$__rate_interval]", Span(0, 240, 1)) == "m[8s]"


def test_a_text_box_counts_with_its_default_unless_it_is_chosen() -> None:
    board = BOARDS["cost"](Thresholds())
    assert Choices().on(board).expand("$price_per_million_queries", SPAN) == "2"
    chosen = Choices({"price_per_million_queries": "0.5"}).on(board)
    assert chosen.expand("$price_per_million_queries", SPAN) == "0.5"


def test_a_legend_names_a_series_by_its_labels() -> None:
    assert legend("{{pod}} {{ gone }} used", {"pod": "redis-0"}) == "redis-0 used"
    assert legend("", {"__name__": "up", "b": "2", "a": "1"}) == "a=1, b=2"


def test_lines_break_where_values_are_missing() -> None:
    made = graph("T", "A description.", [Query("m")], "short")
    gap = Series({"pod": "a"}, (*points(1, 2), (SPAN.start + 240, 3.0), (SPAN.start + 300, 4.0)))
    whole = lines.draw(drawn(made, Series({"pod": "a"}, points(1, 2, 2, 3))), BOX)
    broken = lines.draw(drawn(made, gap), BOX)
    assert (whole.count('class="line"'), broken.count('class="line"')) == (1, 2)
    assert "a  3" in whole


def test_shares_of_a_stack_end_at_the_whole() -> None:
    made = graph("T", "A description.", [Query("m")], "reqps", stack="percent")
    picture_ = lines.draw(drawn(made, Series({"pod": "a"}, points(1, 3)), Series({"pod": "b"}, points(3, 1))), BOX)
    assert "100 %" in picture_
    assert "125 %" not in picture_
    assert "a  3 /s" in picture_  # the legend tells the value, not its share


def test_a_threshold_is_drawn_where_it_lies_on_the_axis() -> None:
    made = graph("T", "A description.", [Query("m")], "percentunit", steps=at_least(0.85, 0.6))
    assert lines.draw(drawn(made, Series({}, points(0.9, 0.95))), BOX).count("threshold") == 2
    far = graph("T", "A description.", [Query("m")], "short", steps=at_least(1000))
    assert "threshold" not in lines.draw(drawn(far, Series({}, points(1, 2))), BOX)


def test_a_logarithmic_line_at_zero_lies_on_the_lower_edge() -> None:
    made = graph("T", "A description.", [Query("m")], "s", log=True)
    assert "nan" not in lines.draw(drawn(made, Series({}, points(0, 0.001, 10))), BOX)


def test_more_series_than_the_legend_holds_are_counted() -> None:
    made = graph("T", "A description.", [Query("m")], "short")
    many = [Series({"pod": f"a-process-with-a-long-name-{n}"}, points(n)) for n in range(20)]
    assert "more</text>" in lines.draw(drawn(made, *many), BOX)


def test_states_that_go_on_are_one_cell_with_its_text() -> None:
    made = timeline("T", "A description.", [Query("m")], {1: ("connected", "green"), 0: ("lost", "red")})
    text = cells.states(drawn(made, Series({"pod": "a"}, points(1, 1, 0, 0, 1))), BOX)
    assert text.count("<rect") == 3
    assert text.count("connected, ") == 2
    assert text.count("lost, ") == 1


def test_a_heatmap_shows_what_fell_between_two_edges() -> None:
    made = heatmap("T", "A description.", "m", "s")
    counts = {"0.001": 5, "0.005": 5, "0.01": 12, "+Inf": 12}
    found = [Series({"le": edge}, points(count)) for edge, count in counts.items()]
    text = cells.heatmap(drawn(made, *found), BOX)
    assert text.count("<rect") == 2
    assert "≤ 1 ms: 5" in text
    assert "≤ 10 ms: 7" in text
    assert "≤ 5 ms: " not in text


def test_a_figure_has_the_colour_of_its_threshold_or_the_text_of_its_mapping() -> None:
    made = stat("T", "A description.", "m", "percentunit", steps=at_least(0.85, 0.6))
    for value, colour in ((0.5, "#d03c3c"), (0.7, "#dd7f0e"), (0.9, "#2f9e5b")):
        assert f'fill="{colour}"' in cells.stat(drawn(made, Series({}, points(value))), BOX)
    mapped = stat("T", "A description.", "m", "none", texts={1: ("reached", "green")})
    assert "reached" in cells.stat(drawn(mapped, Series({}, points(1))), BOX)


def test_a_table_joins_its_queries_and_sorts_by_the_last_column() -> None:
    made = table("T", "A description.", "pod", [Column("Up", "a"), Column("Load", "b", "percentunit", at_least(0.5))])
    json_ = made.to_json_data()
    answers = [
        Answer(json_["targets"][0], [Series({"pod": "x"}, points(1)), Series({"pod": "y"}, points(1))]),
        Answer(json_["targets"][1], [Series({"pod": "y"}, points(0.9)), Series({"pod": "x"}, points(0.1))]),
    ]
    panel = Panel(json_, answers, SPAN)
    assert cells.tabulated(panel) == (["Pod", "Up", "Load"], [["y", 1.0, 0.9], ["x", 1.0, 0.1]])
    assert 'fill="#2f9e5b"' in cells.table(panel, BOX)


def test_a_table_too_narrow_for_its_columns_has_a_column_for_each_row() -> None:
    made = table("T", "A description.", "pod", [Column(f"Figure {n}", "a") for n in range(9)])
    json_ = made.to_json_data()
    both = [Series({"pod": name}, points(1)) for name in ("redis-0", "redis-1")]
    panel = Panel(json_, [Answer(target, both) for target in json_["targets"]], SPAN)
    places = {words: (x, y) for x, y, words in re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)<title',
                                                          cells.table(panel, Box(0, 0, 400, 250)))}  # fmt: skip
    assert places["Pod"][1] == places["redis-0"][1] == places["redis-1"][1]
    assert places["Pod"][0] == places["Figure 0"][0] == places["Figure 8"][0]
    many = [Series({"pod": f"reader-{n}"}, points(1)) for n in range(9)]
    crowded = Panel(json_, [Answer(target, many) for target in json_["targets"]], SPAN)
    assert "and 5 more" in cells.table(crowded, Box(0, 0, 400, 250))


def rising(path: str, asked: dict[str, str]) -> Any:
    """Answer as a Prometheus that knows one rising series."""
    labels = {"pod": "reader-1", "namespace": "<b>", "le": "0.005"}
    data: dict[str, Any]
    if path.endswith("query_range"):
        moments = range(int(float(asked["start"])), int(float(asked["end"])) + 1, int(float(asked["step"])))
        data = {"result": [{"metric": labels, "values": [[m, str(i)] for i, m in enumerate(moments)]}]}
    elif path.endswith("targets"):
        data = {"activeTargets": [{"scrapeInterval": "2s"}]}
    else:
        data = {"result": [{"metric": labels, "value": [float(asked["time"]), "0.5"]}]}
    return {"status": "success", "data": data}


@pytest.fixture(scope="module")
def scripted() -> Iterator[str]:
    with answering(rising) as url:
        yield url


@pytest.fixture(scope="module")
def site(scripted: str) -> Iterator[tuple[str, int]]:
    boards = [build(Thresholds()) for build in BOARDS.values()]
    with Boards(("127.0.0.1", 0), boards, Prometheus(scripted)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield "127.0.0.1", server.server_port
        server.shutdown()
        thread.join()


def fetch(site: tuple[str, int], path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(*site, timeout=20)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read().decode()
    finally:
        connection.close()


def test_the_first_page_leads_to_every_board(site: tuple[str, int]) -> None:
    status, kind, text = fetch(site, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert all(f'href="/d/cache-{number}"' in text for number in range(1, 7))


@pytest.mark.parametrize("number", range(1, 7))
def test_each_board_is_a_page_and_a_picture(site: tuple[str, int], number: int) -> None:
    status, _, text = fetch(site, f"/d/cache-{number}?minutes=5")
    assert status == 200
    assert "<b>" not in text.partition("<main")[2]  # labels are text, whatever they hold
    status, kind, drawing = fetch(site, f"/d/cache-{number}.svg?minutes=5")
    assert (status, kind) == (200, "image/svg+xml; charset=utf-8")
    assert "no data" not in drawing


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/d/cache-9", 404, "cache-1, cache-2"), ("/d/cache-1.png", 404, "no such"), ("/etc/passwd", 404, "no such"),
        ("/d/cache-1?minutes=0", 400, "minutes=0: a whole number from 1 to 10080"),
        ("/d/cache-1?minutes=1e9", 400, "minutes=1e9"), ("/d/cache-1?until=now", 400, "until=now: a whole number from"),
        ("/d/cache-1?until=99999999999", 400, "until=99999999999"), ("/d/cache-1?until=1", 400, "from 604800 to"),
        ("/d/cache-1.svg?minutes=99999999999999", 400, "whole number"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_with_a_word(site: tuple[str, int], path: str, status: int, says: str) -> None:
    found, _, text = fetch(site, path)
    assert found == status
    assert says in text


def test_a_period_that_is_over_keeps_its_end_and_is_not_refreshed(site: tuple[str, int]) -> None:
    until = int(time.time()) - 3600
    _, _, text = fetch(site, f"/d/cache-1?minutes=5&until={until}")
    assert f'data-picture="/d/cache-1.svg?minutes=5&amp;until={until}" data-until="{until}"' in text
    assert f'href="/d/cache-2?minutes=5&amp;until={until}"' in text, "the other boards show the same period"
    assert f'href="/d/cache-1?minutes=60&amp;until={until}"' in text
    _, _, drawing = fetch(site, f"/d/cache-1.svg?minutes=5&until={until}")
    assert time.strftime("to %H:%M:%S", time.localtime(until - until % 2)) in drawing, "aligned to steps of two seconds"


def test_periods_follow_each_other_up_to_now() -> None:
    now = 1_700_000_000
    earlier = Shown(minutes=5).moved(-1, now)
    assert earlier == Shown(minutes=5, until=now - 300)
    assert earlier.moved(-1, now) == Shown(minutes=5, until=now - 600)
    assert earlier.moved(1, now) == Shown(minutes=5), "up to now, and refreshed again"
    page_of = page.board({"uid": "cache-1", "title": ""}, [], earlier, now, "")
    assert [words for words in ("earlier", "later", "now") if f">{words}</a>" in page_of] == ["earlier", "later", "now"]
    assert ">later</a>" not in page.board({"uid": "cache-1", "title": ""}, [], Shown(), now, "")


def test_a_browser_shows_the_board_and_refreshes_it(site: tuple[str, int], tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not on PATH: install it (Debian, Ubuntu: apt-get install chromium)")
    # Half a minute of the page's own time, which passes as fast as the browser works.
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    quiet += ["--disable-gpu", "--disable-sync", f"--user-data-dir={tmp_path}"]
    result = subprocess.run(
        [browser, "--headless", "--no-sandbox", *quiet,
         "--virtual-time-budget=30000", "--dump-dom", f"http://{site[0]}:{site[1]}/d/cache-1?minutes=5"],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    shown = result.stdout
    assert "Combined hit rate" in shown
    assert ">as of " in shown, "the script has replaced the picture and said so"


def test_a_page_without_a_newer_picture_keeps_the_one_it_has() -> None:
    text = page.board({"uid": "cache-1", "title": "<T>"}, [], Shown(), 0, "<svg>old</svg>")
    assert "<svg>old</svg>" in text
    assert "&lt;T&gt;" in text
    assert "no newer picture" in text


def test_the_command_draws_every_board(scripted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["draw", "--prometheus", scripted, "--out", str(tmp_path), "--minutes", "5"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"cache-{number}.svg" for number in range(1, 7)]
    assert "6 dashboards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prometheus", "ftp://x"], "an http:// or https:// URL"),
        (["--prometheus", "http://127.0.0.1:1"], "no answer from http://127.0.0.1:1"),
        (["--prometheus", "http://127.0.0.1:1", "--minutes", "0"], "at least 1 minute"),
    ],
)
def test_the_command_says_what_it_cannot_draw_from(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["draw", "--out", str(tmp_path), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_board_with_closed_rows_is_shorter() -> None:
    board, silent = BOARDS["redis"](Thresholds()), Prometheus("http://127.0.0.1:1", timeout=1)
    opened, closed = (picture.draw(board, silent, SPAN, Choices(), rows=rows) for rows in (True, False))
    assert "Persistence" in closed
    assert len(closed) < len(opened)


def test_on_a_narrow_picture_panels_stand_below_each_other_and_figures_in_pairs() -> None:
    board, silent = BOARDS["redis"](Thresholds()), Prometheus("http://127.0.0.1:1", timeout=1)
    drawing = picture.draw(board, silent, SPAN, Choices(), narrow=True)
    panels = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" class="panel"', drawing)
    places = [Box(*map(float, found)) for found in panels]
    inner = [p for panel in board["panels"] for p in (panel, *panel.get("panels", ())) if p["type"] != "row"]
    assert len(places) == len(inner)
    halves = [place.width < picture.NARROW / 2 for place in places]
    assert halves == [panel["type"] == "stat" for panel in inner]  # six figures: three pairs
    for upper, lower in pairwise(places):
        assert lower.y >= upper.bottom or (lower.y == upper.y and lower.x >= upper.right)
    assert all(place.right <= picture.NARROW for place in places)
