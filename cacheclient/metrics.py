"""Prometheus: one collector that reads the plain counters when it is scraped, so traffic pays nothing for metrics.

Every label set exists from the first scrape, at zero: a series that is born with its first event hides that event
from ``increase()``. One process is one set of series; run one worker per pod and scale by replicas, because L1 belongs
to the process and Prometheus' multi-process mode has no custom collectors.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Final, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from cacheclient import contract
from cacheclient.contract import AUDIT_WINDOWS, SIZES, Comparison, ErrorType, Metric, Tier, TuningRule
from cacheclient.keys import KeySpace
from cacheclient.stats import Histogram, Stats

__all__ = ["CacheCollector", "register"]

_WINDOW: Final = 60.0  # seconds that cache_hit_rate looks back
_TIERS: Final = (Tier.L1, Tier.L2, Tier.L3)
_CLOSED: Final[Mapping[str, tuple[str, ...]]] = {
    "evictions": ("capacity", "replaced"),
    "coalesced": ("process",),
    "leases": ("granted", "wait", "value"),
    "invalidations": ("key/local", "key/remote", "tag/local", "tag/remote", "pattern/local", "event/remote"),
    "stale_served": ("load_failed", "reloading", "offline"),
    "revalidated": ("trusted", "dropped"),
    "events": ("invalidate", "update", "prewarm", "unknown", "malformed"),
    "audited": tuple(f"{comparison}/{window}" for comparison in Comparison for window in AUDIT_WINDOWS),
    "rate_limited": ("allowed/redis", "refused/redis", "refused/memory", "allowed/outage", "refused/outage"),
    "locks": ("acquired", "timeout", "lost"),
    "warmed": ("written", "skipped", "failed"),
    "migrated": ("seen", "copied", "skipped", "failed", "dropped"),
}

Sample = tuple[tuple[str, ...], float]


class Observed(Protocol):
    """What the collector reads: a Cache or an AsyncCache."""

    @property
    def space(self) -> KeySpace:
        """Its namespace and version."""

    def stats(self) -> Stats:
        """Return its counters."""


class CacheCollector(Collector):
    """Exports the counters of some caches. Register it once per process."""

    def __init__(self, caches: Iterable[Observed]) -> None:
        self._caches = list(caches)
        self._windows = [_HitRates() for _ in self._caches]

    def describe(self) -> list[Family]:
        """Return nothing: registering must not collect."""
        return []

    def collect(self) -> Iterator[Family]:
        """Yield every family of ``contract.METRICS`` that comes from a cache."""
        now = time.monotonic()
        observed = [(cache.space.namespace, cache.stats()) for cache in self._caches]
        for metric, read in _READ.items():
            yield _scalar(metric, [((name, *of), value) for name, stats in observed for of, value in read(stats)])
        for metric in (contract.LOOKUP_SECONDS, contract.LOOKUP_MS, contract.WRITE_SECONDS, contract.WRITE_MS,
                       contract.LOADER_SECONDS, contract.FAILOVER_SECONDS, contract.PROPAGATION_SECONDS):  # fmt: skip
            yield _histogram(metric, observed)
        rates = [
            ((name, tier), rate)
            for (name, stats), window in zip(observed, self._windows, strict=True)
            for tier, rate in window.rates(now, stats)
        ]
        yield _scalar(contract.HIT_RATE, rates)
        versions = [((c.space.namespace, str(c.space.version)), float(c.space.version)) for c in self._caches]
        yield _scalar(contract.NAMESPACE_VERSION, versions)
        yield _scalar(contract.BUILD_INFO, [((version("cachestack"),), 1.0)])


def register(*caches: Observed, registry: CollectorRegistry = REGISTRY) -> CacheCollector:
    """Export the counters of ``caches`` through ``registry`` and return the collector (to unregister it)."""
    collector = CacheCollector(caches)
    registry.register(collector)
    return collector


class _HitRates:
    """The hit rates of one cache over the last minute, from the snapshots that earlier scrapes left."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, dict[str, tuple[int, int]]]] = deque()

    def rates(self, now: float, stats: Stats) -> list[tuple[str, float]]:
        """Return (tier, ratio) of the tiers that had lookups; none rather than 0 for an idle tier."""
        counts = {
            Tier.L1.value: (stats.l1.hits, stats.l1.lookups),
            Tier.L2.value: (stats.l2.hits, stats.l2.lookups),
            Tier.ALL.value: (stats.lookups - stats.l2.misses, stats.lookups),
        }
        self._past.append((now, counts))
        while len(self._past) > 1 and self._past[1][0] <= now - _WINDOW:
            self._past.popleft()
        then = self._past[0][1] if len(self._past) > 1 else dict.fromkeys(counts, (0, 0))
        grown = {tier: (hits - then[tier][0], lookups - then[tier][1]) for tier, (hits, lookups) in counts.items()}
        return [(tier, hits / lookups) for tier, (hits, lookups) in grown.items() if lookups]


def _each(counts: Mapping[str, float], kind: str) -> list[Sample]:
    return [(tuple(what.split("/")), counts[what]) for what in _CLOSED[kind]]


def _errors_of(tier: Tier) -> Iterable[ErrorType]:
    return (ErrorType.LOADER,) if tier is Tier.L3 else (e for e in ErrorType if e is not ErrorType.LOADER)


# What each metric says of one cache: the values of its labels, without the cache's name, and the figure.
_READ: Final[Mapping[Metric, Callable[[Stats], Iterable[Sample]]]] = {
    contract.HITS: lambda s: [((tier,), s.tier(tier).hits) for tier in _TIERS],
    contract.MISSES: lambda s: [((tier,), s.tier(tier).misses) for tier in (Tier.L1, Tier.L2)],
    contract.SIZE_BYTES: lambda s: [((Tier.L1,), s.l1.size_bytes)],
    contract.CAPACITY_BYTES: lambda s: [((Tier.L1,), s.l1.capacity_bytes)],
    contract.ENTRIES: lambda s: [((Tier.L1,), s.l1.entries)],
    contract.MEMORY_PRESSURE: lambda s: [((Tier.L1,), s.l1.size_bytes / max(1, s.l1.capacity_bytes))],
    contract.EVICTIONS: lambda s: [((Tier.L1, reason), s.l1.evictions[reason]) for reason in _CLOSED["evictions"]],
    contract.ERRORS: lambda s: [
        ((tier, error), s.errors[f"{tier}/{error}"]) for tier in (Tier.L2, Tier.L3) for error in _errors_of(tier)
    ],
    contract.LOADER_CALLS: lambda s: [(("ok",), s.l3.hits), (("failed",), s.l3.misses)],
    contract.COALESCED: lambda s: _each(s.coalesced, "coalesced"),
    contract.LEASES: lambda s: _each(s.leases, "leases"),
    contract.INVALIDATIONS: lambda s: _each(s.invalidations, "invalidations"),
    contract.CONNECTION_ERRORS: lambda s: [((), s.connection_errors)],
    contract.FAILOVER_EVENTS: lambda s: [((), s.failovers)],
    contract.LISTENER_CONNECTED: lambda s: [((), float(s.listener_connected))],
    contract.LISTENER_GAPS: lambda s: [((), s.gaps)],
    contract.LOCKS: lambda s: _each(s.locks, "locks"),
    contract.RATE_LIMITED: lambda s: _each(s.rate_limited, "rate_limited"),
    contract.CIRCUIT_STATE: lambda s: [((), 2.0 if s.circuit_open else 0.0)],
    contract.STALE_SERVED: lambda s: _each(s.stale_served, "stale_served"),
    contract.SUSPECT_ENTRIES: lambda s: [((), s.l1.suspects)],
    contract.REVALIDATED: lambda s: _each(s.revalidated, "revalidated"),
    contract.EVENTS: lambda s: _each(s.events, "events"),
    contract.L1_OFF: lambda s: [((), float(s.l1_off))],
    contract.PUSH_STORMS: lambda s: [((), s.storms)],
    contract.CONSISTENCY_CHECKED: lambda s: _each(s.audited, "audited"),
    contract.CONSISTENCY_INCONSISTENT: lambda s: _each(s.inconsistent, "audited"),
    contract.MIGRATED: lambda s: _each(s.migrated, "migrated"),
    contract.WARMED: lambda s: _each(s.warmed, "warmed"),
    contract.HIT_RATE_AT_SIZE: lambda s: [
        ((tier, size), curve.hit_rate(size)) for tier, curve in s.curves.items() for size in SIZES
    ],
    contract.WORKING_SET: lambda s: [((tier,), curve.working_set_bytes) for tier, curve in s.curves.items()],
    contract.TUNING_CHANGES: lambda s: [
        ((rule, "true" if how == "applied" else "false"), s.tuned[f"{rule}/{how}"])
        for rule in TuningRule
        for how in ("applied", "advised")
    ],
    contract.TUNING_ENGAGED: lambda s: [((rule,), float(s.engaged.get(rule, False))) for rule in TuningRule],
    contract.TUNING_VALUE: lambda s: [((param,), value) for param, value in s.tuning.items()],
}


def _scalar(metric: Metric, samples: Iterable[Sample]) -> Family:
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, observed: Iterable[tuple[str, Stats]]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    scale = 1000 if metric.unit == "milliseconds" else 1
    edges = [*map(floatToGoString, metric.buckets), "+Inf"]
    for name, stats in observed:
        for labels, histogram in _histograms_of(metric, name, stats):
            running, buckets = 0, []
            for edge, count in zip(edges, histogram.counts, strict=True):
                running += count
                buckets.append((edge, running))
            family.add_metric(labels, buckets, histogram.total * scale)
    return family


def _histograms_of(metric: Metric, name: str, stats: Stats) -> list[tuple[tuple[str, ...], Histogram]]:
    if metric in (contract.LOOKUP_SECONDS, contract.LOOKUP_MS):
        return [((name, tier), stats.latency(tier)) for tier in (*_TIERS, Tier.ALL)]
    if metric in (contract.WRITE_SECONDS, contract.WRITE_MS):
        return [((name, Tier.L2), stats.l2.write)]
    plain = {
        contract.FAILOVER_SECONDS: stats.outage,
        contract.LOADER_SECONDS: stats.l3.lookup,
        contract.PROPAGATION_SECONDS: stats.propagation,
    }
    return [((name,), plain[metric])]
