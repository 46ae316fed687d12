"""The terminal view: what it asks, what it shows, and what it says when nobody answers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from alerts.thresholds import Thresholds
from cacheclient.cli import main
from dashboards.preview.results import Prometheus
from dashboards.terminal.screen import draw
from dashboards.terminal.snapshot import Alarm, Server, Snapshot, _queries, from_api, from_prometheus
from tests.views.answering import answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a query that holds the first text gets as its answer.
ANSWERS: list[tuple[str, list[tuple[dict[str, str], float]]]] = [
    ("ALERTS", [
        ({"alertname": "RedisReplicasMissing", "severity": "warning", "alertstate": "pending", "pod": "redis-0"}, 1),
        ({"alertname": "RedisDown", "severity": "warning", "alertstate": "firing", "pod": "redis-2"}, 1),
        ({"alertname": "RedisFailover", "severity": "critical", "alertstate": "firing", "master_name": "set"}, 1),
    ]),
    ("by (pod, role)", [({"pod": "redis-0", "role": "master"}, 1), ({"pod": "redis-1", "role": "slave"}, 1)]),
    ("(redis_up", [({"pod": "redis-0"}, 1), ({"pod": "redis-1"}, 1), ({"pod": "redis-2"}, 0)]),
    ("redis_master_link_up", [({"pod": "redis-1"}, 1)]),
    ("redis_memory_used_bytes", [({"pod": "redis-0"}, 0.9), ({"pod": "redis-1"}, 0.3)]),
    ("cache_invalidation_listener_connected", [({"pod": "a"}, 1), ({"pod": "b"}, 0)]),
    ("histogram_quantile", [({"tier": "all"}, 0.0021), ({"tier": "l1"}, 4e-6)]),
    ("ckquorum", [({"master_name": "cache-local"}, 1)]),
    ("ok_sentinels", [({"master_name": "cache-local"}, 2)]),
    ("1 - ", [({"namespace": "local"}, 0.7)]),
]  # fmt: skip


def told(path: str, asked: dict[str, str]) -> Any:
    """Answer as a Prometheus with those answers, and as the API of one process."""
    if path == "/cache/stats":
        return {"l1": {"hit_rate": 0.6, "p95_seconds": 5e-6}, "l2": {"hit_rate": None}, "failovers": 2,
                "combined": {"hit_rate": 0.9}, "listener_connected": True}  # fmt: skip
    if path.endswith("targets"):
        return {"data": {"activeTargets": [{"scrapeInterval": "2s"}]}}
    found = next((results for text, results in ANSWERS if text in asked["query"]), [])
    return {"data": {"result": [{"metric": m, "value": [1.0, str(value)]} for m, value in found]}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with answering(told) as url:
        yield url


def text_of(snapshot: Snapshot, *, colours: bool = False) -> str:
    console = Console(width=100, record=True, force_terminal=colours, quiet=False, file=None)
    with console.capture() as capture:
        console.print(draw(snapshot, Thresholds()))
    return capture.get()


def test_prometheus_is_asked_for_everything_on_the_screen(url: str) -> None:
    now = from_prometheus(Prometheus(url))
    assert now.problem == ""
    assert (now.hit_rate, now.processes, now.listening, now.quorum, now.sentinels) == (0.7, 2, 1, True, 2)
    assert now.p95 == {"all": 0.0021, "l1": 4e-6}
    assert [(s.name, s.role, s.link_up) for s in now.servers] == [
        ("redis-0", "master", None), ("redis-1", "replica", True), ("redis-2", "down", None),
    ]  # fmt: skip
    assert now.alarms is not None
    assert [a.name for a in now.alarms] == ["RedisFailover", "RedisDown", "RedisReplicasMissing"], "the worst first"
    assert now.alarms[0].where == "set"


def test_each_query_is_bounded_to_its_namespace_and_reads_what_exists(
    parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    for name, query in _queries("cache-prod", "1m").items():
        for use in parse(query).uses():
            assert use.matchers["namespace"] == "cache-prod", name
            assert use.metric == "ALERTS" or use.metric in exposed, name
    assert 'namespace=~".+"' in _queries("", "1m")["lookups"]


def test_the_screen_tells_figures_servers_and_alerts(url: str) -> None:
    text = text_of(from_prometheus(Prometheus(url)))
    assert re.search(r"hit rate\s+70 %", text)
    assert re.search(r"told of changes\s+1 of 2", text)
    assert "2.1 ms" in text
    assert re.search(r"redis-2\s+down", text)
    assert re.search(r"RedisFailover\s+critical\s+firing\s+set", text)
    assert "\x1b[" not in text


@pytest.mark.parametrize(("ratio", "code"), [(0.9, "32"), (0.7, "33"), (0.5, "1;31")])
def test_a_figure_is_coloured_by_its_promise(ratio: float, code: str) -> None:
    text = text_of(Snapshot(moment=0, source="x", hit_rate=ratio), colours=True)
    assert re.search(rf"\x1b\[{code}m{ratio * 100:g} %", text)


def test_no_alert_is_said_only_where_alerts_are_known() -> None:
    assert "no alert is pending" in text_of(Snapshot(moment=0, source="x", alarms=()))
    assert "no alert" not in text_of(Snapshot(moment=0, source="x"))


def test_a_server_with_too_much_memory_and_a_lost_link_stands_out() -> None:
    server = Server("redis-1", "replica", 0.95, 10, 60, link_up=False)
    alarm = Alarm("RedisMemoryHigh", "warning", "firing", "redis-1")
    text = text_of(Snapshot(moment=0, source="x", servers=(server,), alarms=(alarm,)), colours=True)
    assert "\x1b[1;31m95 %" in text
    assert "\x1b[1;31mdown" in text


def test_one_process_tells_its_own_figures(url: str) -> None:
    now = from_api(url)
    assert (now.hit_rate, now.l1_hit_rate, now.l2_hit_rate, now.failovers) == (0.9, 0.6, None, 2)
    assert (now.processes, now.listening, now.alarms) == (1, 1, None)


@pytest.mark.parametrize("source", ["--prometheus", "--api"])
def test_nobody_answers_is_said_and_fails(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", source, "http://127.0.0.1:1"]) == 1
    assert "no answer from http://127.0.0.1:1" in capsys.readouterr().out.replace("\n", " ")


def test_scripts_get_json_and_pipes_one_look(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--prometheus", url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hit_rate"] == 0.7
    assert main(["top", "--api", url]) == 0
    assert "90 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--api", "ftp://x"], "an http:// or https:// URL"), (["--api", "http://x", "--every", "0.1"], "0.5 or more")],
)
def test_what_cannot_work_is_refused(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", *arguments]) == 2
    assert says in capsys.readouterr().err
