"""The figures at which the rules speak and the panels change colour, in one validated value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from cacheclient.contract import LATENCY_BUCKETS, OUTAGE_BUCKETS

FASTEST_BURN: Final = 14.4  # times faster than a month's budget allows: what the fastest alert on it waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Limits of the rules and panels; the defaults are the promises of the bundle.

    ``*_ratio`` and ``*hit_rate`` are 0 to 1, ``*_seconds`` seconds, ``*_bytes`` bytes; ``replicas``, ``sentinels``,
    ``quorum`` and ``max_clients`` describe the deployed set, not a limit.

    Raises:
        ValueError: naming the field and what is allowed.
    """

    memory_ratio: float = 0.8
    fragmentation_ratio: float = 1.5
    fragmentation_bytes: float = 200e6
    evictions_per_second: float = 100
    connections: int = 1000
    connections_ratio: float = 0.8
    replication_lag_seconds: float = 5
    backlog_ratio: float = 0.8
    snapshot_age_seconds: float = 7200
    slow_event_seconds: float = 0.1
    hit_rate: float = 0.6
    target_hit_rate: float = 0.85
    target_l1_hit_rate: float = 0.5
    target_l2_hit_rate: float = 0.8
    idle_lookups_per_second: float = 1
    lookup_p95_seconds: float = 0.005
    error_ratio: float = 0.01
    inconsistent_ratio: float = 0.0001
    outage_seconds: float = 60
    propagation_seconds: float = 0.25
    backup_age_seconds: float = 7 * 3600
    backup_overdue_seconds: float = 13 * 3600
    drill_age_seconds: float = 8 * 86400
    full_warmup_age_seconds: float = 26 * 3600
    hot_warmup_age_seconds: float = 8 * 3600
    slow_budget_ratio: float = 0.05
    error_budget_ratio: float = 0.001
    replicas: int = 2
    sentinels: int = 3
    quorum: int = 2
    max_clients: int = 2000

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if not self.sentinels // 2 < self.quorum <= self.sentinels:
            raise ValueError(f"quorum {self.quorum}: more than half of sentinels ({self.sentinels}), and at most all")
        for name in ("slow_budget_ratio", "error_budget_ratio"):
            if getattr(self, name) > 1 / FASTEST_BURN:
                raise ValueError(f"{name} {getattr(self, name)}: at most 1/{FASTEST_BURN}, or no burn rate could tell")
        for name, edges in _EDGES.items():
            if getattr(self, name) not in edges:
                raise ValueError(f"{name} {getattr(self, name)}: one of the bucket edges {', '.join(map(str, edges))}")


# Ratios of two unbounded quantities; every other *_ratio is a share.
_UNBOUNDED_RATIOS = frozenset({"fragmentation_ratio"})


# histogram_quantile and the share of observations below a limit are exact on a bucket edge only.
_EDGES: Final = {
    "lookup_p95_seconds": LATENCY_BUCKETS,
    "propagation_seconds": LATENCY_BUCKETS,
    "outage_seconds": OUTAGE_BUCKETS,
}


def _check(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} {value!r}: a finite number above 0")
    if name.endswith(("_ratio", "hit_rate")) and name not in _UNBOUNDED_RATIOS and value > 1:
        raise ValueError(f"{name} {value}: a share, above 0 and at most 1")
    if name in {"connections", "replicas", "sentinels", "quorum"} and not isinstance(value, int):
        raise ValueError(f"{name} {value}: a whole number")
