"""Board 1: how many lookups each tier answers, and why the others missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts import signals
from cacheclient.contract import (
    CAPACITY_BYTES,
    CIRCUIT_STATE,
    COALESCED,
    CONNECTION_ERRORS,
    ENTRIES,
    ERRORS,
    EVICTIONS,
    HITS,
    INVALIDATIONS,
    LEASES,
    LISTENER_CONNECTED,
    LISTENER_GAPS,
    LOADER_CALLS,
    MEMORY_PRESSURE,
    MISSES,
    NAMESPACE_VERSION,
    SIZE_BYTES,
    STALE_SERVED,
    WARMED,
    Exporter,
    Tier,
)
from dashboards.document import Row, document
from dashboards.panels import Column, Query, at_least, graph, graph_of, stat, stat_of, table, timeline
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds
    from cacheclient.contract import Metric


def hit_rate(limits: Thresholds) -> dict[str, Any]:
    """Return the dashboard of the tiered hit rate."""
    return document(
        "hit-rate",
        "Cache 1: tiered hit rate",
        "How many lookups L1, L2 and the loader answer, and why the others missed.",
        "clients",
        [
            Row("Is it on target?", _summary(limits), collapsed=False),
            Row("Who answered", _answers(), collapsed=False),
            Row("Hit rates", _rates(limits), collapsed=False),
            Row("Why lookups missed L1", _l1()),
            Row("Why lookups missed L2", _l2()),
        ],
    )


def _rate(metric: Metric, by: str, *matchers: str) -> str:
    return f"sum by ({by}) ({CLIENTS.rate(CLIENTS.client(metric.name, *matchers))})"


def _summary(limits: Thresholds) -> list[Panel]:
    combined = at_least(limits.target_hit_rate, limits.hit_rate)
    connected = CLIENTS.client(LISTENER_CONNECTED.name)
    return [
        stat_of(signals.HIT_RATE.panel(CLIENTS, limits), steps=combined, board="latency"),
        stat_of(signals.L1_HIT_RATE.panel(CLIENTS, limits)),
        stat_of(signals.L2_HIT_RATE.panel(CLIENTS, limits), board="redis"),
        stat_of(signals.LOOKUPS.panel(CLIENTS, limits), board="latency"),
        stat(
            "Loads avoided",
            "Loader calls per second that hits made unnecessary: the lookups that L1 and L2 answered.",
            f"""sum({CLIENTS.rate(CLIENTS.client(HITS.name, f'tier=~"{Tier.L1}|{Tier.L2}"'))})""",
            "reqps",
        ),
        stat(
            "Listeners connected",
            "Share of processes that are told of invalidations. The others do not use their L1. "
            "Alert: CacheListenerDisconnected.",
            f"avg({connected})",
            "percentunit",
            steps=at_least(1),
            board="redis",
        ),
    ]


def _answers() -> list[Panel]:
    by_tier = [
        Query(_rate(HITS, "tier", signals.tier(Tier.L1)), "L1"),
        Query(_rate(HITS, "tier", signals.tier(Tier.L2)), "L2"),
        Query(_rate(MISSES, "tier", signals.tier(Tier.L2)), "loader"),
    ]
    return [
        graph(
            "Lookups by the tier that answered",
            "Shares of all lookups. The loader's share is what the database feels.",
            by_tier,
            "reqps",
            stack="percent",
        ),
        graph(
            "Loads, and callers who did not need their own",
            "Loader calls by outcome; callers who joined a load in flight; leases that Redis granted (a load for the "
            "whole fleet) or refused because another process loads. Alert: CacheLoaderFailing.",
            [
                Query(_rate(LOADER_CALLS, "outcome"), "load {{outcome}}"),
                Query(_rate(COALESCED, "scope"), "joined in {{scope}}"),
                Query(_rate(LEASES, "outcome"), "lease {{outcome}}"),
            ],
            "reqps",
        ),
    ]


def _rates(limits: Thresholds) -> list[Panel]:
    combined = at_least(limits.target_hit_rate, limits.hit_rate)
    per_cache = (CLIENTS, "cache")
    columns = [
        Column("Lookups", signals.looked_up(*per_cache), "reqps"),
        Column("Combined", signals.hit_rate(*per_cache), "percentunit", combined),
        Column("L1", signals.tier_hit_rate(CLIENTS, Tier.L1, "cache"), "percentunit"),
        Column("L2", signals.tier_hit_rate(CLIENTS, Tier.L2, "cache"), "percentunit"),
        Column("L1 entries", f"sum by (cache) ({CLIENTS.client(ENTRIES.name)})"),
        Column("L1 evictions", _rate(EVICTIONS, "cache"), "ops"),
        Column("Misses", _rate(MISSES, "cache", signals.tier(Tier.L2)), "reqps"),
    ]
    return [
        graph_of(signals.HIT_RATE.panel(CLIENTS, limits), steps=combined, width=8),
        graph_of(signals.L1_HIT_RATE.panel(CLIENTS, limits), width=8),
        graph_of(signals.L2_HIT_RATE.panel(CLIENTS, limits), width=8),
        graph(
            "L1 hit rate by process",
            "A single low line is a young process, or one without a listener.",
            [Query(signals.tier_hit_rate(CLIENTS, Tier.L1, "pod"), "{{pod}}")],
            "percentunit",
        ),
        graph(
            "Keyspace hit rate of the servers",
            "A cross-check only: Redis counts every key it is asked for, markers and leases too.",
            [Query(_keyspace_ratio(), "{{pod}}")],
            "percentunit",
        ),
        table(
            "Caches", "One row per cache; the last column orders them by what they cost the loader.", "cache", columns
        ),
    ]


def _keyspace_ratio() -> str:
    hits, misses = (CLIENTS.rate(CLIENTS.redis(name)) for name in (Exporter.KEYSPACE_HITS, Exporter.KEYSPACE_MISSES))
    return f"{hits} / ({hits} + {misses} > 0)"


def _l1() -> list[Panel]:
    return [
        graph(
            "L1 fill",
            "Bytes held over bytes allowed. Full is normal; full with a low hit rate is too small.",
            [Query(CLIENTS.client(MEMORY_PRESSURE.name, signals.tier(Tier.L1)), "{{pod}} {{cache}}")],
            "percentunit",
        ),
        graph(
            "L1 size",
            "Encoded bytes of the entries, an estimate of what they take, and how many are allowed.",
            [
                Query(CLIENTS.client(SIZE_BYTES.name, signals.tier(Tier.L1)), "{{pod}} {{cache}}"),
                Query(CLIENTS.client(CAPACITY_BYTES.name, signals.tier(Tier.L1)), "{{pod}} {{cache}} allowed"),
            ],
            "bytes",
        ),
        graph(
            "Evictions by reason",
            "Many evictions for capacity with a low L1 hit rate ask for more entries or bytes.",
            [Query(_rate(EVICTIONS, "tier, reason"), "{{tier}} {{reason}}")],
            "ops",
            stack="normal",
        ),
        graph(
            "Invalidations",
            "By mode and by origin: remote ones came from other processes.",
            [Query(_rate(INVALIDATIONS, "mode, origin"), "{{mode}} {{origin}}")],
            "ops",
            stack="normal",
        ),
        timeline(
            "Listener",
            "Whether each process is told of invalidations. Alert: CacheListenerDisconnected.",
            [Query(CLIENTS.client(LISTENER_CONNECTED.name), "{{pod}} {{cache}}")],
            {1: ("connected", "green"), 0: ("lost", "red")},
        ),
        graph(
            "Lost connections of the listeners",
            "Each costs a check of what L1 holds.",
            [Query(f"increase({CLIENTS.client(LISTENER_GAPS.name)}[{CLIENTS.window}])", "{{pod}} {{cache}}")],
            "short",
        ),
    ]


def _l2() -> list[Panel]:
    return [
        graph(
            "Errors by kind",
            "Failures the client absorbed by going one tier down. Alert: CacheErrorsHigh.",
            [Query(_rate(ERRORS, "tier, type"), "{{tier}} {{type}}")],
            "ops",
            stack="normal",
        ),
        graph(
            "Failed connections",
            "Connections to Redis or Sentinel that failed or broke.",
            [Query(_rate(CONNECTION_ERRORS, "pod"), "{{pod}}")],
            "ops",
        ),
        timeline(
            "Breaker",
            "Open: the process gave up on L2 and asks the loader. Alert: CacheL2Unreachable.",
            [Query(CLIENTS.client(CIRCUIT_STATE.name), "{{pod}} {{cache}}")],
            {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")},
        ),
        graph(
            "Stale values served",
            "Values past their TTL that were better than none, by reason.",
            [Query(_rate(STALE_SERVED, "reason"), "{{reason}}")],
            "reqps",
        ),
        graph(
            "Schema versions in use",
            "Processes by version of each cache. Two for long: a rollout that stopped. Alert: CacheVersionSkew.",
            [Query(f"count by (cache, version) ({CLIENTS.client(NAMESPACE_VERSION.name)})", "{{cache}} v{{version}}")],
            "short",
        ),
        graph(
            "Warm-ups",
            "Keys a second that warm-ups of these processes dealt with: skipped ones were there already. "
            "Those of the CronJobs are in their logs.",
            [Query(_rate(WARMED, "outcome"), "{{outcome}}")],
            "ops",
            stack="normal",
        ),
        graph(
            "Evictions by the servers",
            "Entries that Redis dropped to stay within maxmemory. Alert: RedisEvictingTooFast.",
            [Query(CLIENTS.rate(CLIENTS.redis(Exporter.EVICTED)))],
            "ops",
        ),
    ]
