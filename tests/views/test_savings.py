"""What a cache saves: the formula, its prices, and that the dashboard computes from Prometheus what the API does."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from alerts.thresholds import Thresholds
from cacheclient import CacheOptions, ConfigurationError, FailsafeOptions, Stats
from cacheclient.cli import main
from cacheclient.contract import ExitCode, Exporter, Job
from cacheclient.metrics import register
from cacheclient.savings import GIB, HOUR, MONTH, NAMES, Prices, Use, report, savings, use_of
from cacheclient.testing import Fleet
from dashboards.boards import boards_at
from dashboards.preview.results import Choices, Span
from dashboards.terminal.savings import bill
from dashboards.worth import worth
from tests.views.recorded import serving

PRICES = Prices(
    per_million_queries=3.5, per_database_hour=0.7, per_million_round_trips=0.11, per_redis_gib_month=41.0,
    per_process_gib_month=7.3,
)  # fmt: skip
USED = Use(
    l1_hits=600.0, l2_hits=300.0, joined=60.0, offline=40.0, mean_load=0.05, redis_bytes=6 * GIB, l1_bytes=0.5 * GIB
)


def test_the_formula_by_hand() -> None:
    found = savings(USED, PRICES)
    assert (found.queries, found.round_trips, found.database_seconds) == (1000, 600, 50)
    assert found.saved == pytest.approx(1000 * 3.5e-6 + 50 * 0.7 / 3600 + 600 * 0.11e-6)
    assert found.spent * MONTH == pytest.approx(6 * 41 + 0.5 * 7.3)


def test_nothing_used_is_nothing_saved() -> None:
    found = report(Stats(), PRICES, 0.0)
    assert (found["queries"], found["saved"], found["saved_per_hour"], found["database_seconds"]) == (0, 0, 0, 0)
    assert found["cost"] == {"l1_per_hour": 0, "redis_per_hour": None}
    json.dumps(found, allow_nan=False)


# -- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**7, "2", None, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_price_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"cost {name}="):
        Prices(**{name: value})


def test_prices_in_the_environment_and_back() -> None:
    assert Prices.from_env({}) == Prices()
    assert Prices.from_env(PRICES.to_env() | {"PATH": "/bin"}) == PRICES
    assert PRICES.to_env()["CACHE_COST_PER_MILLION_QUERIES"] == "3.5"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("CACHE_COST_PER_MILLION_QUERY", "2", "no such price; did you mean CACHE_COST_PER_MILLION_QUERIES"),
        ("CACHE_COST_", "2", "CACHE_COST_: no such price"),
        ("CACHE_COST_PER_MILLION_QUERIES", "2 USD", "='2 USD': a number"),
        ("CACHE_COST_PER_MILLION_QUERIES", "-2", "cost per_million_queries=-2.0: dollars, from 0"),
        ("CACHE_COST_PER_MILLION_QUERIES", "nan", "cost per_million_queries=nan"),
    ],
)
def test_a_price_in_the_environment_that_cannot_be_is_refused(variable: str, value: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Prices.from_env({variable: value})


def test_the_board_starts_with_the_prices_of_the_stack() -> None:
    board = boards_at(PRICES)["cost"](Thresholds())
    inputs = {v["name"]: v["query"] for v in board["templating"]["list"] if v["name"].startswith("price_")}
    assert inputs == {f"price_{name}": f"{getattr(PRICES, name):g}" for name in NAMES}


# -- the dashboard and the API say the same ---------------------------------------------------------------------------


async def used() -> Stats:
    """Return what two caches count that are used: misses, hits in both tiers, shared loads."""
    fleet, options = Fleet(), CacheOptions(failsafe=FailsafeOptions(offline=60))
    async with fleet.cache("fp", options=options) as cache, fleet.cache("fp") as other:

        async def load(key: str) -> str:
            await asyncio.sleep(0.002)
            return key * 50

        for _ in range(5):
            await asyncio.gather(*(cache.get_or_load(f"k{n % 40}", load) for n in range(100)))
        await asyncio.gather(*(other.get_or_load(f"k{n}", load) for n in range(40)))
        fleet.outage()
        await asyncio.gather(*(cache.get_or_load(f"k{n}", load) for n in range(40)))
        return cache.stats().combine(other.stats())


STEP, SCRAPES = 15, 240
REDIS_BYTES = 5e8


def history(stats: Stats, end: int) -> Iterator[str]:
    """Yield the scrapes of a process that counts ``stats`` anew between any two of them; levels stay."""

    class Once:
        space = Fleet().cache("fp").space

        def stats(self) -> Stats:
            return stats

    registry = CollectorRegistry()
    register(Once(), registry=registry)
    text = generate_latest(registry).decode()
    kinds: dict[str, str] = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    process = f'job="{Job.API}",namespace="cache",pod="api-0",instance="api-0"'
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, own, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
        rises = kinds[re.sub(r"_(bucket|count|sum)$", "", name)] in {"counter", "histogram"}
        for scrape in range(SCRAPES + 1):
            now = float(value) * (scrape if rises else 1)
            yield f"{name}{{{process},{own}}} {now!r} {end - STEP * (SCRAPES - scrape)}"
    for scrape in range(SCRAPES + 1):
        server = f'job="{Job.REDIS}",namespace="cache",pod="redis-0",instance="redis-0"'
        yield f"{Exporter.MEMORY_USED}{{{server}}} {REDIS_BYTES} {end - STEP * (SCRAPES - scrape)}"
    yield "# EOF"


def test_the_dashboard_and_the_command_compute_what_the_api_says(
    promtool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = asyncio.run(used())
    assert min(stats.l1.hits, stats.l2.hits, stats.coalesced.total(), stats.l3.lookup.count, stats.l1.size_bytes) > 0
    assert stats.stale_served["offline"] > 0
    end = int(time.time()) // STEP * STEP - 2 * STEP
    choices = Choices().on(boards_at(PRICES)["cost"](Thresholds()))
    span = Span(end - 600, end, 60.0)
    expected = savings(use_of(stats, STEP, REDIS_BYTES), PRICES)
    with serving(promtool, tmp_path, history(stats, end)) as prometheus:
        for by in ("", "cache"):
            for name in ("queries", "round_trips", "database_seconds", "saved", "spent")[: 5 if not by else 4]:
                query = choices.expand(str(getattr(worth(by), name)), span)
                (series,) = prometheus.over(query, span)
                assert series.points[-1][1] == pytest.approx(getattr(expected, name), rel=1e-9), (name, by)
        hours = SCRAPES * STEP / 2 / HOUR
        told = bill(prometheus, "cache", hours, PRICES, end)
        code = main(["savings", "--prometheus", prometheus.url, "--hours", f"{hours}", "--json"])
    assert code == ExitCode.DONE
    assert list(told.caches) == ["fp"]
    for name, value in (*asdict(told.caches["fp"]).items(), *asdict(told.total).items()):
        assert value == pytest.approx(getattr(expected, name) * hours * HOUR, rel=1e-9), name
    assert told.spent == pytest.approx(expected.spent * hours * HOUR)
    assert json.loads(capsys.readouterr().out).keys() == {"hours", "caches", "total", "spent", "prices"}
    api = report(stats, PRICES, STEP, REDIS_BYTES)
    assert api["saved_per_hour"] == pytest.approx(expected.saved * HOUR)
    assert api["cost"]["l1_per_hour"] + api["cost"]["redis_per_hour"] == pytest.approx(expected.spent * HOUR)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], ExitCode.USAGE, "--prometheus URL: whom to ask?"),
        (["--prometheus", "localhost:9090"], ExitCode.USAGE, "an http:// or https:// URL"),
        (["--prometheus", "http://127.0.0.1:1"], ExitCode.FAILED, "no answer from http://127.0.0.1:1"),
        (["--prometheus", "http://127.0.0.1:1", "--hours", "0"], ExitCode.USAGE, "--hours 0: 0.1 to 744"),
        (["--prometheus", "http://127.0.0.1:1", "--hours", "nan"], ExitCode.USAGE, "--hours nan"),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_do(
    arguments: list[str], code: ExitCode, says: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("CACHE_PROMETHEUS_URL", raising=False)
    assert main(["savings", *arguments]) == code
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert says in said.err


def test_the_command_refuses_a_price_that_cannot_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_COST_PER_MILLION_QUERIES", "cheap")
    assert main(["savings", "--prometheus", "http://127.0.0.1:1"]) == ExitCode.USAGE
    assert "CACHE_COST_PER_MILLION_QUERIES='cheap': a number" in capsys.readouterr().err
