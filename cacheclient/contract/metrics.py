"""The metrics that cachestack exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MetricKind = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: the name dashboards query, its type, labels and unit.

    ``name`` of a counter is written with its ``_total`` suffix, as it appears in a query.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    unit: Literal["seconds", "milliseconds", "bytes", "ratio", ""] = ""
    buckets: tuple[float, ...] = ()


# Latency bucket edges in seconds. They contain both promised edges exactly (1 ms for L1, 5 ms for the P95 of a lookup),
# because histogram_quantile interpolates inside a bucket.
LATENCY_BUCKETS: Final = (
    5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip
# Outage lengths in seconds: the edges hold the promises (10 s crash, 45 s node loss, 60 s at most).
OUTAGE_BUCKETS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0)

HITS: Final = Metric("cache_hits_total", "counter", "Lookups answered by this tier.", ("cache", "tier"))
MISSES: Final = Metric("cache_misses_total", "counter", "Lookups this tier could not answer.", ("cache", "tier"))
HIT_RATE: Final = Metric(
    "cache_hit_rate", "gauge", "Hits over lookups of the last 60 s; absent without lookups.", ("cache", "tier"), "ratio"
)
LOOKUP_SECONDS: Final = Metric(
    "cache_lookup_duration_seconds", "histogram", "Time to answer a lookup, by the tier that answered (all = any).",
    ("cache", "tier"), "seconds", LATENCY_BUCKETS,
)  # fmt: skip
LOOKUP_MS: Final = Metric(
    "cache_lookup_duration_ms", "histogram", "cache_lookup_duration_seconds in milliseconds.", ("cache", "tier"),
    "milliseconds", tuple(b * 1000 for b in LATENCY_BUCKETS),
)  # fmt: skip
WRITE_SECONDS: Final = Metric(
    "cache_write_duration_seconds", "histogram", "Time to write an entry to this tier.", ("cache", "tier"), "seconds",
    LATENCY_BUCKETS,
)  # fmt: skip
WRITE_MS: Final = Metric(
    "cache_write_duration_ms", "histogram", "cache_write_duration_seconds in milliseconds.", ("cache", "tier"),
    "milliseconds", tuple(b * 1000 for b in LATENCY_BUCKETS),
)  # fmt: skip
LOADER_SECONDS: Final = Metric(
    "cache_loader_duration_seconds", "histogram", "Time a loader (L3) took.", ("cache",), "seconds", LATENCY_BUCKETS
)
LOADER_CALLS: Final = Metric("cache_loader_calls_total", "counter", "Loader (L3) calls.", ("cache", "outcome"))
SIZE_BYTES: Final = Metric(
    "cache_size_bytes", "gauge", "Bytes held by this tier (L1: encoded size, an estimate).", ("cache", "tier"), "bytes"
)
CAPACITY_BYTES: Final = Metric("cache_capacity_bytes", "gauge", "Bytes this tier may hold.", ("cache", "tier"), "bytes")
ENTRIES: Final = Metric("cache_entries", "gauge", "Entries held by this tier.", ("cache", "tier"))
EVICTIONS: Final = Metric(
    "cache_eviction_total", "counter", "Entries dropped to stay within bounds, or expired.", ("cache", "tier", "reason")
)
MEMORY_PRESSURE: Final = Metric(
    "cache_memory_pressure_ratio", "gauge", "Bytes held over bytes allowed, 0 to 1.", ("cache", "tier"), "ratio"
)
ERRORS: Final = Metric(
    "cache_errors_total", "counter", "Failures the cache absorbed, by kind.", ("cache", "tier", "type")
)
CONNECTION_ERRORS: Final = Metric(
    "redis_connection_errors_total", "counter", "Connections to Redis or Sentinel that failed or broke.", ("cache",)
)
FAILOVER_EVENTS: Final = Metric(
    "redis_failover_events_total", "counter", "Master changes this client followed.", ("cache",)
)
FAILOVER_SECONDS: Final = Metric(
    "redis_failover_duration_seconds", "histogram", "Time this client was without a writable master.", ("cache",),
    "seconds", OUTAGE_BUCKETS,
)  # fmt: skip
INVALIDATIONS: Final = Metric(
    "cache_invalidations_total", "counter", "Entries or patterns invalidated.", ("cache", "mode", "origin")
)
PROPAGATION_SECONDS: Final = Metric(
    "cache_invalidation_propagation_seconds", "histogram",
    "Time from an own invalidation until Redis' push told of it here, as it tells every process.", ("cache",),
    "seconds", LATENCY_BUCKETS,
)  # fmt: skip
LOCKS: Final = Metric(
    "cache_lock_acquire_total", "counter", "Public locks: acquired, not to be had in time, or lost while held.",
    ("cache", "outcome"),
)  # fmt: skip
RATE_LIMITED: Final = Metric(
    "cache_rate_limit_total", "counter", "Hits under a rate limit: allowed or refused, and by whom.",
    ("cache", "outcome", "decided_by"),
)  # fmt: skip
LISTENER_CONNECTED: Final = Metric(
    "cache_invalidation_listener_connected", "gauge", "1 while the tracking connection proves itself alive.", ("cache",)
)
LISTENER_GAPS: Final = Metric(
    "cache_invalidation_gaps_total",
    "counter",
    "Times the tracking connection was lost, so L1 was re-checked.",
    ("cache",),
)
HIT_RATE_AT_SIZE: Final = Metric(
    "cache_hit_rate_at_size", "gauge",
    "Hit rate that this tier would have at another size, from a sample; absent until there is enough of it.",
    ("cache", "tier", "size"), "ratio",
)  # fmt: skip
WORKING_SET: Final = Metric(
    "cache_working_set_bytes", "gauge", "Bytes a tier would hold in which entries only expire; from a sample.",
    ("cache", "tier"), "bytes",
)  # fmt: skip
TUNING_CHANGES: Final = Metric(
    "cache_tuning_changes_total", "counter", "Decisions of the four rules, carried out or not (dry run, advice).",
    ("cache", "rule", "applied"),
)  # fmt: skip
TUNING_ENGAGED: Final = Metric(
    "cache_tuning_engaged", "gauge", "1 while a rule sees the trouble that it is for.", ("cache", "rule")
)
TUNING_VALUE: Final = Metric(
    "cache_tuning_value", "gauge", "What a parameter that rules change is set to now.", ("cache", "param")
)
SUSPECT_ENTRIES: Final = Metric(
    "cache_suspect_entries", "gauge", "Entries of L1 that do not answer until L2 has confirmed them.", ("cache",)
)
REVALIDATED: Final = Metric(
    "cache_revalidated_total",
    "counter",
    "Suspect entries of L1 compared with L2, by outcome (trusted, dropped).",
    ("cache", "outcome"),
)
EVENTS: Final = Metric(
    "cache_events_total",
    "counter",
    "Events heard on the channels, by type; unknown and malformed ones are passed over.",
    ("cache", "type"),
)
L1_OFF: Final = Metric(
    "cache_l1_off", "gauge", "1 while L1 is switched off because pushes come faster than it is worth.", ("cache",)
)
PUSH_STORMS: Final = Metric(
    "cache_push_storms_total", "counter", "Times L1 was switched off in a storm of pushes.", ("cache",)
)
CONSISTENCY_CHECKED: Final = Metric(
    "cache_consistency_checked_total",
    "counter",
    "Comparisons after sampled invalidations, by what was compared and how long after.",
    ("cache", "comparison", "window"),
)
CONSISTENCY_INCONSISTENT: Final = Metric(
    "cache_consistency_inconsistent_total",
    "counter",
    "Comparisons that found an old value still served.",
    ("cache", "comparison", "window"),
)
COALESCED: Final = Metric(
    "cache_coalesced_total", "counter", "Callers who joined a load already in flight.", ("cache", "scope")
)
LEASES: Final = Metric("cache_lease_total", "counter", "Lease requests to Redis, by answer.", ("cache", "outcome"))
STALE_SERVED: Final = Metric(
    "cache_stale_served_total", "counter", "Values served past their TTL.", ("cache", "reason")
)
CIRCUIT_STATE: Final = Metric("cache_circuit_state", "gauge", "L2 breaker: 0 closed, 1 half open, 2 open.", ("cache",))
NAMESPACE_VERSION: Final = Metric(
    "cache_namespace_version", "gauge", "Schema version of the namespace, as value and label.", ("cache", "version")
)
MIGRATED: Final = Metric(
    "cache_migration_keys_total", "counter", "Keys of an older version that a migration looked at, by outcome.",
    ("cache", "outcome"),
)  # fmt: skip
WARMED: Final = Metric(
    "cache_warmer_keys_loaded_total", "counter", "Keys that warm-ups of this process dealt with, by outcome.",
    ("cache", "outcome"),
)  # fmt: skip
BUILD_INFO: Final = Metric("cache_build_info", "gauge", "1, labelled by the cachestack version.", ("version",))

METRICS: Final[tuple[Metric, ...]] = tuple(m for m in list(vars().values()) if isinstance(m, Metric))
