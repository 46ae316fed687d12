"""Every name that two parts of cachestack must agree on, declared once.

The client exports these metrics, the alerts and dashboards read them, the infrastructure program opens these ports and
sets these environment variables. Nothing else in the repository spells such a name as a literal. This module imports
the standard library only, so that the infrastructure, the alerts and the dashboards can use it without the client's
dependencies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum
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
LISTENER_CONNECTED: Final = Metric(
    "cache_invalidation_listener_connected", "gauge", "1 while the tracking connection proves itself alive.", ("cache",)
)
LISTENER_GAPS: Final = Metric(
    "cache_invalidation_gaps_total",
    "counter",
    "Times the tracking connection was lost, so L1 was re-checked.",
    ("cache",),
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
BUILD_INFO: Final = Metric("cache_build_info", "gauge", "1, labelled by the cachestack version.", ("version",))

METRICS: Final[tuple[Metric, ...]] = tuple(m for m in list(vars().values()) if isinstance(m, Metric))


class Exporter(StrEnum):
    """Metrics of redis_exporter (1.45 or newer) that rules and panels read; tests hold them against a real scrape."""

    UP = "redis_up"
    UPTIME = "redis_uptime_in_seconds"
    INSTANCE_INFO = "redis_instance_info"
    CLIENTS = "redis_connected_clients"
    CLIENTS_BLOCKED = "redis_blocked_clients"
    CLIENTS_MAX = "redis_config_maxclients"
    CONNECTIONS_REJECTED = "redis_rejected_connections_total"
    MEMORY_USED = "redis_memory_used_bytes"
    MEMORY_MAX = "redis_memory_max_bytes"
    MEMORY_RSS = "redis_memory_used_rss_bytes"
    MEMORY_PEAK = "redis_memory_used_peak_bytes"
    MEMORY_DATASET = "redis_memory_used_dataset_bytes"
    MEMORY_OVERHEAD = "redis_memory_used_overhead_bytes"
    FRAGMENTATION_RATIO = "redis_mem_fragmentation_ratio"
    FRAGMENTATION_BYTES = "redis_mem_fragmentation_bytes"
    EVICTED = "redis_evicted_keys_total"
    EXPIRED = "redis_expired_keys_total"
    KEYSPACE_HITS = "redis_keyspace_hits_total"
    KEYSPACE_MISSES = "redis_keyspace_misses_total"
    KEYS = "redis_db_keys"
    KEYS_EXPIRING = "redis_db_keys_expiring"
    COMMANDS = "redis_commands_total"
    COMMANDS_SECONDS = "redis_commands_duration_seconds_total"
    ERRORS = "redis_errors_total"
    SLOWLOG_LAST_ID = "redis_slowlog_last_id"
    SPIKE_TIME = "redis_latency_spike_last"
    SPIKE_SECONDS = "redis_latency_spike_duration_seconds"
    FORK_SECONDS = "redis_latest_fork_seconds"
    NET_INPUT = "redis_net_input_bytes_total"
    NET_OUTPUT = "redis_net_output_bytes_total"
    CPU_USER = "redis_cpu_user_seconds_total"
    CPU_SYS = "redis_cpu_sys_seconds_total"
    RDB_STATUS = "redis_rdb_last_bgsave_status"
    RDB_SAVE_TIME = "redis_rdb_last_save_timestamp_seconds"
    RDB_CHANGES = "redis_rdb_changes_since_last_save"
    RDB_COW_BYTES = "redis_rdb_last_cow_size_bytes"
    AOF_ENABLED = "redis_aof_enabled"
    AOF_WRITE_STATUS = "redis_aof_last_write_status"
    AOF_REWRITE_STATUS = "redis_aof_last_bgrewrite_status"
    AOF_SIZE = "redis_aof_current_size_bytes"
    AOF_DELAYED_FSYNC = "redis_aof_delayed_fsync"
    REPLICAS = "redis_connected_slaves"
    REPLICA_LAG_SECONDS = "redis_connected_slave_lag_seconds"
    REPLICA_OFFSET = "redis_connected_slave_offset_bytes"
    REPLICATION_OFFSET = "redis_master_repl_offset"
    BACKLOG_BYTES = "redis_replication_backlog_bytes"
    MASTER_LINK_UP = "redis_master_link_up"
    FULL_RESYNCS = "redis_replica_resyncs_full"
    SENTINEL_MASTER_STATUS = "redis_sentinel_master_status"
    SENTINEL_QUORUM = "redis_sentinel_master_ckquorum_status"
    SENTINEL_PEERS = "redis_sentinel_master_sentinels"
    SENTINEL_PEERS_OK = "redis_sentinel_master_ok_sentinels"
    SENTINEL_REPLICAS_OK = "redis_sentinel_master_ok_slaves"
    SENTINEL_TILT = "redis_sentinel_tilt"


EXPORTER_METRICS: Final = frozenset(Exporter)
SCRAPE_SECONDS: Final = 15  # Prometheus scrapes at least this often; a rate() window of a rule holds four scrapes


class Tier(StrEnum):
    """Values of the ``tier`` label."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"
    ALL = "all"


class ErrorType(StrEnum):
    """Values of the ``type`` label of cache_errors_total: a closed set, so that every series exists from the start."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    READONLY = "readonly"
    OOM = "oom"
    MISCONF = "misconf"
    NOREPLICAS = "noreplicas"
    SERIALIZATION = "serialization"
    LOADER = "loader"
    OTHER = "other"


class Channel(StrEnum):
    """Publish/subscribe channels of the fleet (requirement 2.7)."""

    INVALIDATE = "redis:channel:cache:invalidate"
    UPDATE = "redis:channel:cache:update"
    PREWARM = "redis:channel:cache:prewarm"


class Port(IntEnum):
    """TCP ports inside the cluster."""

    REDIS = 6379
    SENTINEL = 26379
    EXPORTER = 9121
    API = 8080


class Job(StrEnum):
    """Values of the Prometheus ``job`` label, which every rule and panel selects by."""

    REDIS = "redis"
    SENTINEL = "redis-sentinel"
    API = "cache-api"


class Component(StrEnum):
    """Values of the ``app.kubernetes.io/component`` label; also the names of the StatefulSets and Deployments."""

    REDIS = "redis"
    SENTINEL = "sentinel"
    API = "cache-api"


class Label(StrEnum):
    """Label keys on every object. Selectors use the first three; the others may change during an object's life."""

    NAME = "app.kubernetes.io/name"
    INSTANCE = "app.kubernetes.io/instance"
    COMPONENT = "app.kubernetes.io/component"
    PART_OF = "app.kubernetes.io/part-of"
    MANAGED_BY = "app.kubernetes.io/managed-by"
    VERSION = "app.kubernetes.io/version"


class Script(StrEnum):
    """File names of the shell scripts, as mounted in the pods and as run by the local environment."""

    REDIS_START = "redis-start.sh"
    REDIS_STOP = "redis-stop.sh"
    REDIS_PROBE = "redis-probe.sh"
    SENTINEL_START = "sentinel-start.sh"
    SENTINEL_PROBE = "sentinel-probe.sh"
    ASK = "ask.sh"  # sourced by the others, from their own directory


# The texts of infra.redis_conf are mounted under these names, all in one directory; CACHE_CONF_FILE names the first
# (Redis pods) or the second (Sentinel pods). The start scripts look for the ACL file beside the first.
REDIS_CONF: Final = "redis.conf"
SENTINEL_CONF: Final = "sentinel.conf"
ACL_CONF: Final = "users.acl"


class Env(StrEnum):
    """Environment variables that configure a client (``CacheOptions.from_env``) and the cache API."""

    URL = "CACHE_URL"
    NAMESPACE = "CACHE_NAMESPACE"
    VERSION = "CACHE_VERSION"
    PASSWORD_FILE = "CACHE_PASSWORD_FILE"  # noqa: S105  the name of a variable, not a password
    USERNAME = "CACHE_USERNAME"
    SENTINEL_PASSWORD_FILE = "CACHE_SENTINEL_PASSWORD_FILE"  # noqa: S105
    ADMIN_TOKEN_FILE = "CACHE_ADMIN_TOKEN_FILE"  # noqa: S105
    OPTION_PREFIX = "CACHE_OPT_"


class ScriptEnv(StrEnum):
    """Environment variables the shell scripts read; the only thing that differs between a pod and a local process.

    Host lists are separated by spaces, in ordinal order; the first host may bootstrap an empty set. ``BIND`` is the one
    address to listen on and may be left out: then the process listens on all addresses and is asked at 127.0.0.1.
    """

    SET = "CACHE_SET"
    SELF = "CACHE_SELF"
    REDIS_HOSTS = "CACHE_REDIS_HOSTS"
    REDIS_PORT = "CACHE_REDIS_PORT"
    SENTINEL_HOSTS = "CACHE_SENTINEL_HOSTS"
    SENTINEL_PORT = "CACHE_SENTINEL_PORT"
    DATA_DIR = "CACHE_DATA_DIR"
    RUN_DIR = "CACHE_RUN_DIR"
    CONF_FILE = "CACHE_CONF_FILE"
    SECRET_DIR = "CACHE_SECRET_DIR"  # noqa: S105
    BIND = "CACHE_BIND"


class ScriptBudget(StrEnum):
    """Environment variables that change the scripts' time budgets, in seconds; each script documents its defaults."""

    CALL = "CACHE_CALL_S"
    POLL = "CACHE_POLL_S"
    RESOLVE = "CACHE_RESOLVE_S"
    SILENCE = "CACHE_SILENCE_S"
    RETRY = "CACHE_RETRY_S"
    FAILOVER = "CACHE_FAILOVER_S"
    EMPTY = "CACHE_EMPTY_S"
    CATCH_UP = "CACHE_CATCH_UP_S"
    PAUSE = "CACHE_PAUSE_S"
    HANDOVER = "CACHE_HANDOVER_S"
    MASTER = "CACHE_MASTER_S"


class RedisUser(StrEnum):
    """ACL users of Redis; each has one password, in a file of this name below the secret directory.

    The user ``default`` is off. Sentinel itself asks for the password in the file ``sentinel-auth``.
    """

    APP = "app"
    REPLICATION = "repl"
    SENTINEL = "sentinel"
    EXPORTER = "exporter"
    OPS = "ops"


SENTINEL_AUTH_FILE: Final = "sentinel-auth"
EXPORTER_AUTH_FILE: Final = "exporter.json"  # redis_exporter's own format: a map from addresses to passwords

# Dashboard uids are stable: links, alerts and the provisioning files name them.
DASHBOARD_UIDS: Final = {
    "hit-rate": "cache-1",
    "latency": "cache-2",
    "redis": "cache-3",
    "invalidation": "cache-4",
    "pods": "cache-5",
    "cost": "cache-6",
}

APP_NAME: Final = "cachestack"
UID: Final = 10999  # user and group of every container

_STACK = re.compile(r"[a-z][a-z0-9-]{0,30}")


def set_name(stack: str) -> str:
    """Return the Sentinel set name of a stack: ``cache-<stack>``, unique so that two environments can never merge.

    Raises:
        ValueError: if ``stack`` is not lower-case letters, digits and hyphens, starting with a letter.
    """
    if not _STACK.fullmatch(stack):
        raise ValueError(
            f"stack name {stack!r}: at most 31 lower-case letters, digits and hyphens, starting with a letter"
        )
    return f"cache-{stack}"
