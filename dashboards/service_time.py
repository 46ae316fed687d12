"""Board 5: service time by process, to find the slow one and the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts import signals
from cacheclient.contract import ERRORS, LISTENER_CONNECTED, LOADER_SECONDS, Process, Tier
from dashboards.document import Row, document
from dashboards.panels import Column, Query, at_least, below, cells, graph, stat, table
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds

_SCOPE = CLIENTS
_OUTLIER = 2.0  # times the median process: what counts as slow
_L1_PROMISE = 0.001  # seconds


def service_time(limits: Thresholds) -> dict[str, Any]:
    """Return the dashboard of service times by process."""
    return document(
        "pods",
        "Cache 5: service time by process",
        "Which process is slow, since when, and whether its tier, its node or its load is the reason.",
        "clients",
        [
            Row("Is one process slower than the others?", [*_summary(limits), _heat(limits)], collapsed=False),
            Row("Which one", _which(limits), collapsed=False),
            Row("Its tiers", _tiers(limits)),
            Row("Its resources", _resources()),
        ],
    )


def _p95(tier: Tier = Tier.ALL) -> str:
    return signals.lookup_quantile(_SCOPE, 0.95, tier, "namespace, pod")


def _summary(limits: Thresholds) -> list[Panel]:
    up = _SCOPE.client(LISTENER_CONNECTED.name)
    promise = below(limits.lookup_p95_seconds)
    return [
        stat("Slowest process, P95", "Its callers wait longest.", f"max({_p95()})", "s", steps=promise),
        stat("Median process, P95", "What is normal now.", f"quantile(0.5, {_p95()})", "s", steps=promise),
        stat(
            "Slowest over median",
            f"From {_OUTLIER:g} on one process is slower than its load explains.",
            f"max({_p95()}) / (quantile(0.5, {_p95()}) > 0)",
            "none",
            steps=below(_OUTLIER),
        ),
        stat(
            "Processes up", "That report metrics of their cache.", f"count(count by (namespace, pod) ({up}))", "short"
        ),
        stat(
            "Lowest L1 hit rate",
            "Of all processes: a young one, or one without a listener.",
            f"min({signals.tier_hit_rate(_SCOPE, Tier.L1, 'namespace, pod')})",
            "percentunit",
            steps=at_least(limits.target_l1_hit_rate),
        ),
        stat(
            "Busiest process, CPU",
            "Share of one core. A Python process cannot use more: near 100 % its callers queue for it.",
            f"max({_SCOPE.rate(_SCOPE.process(Process.CPU_SECONDS))})",
            "percentunit",
            steps=below(0.7, 0.9),
        ),
    ]


def _heat(limits: Thresholds) -> Panel:
    steps = below(_L1_PROMISE, limits.lookup_p95_seconds)
    return cells(
        "P95 of each process",
        "One row per process. A single coloured row is a slow process or node, a coloured column a slow Redis.",
        [Query(_p95(), "{{pod}}")],
        "s",
        steps=[*steps[:1], {**steps[1], "color": "orange"}, {**steps[2], "color": "red"}],
    )


def _which(limits: Thresholds) -> list[Panel]:
    by = "namespace, pod"
    promise = below(limits.lookup_p95_seconds)
    p50, p99 = (signals.lookup_quantile(_SCOPE, q, Tier.ALL, "pod") for q in (0.5, 0.99))
    columns = [
        Column("Lookups", signals.looked_up(_SCOPE, "pod"), "reqps"),
        Column("L1 hits", signals.tier_hit_rate(_SCOPE, Tier.L1, "pod"), "percentunit"),
        Column("CPU", f"max by (pod) ({_SCOPE.rate(_SCOPE.process(Process.CPU_SECONDS))})", "percentunit"),
        Column("Memory", f"max by (pod) ({_SCOPE.process(Process.RESIDENT_BYTES)})", "bytes"),
        Column("Age", f"time() - max by (pod) ({_SCOPE.process(Process.START_TIME)})", "s"),
        Column("P50", p50, "s"),
        Column("P99", p99, "s"),
        Column("P95", signals.lookup_quantile(_SCOPE, 0.95, Tier.ALL, "pod"), "s", promise),
    ]
    median = f"quantile by (namespace) (0.5, {_p95()})"
    return [
        table("Processes", "The slowest first. Young processes are slow until their L1 is warm.", "pod", columns),
        graph(
            "P95 over that of the median process",
            f"Above {_OUTLIER:g} for long: look at its node and its neighbours there, then restart it.",
            [Query(f"{_p95()} / on (namespace) group_left () ({median} > 0)", "{{pod}}")],
            "none",
            steps=below(_OUTLIER),
        ),
        graph(
            "Lookups by process",
            "Uneven load explains uneven times: a balancer that keeps connections spreads requests badly.",
            [Query(signals.looked_up(_SCOPE, by), "{{pod}}")],
            "reqps",
        ),
    ]


def _tiers(limits: Thresholds) -> list[Panel]:
    loads = _SCOPE.rate(_SCOPE.client(f"{LOADER_SECONDS.name}_bucket"))
    return [
        graph(
            "L1 P95",
            "Slow hits in process mean a busy event loop, or garbage collection.",
            [Query(_p95(Tier.L1), "{{pod}}")],
            "s",
            steps=below(_L1_PROMISE),
            log=True,
        ),
        graph(
            "L2 P95",
            "All lines high: Redis or the network. One line high: that node.",
            [Query(_p95(Tier.L2), "{{pod}}")],
            "s",
            steps=below(limits.lookup_p95_seconds),
            log=True,
        ),
        graph(
            "Load P95",
            "The loader's own time, by process.",
            [Query(f"histogram_quantile(0.95, sum by (namespace, pod, le) ({loads}))", "{{pod}}")],
            "s",
            log=True,
        ),
        graph(
            "Errors by process",
            "Failures that the cache absorbed. Alert: CacheErrorsHigh.",
            [Query(f"sum by (namespace, pod) ({_SCOPE.rate(_SCOPE.client(ERRORS.name))})", "{{pod}}")],
            "ops",
        ),
    ]


def _resources() -> list[Panel]:
    return [
        graph(
            "CPU",
            "Share of one core, which is all that a Python process can use.",
            [Query(_SCOPE.rate(_SCOPE.process(Process.CPU_SECONDS)), "{{pod}}")],
            "percentunit",
        ),
        graph(
            "Memory",
            "Resident bytes. Growth without end is a leak; the L1 is bounded.",
            [Query(_SCOPE.process(Process.RESIDENT_BYTES), "{{pod}}")],
            "bytes",
        ),
    ]
