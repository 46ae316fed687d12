"""Each observable that a rule and a panel share, declared once.

Formulas that look obvious and are wrong were replaced by what a trial with real failures showed:

- hits over hits plus misses, summed over tiers, counts a lookup that L1 missed and L2 served twice. A cache exactly on
  target (L1 50 %, L2 80 %) would read 60 %. The combined ratio is one minus the misses of the last tier over lookups;
- ``count(redis_instance_info{role="master"})`` is absent between two masters, not zero, so it needs a zero of its own;
- used over maxmemory is infinite where maxmemory is unset, so unset instances are left out (and alerted on separately);
- the role and the address of a master are labels with value 1: ``changes()`` never sees a failover. Counting distinct
  addresses over five minutes does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.model import Signal
from cacheclient.contract import (
    CONSISTENCY_CHECKED,
    CONSISTENCY_INCONSISTENT,
    ERRORS,
    HITS,
    LOOKUP_SECONDS,
    MISSES,
    PROPAGATION_SECONDS,
    Exporter,
    Tier,
)

if TYPE_CHECKING:
    from alerts.scope import Scope


def tier(value: Tier) -> str:
    """Return the matcher of one tier."""
    return f'tier="{value}"'


def looked_up(scope: Scope, by: str = "namespace") -> str:
    """Return lookups per second: every lookup asks L1 first, so L1 hits and misses are all of them."""
    first = tier(Tier.L1)
    hits, misses = (scope.rate(scope.client(metric.name, first)) for metric in (HITS, MISSES))
    return f"sum by ({by}) ({hits}) + sum by ({by}) ({misses})"


def tier_hit_rate(scope: Scope, of: Tier, by: str = "namespace") -> str:
    """Return the share of the lookups reaching one tier that it answered; absent while none reach it."""
    hits, misses = (f"sum by ({by}) ({scope.rate(scope.client(m.name, tier(of)))})" for m in (HITS, MISSES))
    return f"{hits} / ({hits} + {misses} > 0)"


def hit_rate(scope: Scope, by: str = "namespace") -> str:
    """Return the share of lookups that any tier answered; absent without lookups."""
    missed = f"sum by ({by}) ({scope.rate(scope.client(MISSES.name, tier(Tier.L2)))})"
    return f"1 - {missed} / ({looked_up(scope, by)} > 0)"


def lookup_quantile(scope: Scope, quantile: float, of: Tier = Tier.ALL, by: str = "namespace") -> str:
    """Return a quantile of the lookup time in seconds."""
    buckets = scope.rate(scope.client(f"{LOOKUP_SECONDS.name}_bucket", tier(of)))
    return f"histogram_quantile({quantile:g}, sum by ({by}, le) ({buckets}))"


def inconsistent_ratio(scope: Scope, window: str) -> str:
    """Return the share of the auditor's checks within ``window`` that found an old value; absent without checks."""
    found, checked = (
        f"sum by (namespace, comparison) (rate({scope.client(metric.name)}[{window}]))"
        for metric in (CONSISTENCY_INCONSISTENT, CONSISTENCY_CHECKED)
    )
    return f"{found} / ({checked} > 0)"


def propagation_quantile(scope: Scope, quantile: float) -> str:
    """Return a quantile of the time from an invalidation to its push, in seconds."""
    buckets = scope.rate(scope.client(f"{PROPAGATION_SECONDS.name}_bucket"))
    return f"histogram_quantile({quantile:g}, sum by (namespace, le) ({buckets}))"


def master_addresses(scope: Scope, window: str) -> str:
    """Return how many different master addresses the Sentinels reported within ``window``."""
    status = f"last_over_time({scope.sentinel(Exporter.SENTINEL_MASTER_STATUS)}[{window}])"
    return f"count by (namespace, master_name) (count by (namespace, master_name, master_address) ({status}))"


LOOKUPS: Final = Signal(
    title="Lookups",
    description="Reads of the cache per second, whichever tier answers.",
    unit="reqps",
    expr=looked_up,
    legend="{{namespace}}",
    record="namespace:cache_lookups:rate5m",
)
HIT_RATE: Final = Signal(
    title="Combined hit rate",
    description="Share of lookups answered without calling the loader: 1 - L2 misses / lookups.",
    unit="percentunit",
    expr=hit_rate,
    legend="{{namespace}}",
    limit=lambda t: t.hit_rate,
    good="above",
    record="namespace:cache_hit:ratio_rate5m",
)
L1_HIT_RATE: Final = Signal(
    title="L1 hit rate",
    description="Share of lookups answered in process.",
    unit="percentunit",
    expr=lambda s: tier_hit_rate(s, Tier.L1),
    legend="{{namespace}}",
    limit=lambda t: t.target_l1_hit_rate,
    good="above",
    record="namespace:cache_l1_hit:ratio_rate5m",
)
L2_HIT_RATE: Final = Signal(
    title="L2 hit rate",
    description="Share of the lookups that L1 missed and Redis answered.",
    unit="percentunit",
    expr=lambda s: tier_hit_rate(s, Tier.L2),
    legend="{{namespace}}",
    limit=lambda t: t.target_l2_hit_rate,
    good="above",
    record="namespace:cache_l2_hit:ratio_rate5m",
)
LOOKUP_P95: Final = Signal(
    title="Lookup P95",
    description="95 % of lookups are faster than this, over all tiers.",
    unit="s",
    expr=lambda s: lookup_quantile(s, 0.95),
    legend="P95 {{namespace}}",
    limit=lambda t: t.lookup_p95_seconds,
)
PROPAGATION_P99: Final = Signal(
    title="Invalidation P99",
    description="99 % of the invalidations are heard of within this time; L1 may serve an old value for one second.",
    unit="s",
    expr=lambda s: propagation_quantile(s, 0.99),
    legend="P99 {{namespace}}",
    limit=lambda t: t.propagation_seconds,
)
ERROR_RATIO: Final = Signal(
    title="Errors per lookup",
    description="Failures the client absorbed (time-outs, refused writes, undecodable values) per lookup.",
    unit="percentunit",
    expr=lambda s: f"sum by (namespace) ({s.rate(s.client(ERRORS.name))}) / ({looked_up(s)} > 0)",
    legend="{{namespace}}",
    limit=lambda t: t.error_ratio,
)
INCONSISTENT: Final = Signal(
    title="Old values found",
    description="Share of the auditor's checks, 1, 10 and 60 s after sampled invalidations, that found an old value: "
    "L1 against L2, and L2 against the source where the application tells versions. Alert: CacheInconsistent.",
    unit="percentunit",
    expr=lambda s: inconsistent_ratio(s, s.window),
    legend="{{comparison}}",
    limit=lambda t: t.inconsistent_ratio,
)
MASTERS: Final = Signal(
    title="Masters",
    description="Servers that call themselves master. Two of them for some seconds after an old one returns is normal.",
    unit="short",
    expr=lambda s: (
        f"""count by (namespace) ({s.redis(Exporter.INSTANCE_INFO, 'role="master"')})"""
        f" or count by (namespace) ({s.redis('up')}) * 0"
    ),
    legend="{{namespace}}",
    record="namespace:redis_masters:count",
)
MEMORY_RATIO: Final = Signal(
    title="Memory used / maxmemory",
    description="At 100 % Redis evicts entries that carry a TTL, and refuses writes when there are none left to evict.",
    unit="percentunit",
    expr=lambda s: f"{s.redis(Exporter.MEMORY_USED)} / ({s.redis(Exporter.MEMORY_MAX)} > 0)",
    limit=lambda t: t.memory_ratio,
    record="namespace_pod:redis_memory_used:ratio",
)
CONNECTIONS: Final = Signal(
    title="Connected clients",
    description="Client connections of each server, replicas not counted. Steady growth is a connection leak.",
    unit="short",
    expr=lambda s: s.redis(Exporter.CLIENTS),
    limit=lambda t: t.connections,
)
REPLICATION_LAG: Final = Signal(
    title="Replication lag",
    description="Seconds since the last acknowledgement of each replica, as its master sees it (grain: 1 s).",
    unit="s",
    expr=lambda s: (
        "max by (namespace, slave_ip, slave_port) "
        f"""({s.redis(Exporter.REPLICA_LAG_SECONDS, 'slave_state="online"')})"""
    ),
    legend="{{slave_ip}}:{{slave_port}}",
    limit=lambda t: t.replication_lag_seconds,
)
BACKLOG_RATIO: Final = Signal(
    title="Replication backlog used",
    description="Bytes the slowest replica is behind, over the backlog. Beyond 100 % a reconnect needs a full copy.",
    unit="percentunit",
    expr=lambda s: (
        f"max by (namespace, pod) ({s.redis(Exporter.REPLICATION_OFFSET)} - on (namespace, pod) group_right () "
        f"{s.redis(Exporter.REPLICA_OFFSET)}) / on (namespace, pod) {s.redis(Exporter.BACKLOG_BYTES)}"
    ),
    limit=lambda t: t.backlog_ratio,
    record="namespace_pod:redis_replication_backlog_used:ratio",
)
QUORUM: Final = Signal(
    title="Sentinel quorum",
    description="1 while each Sentinel sees enough peers to agree on a failover and to authorise it.",
    unit="short",
    expr=lambda s: f"min by (namespace, master_name) ({s.sentinel(Exporter.SENTINEL_QUORUM)})",
    legend="{{master_name}}",
)
USABLE_SENTINELS: Final = Signal(
    title="Usable Sentinels",
    description="Sentinels that answer, counted by the one that sees the fewest.",
    unit="short",
    expr=lambda s: f"min by (namespace, master_name) ({s.sentinel(Exporter.SENTINEL_PEERS_OK)})",
    legend="{{master_name}}",
)
