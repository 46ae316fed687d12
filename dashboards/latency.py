"""Board 2: how long lookups take, in which tier the time goes, and what the servers add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts import signals
from alerts.objectives import ERROR, LATENCY
from alerts.thresholds import FASTEST_BURN
from cacheclient.contract import LOADER_SECONDS, LOCKS, LOOKUP_SECONDS, RATE_LIMITED, WRITE_SECONDS, Exporter, Tier
from dashboards.document import Row, document
from dashboards.panels import Query, at_least, below, graph, graph_of, heatmap, stat, stat_of
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds
    from cacheclient.contract import Metric

_TIERS = (Tier.L1, Tier.L2, Tier.L3)
_SCOPE = CLIENTS


def latency(limits: Thresholds) -> dict[str, Any]:
    """Return the dashboard of the latency distribution."""
    return document(
        "latency",
        "Cache 2: latency distribution",
        "How long lookups take, in which tier the time goes, and what the servers add to it.",
        "clients",
        [
            Row("Is it fast enough?", _summary(limits), collapsed=False),
            Row("All tiers", _lookups(limits), collapsed=False),
            Row("Each tier", _tiers()),
            Row("Writes and loads", [*_writes_and_loads(), _locks(), _rate_limits()]),
            Row("Objectives", _objectives(limits)),
            Row("Servers", _servers(limits)),
        ],
    )


def _quantile(metric: Metric, quantile: float, by: str = "namespace", *matchers: str) -> str:
    buckets = _SCOPE.rate(_SCOPE.client(f"{metric.name}_bucket", *matchers))
    return f"histogram_quantile({quantile}, sum by ({by}, le) ({buckets}))"


def _buckets(metric: Metric, *matchers: str) -> str:
    return f"sum by (le) (increase({_SCOPE.client(f'{metric.name}_bucket', *matchers)}[{_SCOPE.window}]))"


def _within(limit: float) -> str:
    """Return the share of lookups that took at most ``limit``, a bucket edge."""
    fast = _SCOPE.client(f"{LOOKUP_SECONDS.name}_bucket", signals.tier(Tier.ALL), f'le="{limit}"')
    every = _SCOPE.client(f"{LOOKUP_SECONDS.name}_count", signals.tier(Tier.ALL))
    return f"sum({_SCOPE.rate(fast)}) / (sum({_SCOPE.rate(every)}) > 0)"


def _summary(limits: Thresholds) -> list[Panel]:
    promise = below(limits.lookup_p95_seconds)
    p50, p99 = (signals.lookup_quantile(_SCOPE, quantile) for quantile in (0.5, 0.99))
    return [
        stat("Lookup P50", "Half of the lookups are faster than this.", p50, "s", steps=promise),
        stat_of(signals.LOOKUP_P95.panel(_SCOPE, limits), board="hit-rate"),
        stat("Lookup P99", "One lookup in a hundred is slower than this. Misses that load are among them.", p99, "s"),
        stat(
            f"Within {limits.lookup_p95_seconds * 1000:g} ms",
            "Share of lookups that kept the promise; 95 % have to. Alert: CacheLookupP95High.",
            _within(limits.lookup_p95_seconds),
            "percentunit",
            steps=at_least(0.95),
        ),
        stat_of(signals.ERROR_RATIO.panel(_SCOPE, limits), board="hit-rate"),
        stat("Load P95", "95 % of the loader's calls are faster than this.", _quantile(LOADER_SECONDS, 0.95), "s"),
    ]


def _locks() -> Panel:
    asked = f"sum by (outcome) ({_SCOPE.rate(_SCOPE.client(LOCKS.name))})"
    note = "Public locks by outcome. Alert: CacheLockTimeouts."
    return graph("Locks", note, [Query(asked, "{{outcome}}")], "ops", stack="normal")


def _rate_limits() -> Panel:
    hits = f"sum by (outcome, decided_by) ({_SCOPE.rate(_SCOPE.client(RATE_LIMITED.name))})"
    note = (
        "Hits under a rate limit. Refused by memory: the process knows until when the subject is over its limit. By "
        "outage: without Redis, as the limiter was told. Alert: CacheRateLimitBlind."
    )
    return graph("Rate limits", note, [Query(hits, "{{outcome}} by {{decided_by}}")], "ops", stack="normal")


def _objectives(limits: Thresholds) -> list[Panel]:
    return [
        graph(
            f"Burn rate: {what}",
            f"How many times faster than a month allows the budget goes. Alerts: {objective.alert}BurnsFast, "
            f"{objective.alert}BurnsSlowly.",
            [Query(objective.burn(_SCOPE, limits, window), f"over {window}") for window in ("5m", "1h", "6h")],
            "none",
            steps=below(1, FASTEST_BURN),
        )
        for what, objective in (("slow lookups", LATENCY), ("failed lookups", ERROR))
    ]


def _lookups(limits: Thresholds) -> list[Panel]:
    p50, p99 = (
        Query(signals.lookup_quantile(_SCOPE, q), f"P{q * 100:g} {{{{namespace}}}}", exemplars=True)
        for q in (0.5, 0.99)
    )
    by_tier = [
        Query(signals.lookup_quantile(_SCOPE, 0.95, tier, "tier"), tier.value.upper(), exemplars=True)
        for tier in _TIERS
    ]
    total = _SCOPE.rate(_SCOPE.client(f"{LOOKUP_SECONDS.name}_sum", f'tier=~"{"|".join(_TIERS)}"'))
    return [
        heatmap(
            "Lookups by duration",
            "Two bands are normal: L1 in microseconds, L2 around a millisecond. A third one is the loader.",
            _buckets(LOOKUP_SECONDS, signals.tier(Tier.ALL)),
            "s",
        ),
        graph_of(signals.LOOKUP_P95.panel(_SCOPE, limits), p50, p99, log=True),
        graph(
            "P95 by answering tier",
            "Promised: L1 under 1 ms, L2 5 to 20 ms, loader 50 to 200 ms.",
            by_tier,
            "s",
            log=True,
        ),
        graph(
            "Where the time goes",
            "Seconds that callers spend per second, by the tier that answered: the widest band is the one to improve.",
            [Query(f"sum by (tier) ({total})", "{{tier}}")],
            "s",
            stack="normal",
        ),
        graph(
            "P95 by process",
            "One line above the others is a slow process or node.",
            [Query(signals.lookup_quantile(_SCOPE, 0.95, Tier.ALL, "pod"), "{{pod}}", exemplars=True)],
            "s",
            log=True,
        ),
    ]


def _tiers() -> list[Panel]:
    notes = {
        Tier.L1: "In process. Slow L1 hits mean a busy process, or large values.",
        Tier.L2: "Through Redis, waiting for its answer included. Time-outs end at the client's limit.",
        Tier.L3: "Through the loader, including the wait for another process that loads the same key.",
    }
    return [
        heatmap(
            f"{tier.value.upper()} lookups by duration",
            notes[tier],
            _buckets(LOOKUP_SECONDS, signals.tier(tier)),
            "s",
            width=8,
        )
        for tier in _TIERS
    ]


def _writes_and_loads() -> list[Panel]:
    return [
        graph(
            "Write P95 by tier",
            "Time to store an entry. Writes wait for Redis, so they show its outages first.",
            [Query(_quantile(WRITE_SECONDS, 0.95, "tier"), "{{tier}}", exemplars=True)],
            "s",
            log=True,
        ),
        graph(
            "Loader P50, P95, P99",
            "What a miss costs. The cache cannot make the loader faster, only rarer.",
            [
                Query(_quantile(LOADER_SECONDS, q), f"P{q * 100:g} {{{{namespace}}}}", exemplars=True)
                for q in (0.5, 0.95, 0.99)
            ],
            "s",
            log=True,
        ),
    ]


def _servers(limits: Thresholds) -> list[Panel]:
    seconds, calls = (_SCOPE.rate(_SCOPE.redis(m)) for m in (Exporter.COMMANDS_SECONDS, Exporter.COMMANDS))
    cpu = " + ".join(_SCOPE.rate(_SCOPE.redis(metric)) for metric in (Exporter.CPU_USER, Exporter.CPU_SYS))
    return [
        graph(
            "Time per command",
            "Mean time inside Redis of the ten slowest commands, queueing and network excluded.",
            [Query(f"topk(10, sum by (cmd) ({seconds}) / (sum by (cmd) ({calls}) > 0))", "{{cmd}}")],
            "s",
        ),
        graph("Commands", "Commands per second by server.", [Query(f"sum by (pod) ({calls})")], "ops"),
        graph(
            "CPU seconds per second",
            "Redis runs commands on one core: near 1, or at the container's limit, everyone waits.",
            [Query(cpu)],
            "short",
        ),
        graph(
            "New slow log entries",
            "Commands above slowlog-log-slower-than. SLOWLOG GET names them.",
            [Query(f"delta({_SCOPE.redis(Exporter.SLOWLOG_LAST_ID)}[{_SCOPE.window}])")],
            "short",
        ),
        graph(
            "Latency spikes",
            "Length of the last standstill by event. Alert: RedisSlowEvent.",
            [Query(_SCOPE.redis(Exporter.SPIKE_SECONDS), "{{pod}} {{event_name}}")],
            "s",
            steps=below(limits.slow_event_seconds),
        ),
        graph(
            "Last fork",
            "How long the last fork (snapshot, file rewrite, full copy) stopped the server.",
            [Query(_SCOPE.redis(Exporter.FORK_SECONDS))],
            "s",
        ),
    ]
