"""Plain counters and histograms: what the hot path pays for, and snapshots of them.

``prometheus_client`` costs about 4 microseconds a lookup, more than the lookup; a plain integer costs 40 ns. So the
cache counts here, and ``cacheclient.metrics`` reads these counters when it is scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from cacheclient.contract import LATENCY_BUCKETS, OUTAGE_BUCKETS, Tier
from cacheclient.sizing import Curve
from cacheclient.tuning import Decision

DECISIONS: Final = 20  # of tuning, that are remembered


@dataclass(slots=True)
class Histogram:
    """Counts by bucket; ``edges`` are inclusive upper bounds in seconds, one more bucket holds what is above."""

    edges: tuple[float, ...] = LATENCY_BUCKETS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.edges) + 1)

    def observe(self, seconds: float, weight: int = 1) -> None:
        """Add ``weight`` observations of ``seconds`` (a sampled caller gives what its sample stands for)."""
        self.counts[bisect_left(self.edges, seconds)] += weight
        self.total += seconds * weight

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile in seconds, interpolated inside its bucket as Prometheus does; None when empty.

        What lies above the last edge is given as the last edge: the true value is at least that.
        """
        rank, seen = q * self.count, 0
        if not self.count:
            return None
        for index, count in enumerate(self.counts[:-1]):
            if count and seen + count >= rank:
                low = self.edges[index - 1] if index else 0.0
                return low + (self.edges[index] - low) * (rank - seen) / count
            seen += count
        return self.edges[-1]

    def combine(self, other: Histogram, sign: int = 1) -> Histogram:
        """Return this histogram plus (or, with sign -1, minus) another over the same edges."""
        counts = [a + sign * b for a, b in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.edges, counts, self.total + sign * other.total)


@dataclass(slots=True)
class TierStats:
    """Counters of one tier. ``size_bytes``, ``entries`` and ``suspects`` are levels, the rest only rise."""

    hits: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0
    capacity_bytes: int = 0
    evictions: Counter[str] = field(default_factory=Counter)
    lookup: Histogram = field(default_factory=Histogram)
    write: Histogram = field(default_factory=Histogram)
    suspects: int = 0  # entries that do not answer until they are proved anew

    @property
    def lookups(self) -> int:
        """Lookups that reached this tier."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float | None:
        """Hits over the lookups that reached this tier; None without lookups."""
        return self.hits / self.lookups if self.lookups else None

    def combine(self, other: TierStats, sign: int = 1, level: int = 1) -> TierStats:
        """Return the sum (or difference) of the counters; levels are added with the factor ``level``."""
        return TierStats(
            self.hits + sign * other.hits,
            self.misses + sign * other.misses,
            self.entries + level * other.entries,
            self.size_bytes + level * other.size_bytes,
            self.capacity_bytes + level * other.capacity_bytes,
            _count(self.evictions, other.evictions, sign),
            self.lookup.combine(other.lookup, sign),
            self.write.combine(other.write, sign),
            self.suspects + level * other.suspects,
        )


def _count(a: Counter[str], b: Counter[str], sign: int) -> Counter[str]:
    return Counter({key: a[key] + sign * b[key] for key in a.keys() | b.keys()})


def _joined(a: dict[str, Curve], b: dict[str, Curve]) -> dict[str, Curve]:
    both = {tier: a[tier] + b[tier] for tier in a.keys() & b.keys()}
    return {**a, **b, **both}


def _latest(a: tuple[Decision, ...], b: tuple[Decision, ...]) -> tuple[Decision, ...]:
    return tuple(sorted((*a, *b), key=lambda decision: decision.at))[-DECISIONS:]


@dataclass(slots=True)
class Stats:
    """Everything one cache counts. The live object of a cache, and also the snapshot that ``cache.stats()`` returns.

    Snapshots can be pickled, added over processes with ``merge`` and subtracted to get the figures of a phase.
    """

    l1: TierStats = field(default_factory=TierStats)
    l2: TierStats = field(default_factory=TierStats)
    l3: TierStats = field(default_factory=TierStats)  # hits = loads that returned, misses = loads that failed
    all_lookups: Histogram = field(default_factory=Histogram)
    outage: Histogram = field(default_factory=lambda: Histogram(OUTAGE_BUCKETS))
    coalesced: Counter[str] = field(default_factory=Counter)  # by scope: process, fleet
    leases: Counter[str] = field(default_factory=Counter)  # by answer: granted, wait, value
    invalidations: Counter[str] = field(default_factory=Counter)  # by "mode/origin"
    errors: Counter[str] = field(default_factory=Counter)  # by "tier/type"
    stale_served: Counter[str] = field(default_factory=Counter)  # by reason: load_failed, reloading, offline
    revalidated: Counter[str] = field(default_factory=Counter)  # suspect entries of L1, by outcome: trusted, dropped
    events: Counter[str] = field(default_factory=Counter)  # heard on the channels, by type
    audited: Counter[str] = field(default_factory=Counter)  # by "comparison/window"
    inconsistent: Counter[str] = field(default_factory=Counter)  # likewise: those that found an old value
    locks: Counter[str] = field(default_factory=Counter)  # public ones, by outcome: acquired, timeout, lost
    rate_limited: Counter[str] = field(default_factory=Counter)  # hits under a limit, by "outcome/decided_by"
    propagation: Histogram = field(default_factory=Histogram)  # own invalidations until their push
    storms: int = 0  # times L1 was switched off because pushes came too fast
    curves: dict[str, Curve] = field(default_factory=dict)  # by tier: its hit rate at other sizes, see ``sizing``
    tuned: Counter[str] = field(default_factory=Counter)  # decisions of tuning, by "rule/applied" or "rule/advised"
    engaged: dict[str, bool] = field(default_factory=dict)  # by rule of tuning: whether its trouble is on
    tuning: dict[str, float] = field(default_factory=dict)  # what rules change, as it is set now
    decisions: tuple[Decision, ...] = ()  # the last ones of tuning, the newest last
    migrated: Counter[str] = field(default_factory=Counter)  # seen, copied, skipped, failed, dropped
    warmed: Counter[str] = field(default_factory=Counter)  # by warm-ups, by outcome: written, skipped, failed
    connection_errors: int = 0
    failovers: int = 0
    gaps: int = 0
    listener_connected: bool = False
    circuit_open: bool = False
    l1_off: bool = False

    def tier(self, name: str) -> TierStats:
        """Return the counters of tier ``l1``, ``l2`` or ``l3``."""
        tiers = {Tier.L1: self.l1, Tier.L2: self.l2, Tier.L3: self.l3}
        return tiers[Tier(name)]

    def latency(self, name: str) -> Histogram:
        """Return how long lookups took that tier ``l1``, ``l2`` or ``l3`` answered, or ``all``."""
        return self.all_lookups if name == Tier.ALL else self.tier(name).lookup

    @property
    def lookups(self) -> int:
        """Lookups by the application."""
        return self.l1.lookups

    @property
    def loads(self) -> int:
        """Loader calls, failed ones included."""
        return self.l3.lookups

    @property
    def combined_hit_rate(self) -> float | None:
        """Lookups that neither tier could answer, taken from 1; None without lookups.

        Not hits/(hits+misses) summed over the tiers: an L1 miss that L2 serves would count twice.
        """
        return 1 - self.l2.misses / self.lookups if self.lookups else None

    def combine(self, other: Stats, sign: int = 1, level: int = 1) -> Stats:
        """Return the sum (sign 1) or difference (sign -1) of all counters."""
        return Stats(
            l1=self.l1.combine(other.l1, sign, level),
            l2=self.l2.combine(other.l2, sign, level),
            l3=self.l3.combine(other.l3, sign, level),
            all_lookups=self.all_lookups.combine(other.all_lookups, sign),
            outage=self.outage.combine(other.outage, sign),
            coalesced=_count(self.coalesced, other.coalesced, sign),
            leases=_count(self.leases, other.leases, sign),
            invalidations=_count(self.invalidations, other.invalidations, sign),
            errors=_count(self.errors, other.errors, sign),
            stale_served=_count(self.stale_served, other.stale_served, sign),
            revalidated=_count(self.revalidated, other.revalidated, sign),
            events=_count(self.events, other.events, sign),
            audited=_count(self.audited, other.audited, sign),
            inconsistent=_count(self.inconsistent, other.inconsistent, sign),
            locks=_count(self.locks, other.locks, sign),
            rate_limited=_count(self.rate_limited, other.rate_limited, sign),
            propagation=self.propagation.combine(other.propagation, sign),
            storms=self.storms + sign * other.storms,
            tuned=_count(self.tuned, other.tuned, sign),
            engaged={
                rule: self.engaged.get(rule, False) or (sign > 0 and other.engaged.get(rule, False))
                for rule in self.engaged.keys() | (other.engaged.keys() if level else set())
            },
            tuning={**other.tuning, **self.tuning} if level else dict(self.tuning),
            decisions=_latest(self.decisions, other.decisions if level else ()),
            curves=_joined(self.curves, other.curves) if level else self.curves,
            migrated=_count(self.migrated, other.migrated, sign),
            warmed=_count(self.warmed, other.warmed, sign),
            connection_errors=self.connection_errors + sign * other.connection_errors,
            failovers=self.failovers + sign * other.failovers,
            gaps=self.gaps + sign * other.gaps,
            listener_connected=self.listener_connected and (sign < 0 or other.listener_connected),
            circuit_open=self.circuit_open or (sign > 0 and other.circuit_open),
            l1_off=self.l1_off or (sign > 0 and other.l1_off),
        )

    def __sub__(self, earlier: Stats) -> Stats:
        """Return what happened since ``earlier``; levels (entries, bytes) stay those of the later snapshot."""
        return self.combine(earlier, sign=-1, level=0)

    @classmethod
    def merge(cls, snapshots: Iterable[Stats]) -> Self:
        """Return the sum over processes."""
        first, *rest = snapshots
        for snapshot in rest:
            first = first.combine(snapshot)
        return first  # type: ignore[return-value]

    def to_dict(self) -> dict[str, object]:
        """Return the figures for JSON: the shape of ``GET /cache/stats`` (requirement 4.1) and a little more."""

        def tier(t: TierStats) -> dict[str, object]:
            return {
                "hit_rate": t.hit_rate, "size_mb": round(t.size_bytes / 2**20, 3), "entries": t.entries,
                "lookups": t.lookups, "p95_seconds": t.lookup.quantile(0.95),
            }  # fmt: skip

        return {
            "l1": tier(self.l1),
            "l2": tier(self.l2),
            "combined": {"hit_rate": self.combined_hit_rate, "lookups": self.lookups},
            "loads": self.loads,
            "errors": dict(self.errors),
            "failovers": self.failovers,
            "listener_connected": self.listener_connected,
            "tuning": {
                "engaged": sorted(rule for rule, engaged in self.engaged.items() if engaged),
                "values": dict(self.tuning),
                "decisions": [decision.to_dict() for decision in self.decisions],
            },
            "at_other_sizes": {tier: curve.to_dict() for tier, curve in sorted(self.curves.items())},
        }
