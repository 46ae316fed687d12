"""A real Prometheus answers every query of every panel, and evaluates every rule, over an hour of recorded history.

The history continues the committed scrapes of real servers and what the client's own collector exposes: gauges stay,
counters rise. So a query that matches nothing, joins nothing or divides by nothing is found, which no parser can tell.
"""

from __future__ import annotations

import math
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from alerts.rules import GROUPS, prometheus_yaml
from alerts.thresholds import Thresholds
from cacheclient.contract import HITS, LATENCY_BUCKETS, MISSES, SCRAPE_SECONDS, SIZES, Job
from cacheclient.keys import KeySpace
from cacheclient.metrics import register
from cacheclient.sizing import Curve
from cacheclient.stats import Stats
from dashboards.boards import BOARDS
from dashboards.preview import picture, svg
from dashboards.preview.results import Choices, Prometheus, QueryError, Span
from dashboards.quiet import QUIET
from tests.views.recorded import serving

SCRAPES = Path(__file__).parent / "data"
NAMESPACE = "cache"
STEP, HISTORY = 15, 3600


@dataclass(frozen=True)
class Recorded:
    """A running Prometheus whose history ends at ``end``."""

    prometheus: Prometheus
    end: int

    @property
    def span(self) -> Span:
        """The second half of the history: rates of the first half lack what came before."""
        return Span(self.end - HISTORY / 2, self.end, 60.0)


CURVE = Curve(
    lookups=100, hits=60, gained=tuple((size, 20 * (factor > 1)) for size, factor in SIZES.items()), followed=50,
    working_set_bytes=2e6, capacity_bytes=1e6,
)  # fmt: skip


class Cache:
    """What the collector reads of a cache: everything at its start."""

    space = KeySpace("fp", 1)

    def stats(self) -> Stats:
        return Stats(curves={"l1": CURVE, "l2": CURVE}, tuning={"l1_ttl_seconds": 300.0, "l1_max_bytes": 2.0**26})


def exposition() -> Iterator[tuple[str, str]]:
    """Yield (labels of the target, its scrape) for two servers, a Sentinel and a process with the client."""
    for file, job, pod in (
        ("master", Job.REDIS, "redis-0"),
        ("replica", Job.REDIS, "redis-1"),
        ("sentinel", Job.SENTINEL, "sentinel-0"),
    ):
        yield target(job, pod), (SCRAPES / f"{file}.prom").read_text(encoding="utf-8")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    register(Cache(), registry=registry)
    yield target(Job.API, "api-0"), generate_latest(registry).decode()


def target(job: Job, pod: str) -> str:
    return f'job="{job}",namespace="{NAMESPACE}",pod="{pod}",instance="{pod}"'


def history(end: int) -> Iterator[str]:
    """Yield OpenMetrics lines: each series from ``end`` minus an hour to ``end``."""
    for labels, text in exposition():
        kinds: dict[str, str] = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
        samples = [re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line) for line in text.splitlines() if line[:1] != "#"]
        series = [(m[1], m[2] or "", float(m[3])) for m in samples if m]
        series.append(("up", "", 1.0))
        for index, (name, own, value) in enumerate(series):
            rise = rise_per_step(name, index, kinds)
            for moment in range(end - HISTORY, end + 1, STEP):
                now = value + rise * (moment - end + HISTORY) / STEP
                yield f"{name}{{{','.join(filter(None, (labels, own)))}}} {now} {moment}"
    yield "# EOF"


def rise_per_step(name: str, index: int, kinds: dict[str, str]) -> float:
    """Return how fast a series rises: not at all (a gauge), or so that ratios of the results are plausible."""
    if kinds.get(re.sub(r"_(bucket|count|sum)$", "", name)) == "histogram":
        return index  # each bucket faster than the one below it
    if name in {HITS.name, MISSES.name}:
        return 40  # more lookups than errors
    return 1 if kinds.get(name) == "counter" else 0


@pytest.fixture(scope="module")
def recorded(promtool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Return a Prometheus with that history and the shipped rules."""
    end = int(time.time()) // STEP * STEP - 2 * STEP
    # Every second instead of every scrape, or the test would wait for the first evaluation.
    rules = prometheus_yaml(NAMESPACE).replace(f"interval: {SCRAPE_SECONDS}s", "interval: 1s")
    with serving(promtool, tmp_path_factory.mktemp("prometheus"), history(end), rules) as prometheus:
        yield Recorded(prometheus, end)


def queries() -> Iterator[tuple[str, str, str, str]]:
    """Yield (board, title, unit, query) of every panel and annotation."""
    for key, build in BOARDS.items():
        board = build(Thresholds())
        for note in board["annotations"]["list"]:
            yield key, note["name"], "", note["expr"]
        for panel in (inner for outer in board["panels"] for inner in [outer, *outer.get("panels", [])]):
            for query in panel.get("targets", []):
                yield key, panel["title"], panel["fieldConfig"]["defaults"]["unit"], query["expr"]


def test_every_panel_query_finds_plausible_values(recorded: Recorded) -> None:
    problems, empty = [], set()
    boards = {key: Choices().on(build(Thresholds())) for key, build in BOARDS.items()}
    for key, title, unit, query in queries():
        expr = boards[key].expand(query, recorded.span)
        found = recorded.prometheus.over(expr, recorded.span)
        values = [value for series in found for _, value in series.points]
        if not found:
            empty.add(title)
        if len(found) > 200:
            problems.append(f"{key}: {title}: {len(found)} series")
        if not all(map(math.isfinite, values)):
            problems.append(f"{key}: {title}: not a number: {expr}")
        if unit == "percentunit" and not all(-1e-9 <= value <= 1 for value in values):
            problems.append(f"{key}: {title}: a share outside 0 to 1: {min(values)} to {max(values)}")
    assert not problems, "\n".join(problems)
    assert empty <= set(QUIET)


def test_every_board_is_drawn_whole(recorded: Recorded) -> None:
    for build in BOARDS.values():
        board = build(Thresholds())
        drawn = ET.fromstring(  # noqa: S314  our own picture
            picture.draw(board, recorded.prometheus, recorded.span, Choices())
        )
        texts = ["".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
        panels = [inner for outer in board["panels"] for inner in [outer, *outer.get("panels", [])]]
        for panel in panels:
            assert any(text.startswith(svg.fitted(panel["title"], 150).rstrip("…")) for text in texts), panel["title"]
        said_nothing = sum(text in {"no data", "no data0"} for text in texts)
        assert said_nothing <= sum(panel["title"] in QUIET for panel in panels), board["title"]


def test_every_rule_evaluates_without_an_error(recorded: Recorded) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        rules = [rule for group in recorded.prometheus.rules() for rule in group["rules"]]
        if rules and all(rule["health"] != "unknown" for rule in rules):
            break
        time.sleep(0.2)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert len(rules) == sum(len(group.alerts) + len(group.recordings) for group in GROUPS)


def test_a_quantile_of_the_history_lies_within_the_buckets(recorded: Recorded) -> None:
    expr = "histogram_quantile(0.95, sum by (le) (rate(cache_lookup_duration_seconds_bucket[5m])))"
    (series,) = recorded.prometheus.at(expr, recorded.end)
    assert 0 < series.last <= max(LATENCY_BUCKETS)


def test_a_refused_query_and_a_silent_server_say_why_in_their_panels(recorded: Recorded) -> None:
    with pytest.raises(QueryError, match="parse error"):
        recorded.prometheus.at("sum(", recorded.end)
    nobody = Prometheus("http://127.0.0.1:1", timeout=1.0)
    with pytest.raises(QueryError, match=r"no answer from http://127\.0\.0\.1:1"):
        nobody.at("up", recorded.end)
    drawn = picture.draw(BOARDS["hit-rate"](Thresholds()), nobody, recorded.span, Choices())
    assert drawn.count("no answer from http://127.0.0.1:1") > 10
