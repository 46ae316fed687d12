"""Board 6: what the cache saves, what it costs, and whether more memory would pay.

Money is computed from prices that somebody configured; what is counted and what is configured is told apart on the
board itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alerts import signals
from cacheclient.contract import (
    COALESCED,
    EVICTIONS,
    HIT_RATE_AT_SIZE,
    HITS,
    LOOKUP_SECONDS,
    MEMORY_PRESSURE,
    SIZE_BYTES,
    SIZES,
    STALE_SERVED,
    TUNING_CHANGES,
    TUNING_ENGAGED,
    TUNING_VALUE,
    WORKING_SET,
    Exporter,
    Tier,
)
from cacheclient.savings import HOUR, NAMES, Prices
from dashboards.arithmetic import Expression
from dashboards.document import Input, Row, document
from dashboards.panels import Column, Query, at_least, graph, graph_of, stat, stat_of, table, timeline, words
from dashboards.scopes import CLIENTS
from dashboards.worth import OFFLINE, mean_load, rate, worth

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds

_SCOPE = CLIENTS
_SAVED = f'tier=~"{Tier.L1}|{Tier.L2}"'
_DEFAULTS: Final = Prices()
_LABELS: Final = {
    "per_million_queries": "$ per million queries",
    "per_database_hour": "$ per hour of database time",
    "per_million_round_trips": "$ per million round trips",
    "per_redis_gib_month": "$ per GiB-month of Redis",
    "per_process_gib_month": "$ per GiB-month of L1",
}


def cost(limits: Thresholds, prices: Prices = _DEFAULTS) -> dict[str, Any]:
    """Return the dashboard of cost and benefit."""
    return document(
        "cost",
        "Cache 6: cost and benefit",
        "How much work the cache takes off the database, what that is worth, and what the cache costs.",
        "clients",
        [
            Row("Does it pay?", _summary(), collapsed=False),
            Row("What it saves", _savings(), collapsed=False),
            Row("What it costs", _costs(), collapsed=False),
            Row("Would more memory pay?", _memory(limits)),
            Row("What tuning does, or would do", _tuning()),
        ],
        [Input(f"price_{name}", _LABELS[name], f"{getattr(prices, name):g}") for name in NAMES],
    )


def _mean_lookup() -> str:
    every = signals.tier(Tier.ALL)
    total, count = (_SCOPE.rate(_SCOPE.client(f"{LOOKUP_SECONDS.name}_{part}", every)) for part in ("sum", "count"))
    return f"sum({total}) / (sum({count}) > 0)"


def _per_hour(dollars: Expression) -> str:
    return f"{dollars} * {HOUR:g}"


def _summary() -> list[Panel]:
    all_caches = worth()
    saved = (
        _SCOPE.client(HITS.name, _SAVED),
        _SCOPE.client(COALESCED.name),
        _SCOPE.client(STALE_SERVED.name, OFFLINE),
    )
    queries = " + ".join(f"sum(increase({selector}[$__range]))" for selector in saved)
    return [
        stat(
            "Queries saved",
            "Hits, callers who shared a load, and answers of L1 without Redis, in the time shown. Counted.",
            queries,
            "short",
        ),
        stat(
            "Database time saved",
            "Seconds of loading per second that nobody had to wait for: queries saved times the mean load. Counted.",
            str(all_caches.database_seconds),
            "s",
        ),
        stat(
            "Saved per lookup",
            "What a caller waits less than if every lookup were a load: mean load minus mean lookup. Counted.",
            f"({mean_load()}) - ({_mean_lookup()})",
            "s",
        ),
        stat(
            "Saved per hour",
            "Queries, database time and round trips saved, at their prices. Configured prices.",
            _per_hour(all_caches.saved),
            "currencyUSD",
        ),
        stat(
            "Spent per hour",
            "Memory in use at its price. Configured prices.",
            _per_hour(all_caches.spent),
            "currencyUSD",
        ),
        stat(
            "Saved over spent",
            "Above 1 the cache pays for itself. No figure can be better than the prices that are configured.",
            f"{all_caches.saved} / ({all_caches.spent} > 0)",
            "none",
            steps=at_least(1),
        ),
    ]


def _savings() -> list[Panel]:
    all_caches = worth()
    return [
        words(
            "Counted, and configured",
            "Lookups, loads, bytes and durations are **counted**. Money is computed from the prices at the top, which "
            "are **configured**: set them to what you pay, and to 0 what you do not pay for. A query saved costs what "
            "the mean one does.",
        ),
        graph(
            "Queries saved by tier",
            "Lookups that L1 and L2 answered, or a load in flight: each would have been a query of the database.",
            [
                Query(rate(HITS, _SAVED, by="tier"), "{{tier}}"),
                Query(rate(COALESCED), "shared loads"),
                Query(rate(STALE_SERVED, OFFLINE), "L1, Redis away"),
            ],
            "reqps",
            stack="normal",
        ),
        graph(
            "Round trips saved",
            "What L1 keeps off Redis, and all of it off the database.",
            [
                Query(str(all_caches.round_trips), "round trips to Redis"),
                Query(str(all_caches.queries), "queries of the database"),
            ],
            "reqps",
        ),
        graph(
            "Mean load, mean lookup",
            "The distance between the two lines is what a caller gains.",
            [Query(mean_load(), "load"), Query(_mean_lookup(), "lookup")],
            "s",
            log=True,
        ),
        graph(
            "Saved per hour by cache",
            "At the configured prices. Alert: CacheHitRateLow.",
            [Query(_per_hour(worth("cache").saved), "{{cache}}")],
            "currencyUSD",
            stack="normal",
        ),
    ]


def _costs() -> list[Panel]:
    all_caches = worth()
    redis = f"sum({_SCOPE.redis(Exporter.MEMORY_USED)})"
    l1 = f"sum({_SCOPE.client(SIZE_BYTES.name, signals.tier(Tier.L1))})"
    return [
        graph(
            "Memory by tier",
            "What is paid for: memory that is in use. What is reserved and idle is not in it.",
            [Query(redis, "Redis, all servers"), Query(l1, "L1, all processes")],
            "bytes",
            stack="normal",
        ),
        graph(
            "Saved and spent per hour",
            "Where the lines cross the cache begins, or ceases, to pay.",
            [Query(_per_hour(all_caches.saved), "saved"), Query(_per_hour(all_caches.spent), "spent")],
            "currencyUSD",
        ),
    ]


def _at_size(of: Tier, size: str, by: str = "namespace") -> str:
    return f"""avg by ({by}) ({_SCOPE.client(HIT_RATE_AT_SIZE.name, signals.tier(of), f'size="{size}"')})"""


def _at_sizes(of: Tier) -> Panel:
    what = "the process's L1" if of is Tier.L1 else "Redis"
    return graph(
        f"{of.upper()} hit rate at other sizes",
        f"What the tier would answer if {what} were half, twice or four times as large, estimated from a sample of its "
        "keys; 1x is what was measured. Lines on one another: more memory changes nothing.",
        [Query(_at_size(of, size), size) for size in SIZES],
        "percentunit",
    )


def _set_to(param: str) -> str:
    return _SCOPE.client(TUNING_VALUE.name, f'param="{param}"')


def _tuning() -> list[Panel]:
    return [
        timeline(
            "Rules that see trouble",
            "Which of the four rules are engaged in any process: what they would do, and why, is in the log and in "
            "GET /cache/stats. Alert: CacheTunerFlapping.",
            [Query(f"max by (rule) ({_SCOPE.client(TUNING_ENGAGED.name)})", "{{rule}}")],
            {0: ("quiet", "green"), 1: ("engaged", "orange")},
        ),
        graph(
            "Decisions of tuning",
            "How often the rules begin and end something. Not applied: a dry run (tuning.apply is off), or advice.",
            [
                Query(
                    f"sum by (rule, applied) ({_SCOPE.rate(_SCOPE.client(TUNING_CHANGES.name))})",
                    "{{rule}}, applied: {{applied}}",
                )
            ],
            "ops",
        ),
        graph(
            "TTL of L1",
            "Seconds that an entry lives in L1 at most, as it is set now; raised while the L1 hit rate is low.",
            [Query(f"max by (cache) ({_set_to('l1_ttl_seconds')})", "{{cache}}")],
            "s",
        ),
        graph(
            "Bytes allowed in L1",
            "What L1 may hold in each process, as it is set now; less than is configured under memory pressure.",
            [Query(f"min by (cache) ({_set_to('l1_max_bytes')})", "{{cache}}")],
            "bytes",
        ),
    ]


def _memory(limits: Thresholds) -> list[Panel]:
    entries = _SCOPE.client(SIZE_BYTES.name, signals.tier(Tier.L1))
    columns = [
        Column("L1 bytes", f"sum by (cache) ({entries})", "bytes"),
        Column(
            "L1 full", f"max by (cache) ({_SCOPE.client(MEMORY_PRESSURE.name, signals.tier(Tier.L1))})", "percentunit"
        ),
        Column("L1 hits", _at_size(Tier.L1, "1x", by="cache"), "percentunit"),
        Column("At twice the size", _at_size(Tier.L1, "2x", by="cache"), "percentunit"),
        Column("Working set", f"sum by (cache) ({_SCOPE.client(WORKING_SET.name, signals.tier(Tier.L1))})", "bytes"),
        Column("L1 evictions", rate(EVICTIONS, signals.tier(Tier.L1), by="cache"), "ops"),
        Column("Queries saved", str(worth("cache").queries), "reqps"),
        Column("Saved per hour", _per_hour(worth("cache").saved), "currencyUSD"),
    ]
    return [
        stat_of(signals.L1_HIT_RATE.panel(_SCOPE, limits)),
        stat_of(signals.L2_HIT_RATE.panel(_SCOPE, limits)),
        graph_of(signals.L1_HIT_RATE.panel(_SCOPE, limits), width=16),
        *(_at_sizes(tier) for tier in (Tier.L1, Tier.L2)),
        graph(
            "Evictions",
            "Entries given up for want of room, by tier. None: more memory changes nothing.",
            [
                Query(rate(EVICTIONS, 'reason="capacity"', by="tier"), "{{tier}}"),
                Query(f"sum({_SCOPE.rate(_SCOPE.redis(Exporter.EVICTED))})", "l2"),
            ],
            "ops",
            width=24,
        ),
        table("Caches", "Those that save most first.", "cache", columns),
    ]
