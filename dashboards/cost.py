"""Board 6: what the cache saves, what it costs, and whether more memory would pay.

Money is computed from prices that somebody configured; what is counted and what is configured is told apart on the
board itself.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from alerts import signals
from cacheclient.contract import (
    EVICTIONS,
    HITS,
    LOADER_SECONDS,
    LOOKUP_SECONDS,
    MEMORY_PRESSURE,
    SIZE_BYTES,
    Exporter,
    Tier,
)
from dashboards.document import Input, Row, document
from dashboards.panels import Column, Query, at_least, graph, graph_of, stat, stat_of, table, words
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds
    from cacheclient.contract import Metric

_SCOPE = CLIENTS
_GIB: Final = 2**30
_SAVED = f'tier=~"{Tier.L1}|{Tier.L2}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices in US dollars; the defaults are of the size that clouds charge, for a first look.

    Attributes:
        query: one call of a loader: its share of the database's price.
        redis_gib_hour: one GiB of Redis memory for an hour, on all servers of the set together.
        process_gib_hour: one GiB of a process's memory for an hour.

    Raises:
        ValueError: naming the field and what is allowed.
    """

    query: float = 2e-6
    redis_gib_hour: float = 0.05
    process_gib_hour: float = 0.005

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ValueError(f"price {field.name} {value!r}: a finite number, 0 or more")


_DEFAULTS: Final = Prices()


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
        ],
        [
            Input("price_query", "$ per load", f"{prices.query:g}"),
            Input("price_redis_gib_hour", "$ per GiB of Redis and hour", f"{prices.redis_gib_hour:g}"),
            Input("price_process_gib_hour", "$ per GiB of L1 and hour", f"{prices.process_gib_hour:g}"),
        ],
    )


def _rate(metric: Metric, *matchers: str, by: str = "") -> str:
    return f"sum{f' by ({by})' * bool(by)} ({_SCOPE.rate(_SCOPE.client(metric.name, *matchers))})"


def _mean_load() -> str:
    total, count = (_SCOPE.rate(_SCOPE.client(f"{LOADER_SECONDS.name}_{part}")) for part in ("sum", "count"))
    return f"sum({total}) / (sum({count}) > 0)"


def _mean_lookup() -> str:
    every = signals.tier(Tier.ALL)
    total, count = (_SCOPE.rate(_SCOPE.client(f"{LOOKUP_SECONDS.name}_{part}", every)) for part in ("sum", "count"))
    return f"sum({total}) / (sum({count}) > 0)"


def _saved_per_hour(by: str = "") -> str:
    return f"{_rate(HITS, _SAVED, by=by)} * 3600 * $price_query"


def _redis_per_hour() -> str:
    return f"sum({_SCOPE.redis(Exporter.MEMORY_USED)}) / {_GIB} * $price_redis_gib_hour"


def _l1_per_hour() -> str:
    return f"sum({_SCOPE.client(SIZE_BYTES.name, signals.tier(Tier.L1))}) / {_GIB} * $price_process_gib_hour"


def _spent_per_hour() -> str:
    return f"({_redis_per_hour()} + ({_l1_per_hour()} or vector(0)))"


def _summary() -> list[Panel]:
    avoided = f"sum(increase({_SCOPE.client(HITS.name, _SAVED)}[$__range]))"
    return [
        stat("Loads avoided", "Loader calls that hits made unnecessary, in the time shown. Counted.", avoided, "short"),
        stat(
            "Database time saved",
            "Seconds of loading per second that nobody had to wait for: hits times the mean load. Counted.",
            f"{_rate(HITS, _SAVED)} * ({_mean_load()})",
            "s",
        ),
        stat(
            "Saved per lookup",
            "What a caller waits less than if every lookup were a load: mean load minus mean lookup. Counted.",
            f"({_mean_load()}) - ({_mean_lookup()})",
            "s",
        ),
        stat(
            "Saved per hour",
            "Loads avoided at the price of a load. Configured price.",
            _saved_per_hour(),
            "currencyUSD",
        ),
        stat("Spent per hour", "Memory in use at its price. Configured prices.", _spent_per_hour(), "currencyUSD"),
        stat(
            "Saved over spent",
            "Above 1 the cache pays for itself. No figure can be better than the prices that are configured.",
            f"({_saved_per_hour()}) / ({_spent_per_hour()} > 0)",
            "none",
            steps=at_least(1),
        ),
    ]


def _savings() -> list[Panel]:
    round_trips = Query(_rate(HITS, signals.tier(Tier.L1)), "round trips to Redis")
    return [
        words(
            "Counted, and configured",
            "Lookups, loads, bytes and durations are **counted**. Money is computed from the three prices at the top, "
            "which are **configured**: set them to what you pay. A load saved costs what the mean one does.",
        ),
        graph(
            "Loads avoided by tier",
            "Lookups that L1 and L2 answered: each would have been a query of the database.",
            [Query(_rate(HITS, _SAVED, by="tier"), "{{tier}}")],
            "reqps",
            stack="normal",
        ),
        graph(
            "Round trips saved",
            "What L1 keeps off Redis, and both tiers off the database.",
            [round_trips, Query(_rate(HITS, _SAVED), "queries of the database")],
            "reqps",
        ),
        graph(
            "Mean load, mean lookup",
            "The distance between the two lines is what a caller gains.",
            [Query(_mean_load(), "load"), Query(_mean_lookup(), "lookup")],
            "s",
            log=True,
        ),
        graph(
            "Saved per hour by cache",
            "At the price of a load. Alert: CacheHitRateLow.",
            [Query(_saved_per_hour("cache"), "{{cache}}")],
            "currencyUSD",
            stack="normal",
        ),
    ]


def _costs() -> list[Panel]:
    return [
        graph(
            "Spent per hour by tier",
            "Memory that is in use, at its price. What is reserved and idle is not in it.",
            [Query(_redis_per_hour(), "Redis"), Query(_l1_per_hour(), "L1")],
            "currencyUSD",
            stack="normal",
        ),
        graph(
            "Saved and spent per hour",
            "Where the lines cross the cache begins, or ceases, to pay.",
            [Query(_saved_per_hour(), "saved"), Query(_spent_per_hour(), "spent")],
            "currencyUSD",
        ),
    ]


def _memory(limits: Thresholds) -> list[Panel]:
    entries = _SCOPE.client(SIZE_BYTES.name, signals.tier(Tier.L1))
    columns = [
        Column("L1 bytes", f"sum by (cache) ({entries})", "bytes"),
        Column(
            "L1 full", f"max by (cache) ({_SCOPE.client(MEMORY_PRESSURE.name, signals.tier(Tier.L1))})", "percentunit"
        ),
        Column("L1 evictions", _rate(EVICTIONS, signals.tier(Tier.L1), by="cache"), "ops"),
        Column("Loads avoided", _rate(HITS, _SAVED, by="cache"), "reqps"),
        Column("Saved per hour", _saved_per_hour("cache"), "currencyUSD"),
    ]
    return [
        stat_of(signals.L1_HIT_RATIO.panel(_SCOPE, limits)),
        stat_of(signals.L2_HIT_RATIO.panel(_SCOPE, limits)),
        graph_of(signals.L1_HIT_RATIO.panel(_SCOPE, limits), width=16),
        graph(
            "Evictions",
            "Entries given up for want of room, by tier. None: more memory changes nothing.",
            [
                Query(_rate(EVICTIONS, 'reason="capacity"', by="tier"), "{{tier}}"),
                Query(f"sum({_SCOPE.rate(_SCOPE.redis(Exporter.EVICTED))})", "l2"),
            ],
            "ops",
            width=24,
        ),
        table("Caches", "Those that save most first.", "cache", columns),
    ]
