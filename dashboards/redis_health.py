"""Board 3: the Redis set: who is master, memory, replication, persistence, connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts import signals
from cacheclient.contract import FAILOVER_EVENTS, FAILOVER_SECONDS, Exporter
from dashboards.document import Row, document
from dashboards.panels import Column, Query, at_least, below, graph, graph_of, heatmap, stat, stat_of, table, timeline
from dashboards.scopes import SERVERS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds

_SCOPE = SERVERS
_STATUS = {1: ("ok", "green"), 0: ("failed", "red")}


def redis_health(limits: Thresholds) -> dict[str, Any]:
    """Return the dashboard of the Redis servers and their Sentinels."""
    return document(
        "redis",
        "Cache 3: Redis memory and health",
        "The Redis set: who is master, and how its memory, replication, persistence and connections do.",
        "servers",
        [
            Row("Is the set healthy?", [*_summary(limits), _roles(limits), *_set_over_time()], collapsed=False),
            Row("Memory", _memory(limits), collapsed=False),
            Row("Replication and failover", _replication(limits)),
            Row("Persistence", _persistence()),
            Row("Clients and commands", _clients(limits)),
        ],
    )


def _by_pod(metric: Exporter, *matchers: str) -> str:
    return f"max by (pod) ({_SCOPE.redis(metric, *matchers)})"


def _summary(limits: Thresholds) -> list[Panel]:
    one_master = [*at_least(1), {"color": "red", "value": 2}]
    failovers = f"max(round(increase({_SCOPE.client(FAILOVER_EVENTS.name)}[$__range]))) or vector(0)"
    return [
        stat_of(signals.MASTERS.panel(_SCOPE, limits), steps=one_master),
        stat_of(signals.USABLE_SENTINELS.panel(_SCOPE, limits), steps=at_least(limits.sentinels, limits.quorum)),
        stat(
            "Quorum",
            signals.QUORUM.description + " Alert: RedisSentinelQuorumLost.",
            signals.QUORUM.expr(_SCOPE),
            "none",
            steps=at_least(1),
            texts={1: ("reached", "green"), 0: ("lost", "red")},
        ),
        stat(
            "Failovers", "Master changes that clients followed in the time shown.", failovers, "short", steps=below(1)
        ),
        stat(
            "Fullest server",
            signals.MEMORY_RATIO.description + " Alert: RedisMemoryHigh.",
            f"max({signals.MEMORY_RATIO.expr(_SCOPE)})",
            "percentunit",
            steps=below(limits.memory_ratio, 0.95),
        ),
        stat(
            "Slowest replica",
            signals.REPLICATION_LAG.description + " Alert: RedisReplicationLagHigh.",
            f"max({signals.REPLICATION_LAG.expr(_SCOPE)})",
            "s",
            steps=below(limits.replication_lag_seconds),
        ),
    ]


def _roles(limits: Thresholds) -> Panel:
    info = f"max by (pod, role, redis_version, maxmemory_policy) ({_SCOPE.redis(Exporter.INSTANCE_INFO)})"
    columns = [
        Column("Up", info),
        Column("Uptime", _by_pod(Exporter.UPTIME), "s"),
        Column("Link to master", _by_pod(Exporter.MASTER_LINK_UP), "short", at_least(1)),
        Column("Replicas", _by_pod(Exporter.REPLICAS)),
        Column("Clients", _by_pod(Exporter.CLIENTS)),
        Column("Keys", f"sum by (pod) ({_SCOPE.redis(Exporter.KEYS)})"),
        Column(
            "Memory",
            f"max by (pod) ({signals.MEMORY_RATIO.expr(_SCOPE)})",
            "percentunit",
            below(limits.memory_ratio, 0.95),
        ),
    ]
    labels = {"role": "Role", "redis_version": "Version", "maxmemory_policy": "Eviction policy"}
    note = "One row per server. Role, version and eviction policy come from the server itself; they must agree."
    return table("Servers", note, "pod", columns, labels=labels)


def _set_over_time() -> list[Panel]:
    master = f"""max by (pod) ({_SCOPE.redis(Exporter.INSTANCE_INFO, 'role="master"')}) * 2"""
    status = f"max by (master_name, master_address) ({_SCOPE.sentinel(Exporter.SENTINEL_MASTER_STATUS)})"
    return [
        timeline(
            "Role of each server",
            "Two masters for some seconds after an old one returns are normal. Alerts: RedisMasterMissing, "
            "RedisTooManyMasters.",
            [Query(f"{master} or max by (pod) ({_SCOPE.redis(Exporter.UP)})")],
            {2: ("master", "blue"), 1: ("replica", "green"), 0: ("down", "red")},
        ),
        timeline(
            "Master that the Sentinels name",
            "A new line begins with a failover. Alerts: RedisFailover, RedisSentinelsDisagreeOnMaster.",
            [Query(status, "{{master_address}}")],
            {1: ("master", "blue"), 0: ("down", "red")},
        ),
    ]


def _memory(limits: Thresholds) -> list[Panel]:
    used, rss, peak, limit = (
        _SCOPE.redis(metric)
        for metric in (Exporter.MEMORY_USED, Exporter.MEMORY_RSS, Exporter.MEMORY_PEAK, Exporter.MEMORY_MAX)
    )
    kept = f"sum by (pod) ({_SCOPE.redis(Exporter.KEYS_EXPIRING)}) / (sum by (pod) ({_SCOPE.redis(Exporter.KEYS)}) > 0)"
    return [
        graph_of(signals.MEMORY_RATIO.panel(_SCOPE, limits)),
        graph(
            "Used, resident, peak",
            "Used is what Redis counts, resident what the container pays for. Forks add to the latter.",
            [Query(used, "{{pod}} used"), Query(rss, "{{pod}} resident"), Query(peak, "{{pod}} peak"),
             Query(limit, "{{pod}} maxmemory")],
            "bytes",
        ),
        graph(
            "What the memory holds",
            "Data, and what Redis needs around it: buffers of clients and replicas, tables, the backlog.",
            [Query(_SCOPE.redis(Exporter.MEMORY_DATASET), "{{pod}} data"),
             Query(_SCOPE.redis(Exporter.MEMORY_OVERHEAD), "{{pod}} overhead")],
            "bytes",
            stack="normal",
        ),
        graph(
            "Fragmentation",
            "Resident over used. Read it with the bytes: a small server is always fragmented. Alert: RedisFragmented.",
            [Query(_SCOPE.redis(Exporter.FRAGMENTATION_RATIO), "{{pod}}")],
            "short",
            steps=below(limits.fragmentation_ratio),
        ),
        graph(
            "Evicted and expired",
            "Evictions are normal for a full cache, unless the hit rate falls with them. Alert: RedisEvictingTooFast.",
            [Query(_SCOPE.rate(_SCOPE.redis(Exporter.EVICTED)), "{{pod}} evicted"),
             Query(_SCOPE.rate(_SCOPE.redis(Exporter.EXPIRED)), "{{pod}} expired")],
            "ops",
        ),
        graph(
            "Keys that expire",
            "Share of keys with a TTL. Only these can be evicted under a volatile policy.",
            [Query(kept)],
            "percentunit",
        ),
    ]  # fmt: skip


def _replication(limits: Thresholds) -> list[Panel]:
    behind = (
        f"{_SCOPE.redis(Exporter.REPLICATION_OFFSET)} - on (namespace, pod) group_right () "
        f"{_SCOPE.redis(Exporter.REPLICA_OFFSET)}"
    )
    outages = f"sum by (le) (increase({_SCOPE.client(FAILOVER_SECONDS.name + '_bucket')}[{_SCOPE.window}]))"
    return [
        graph_of(signals.REPLICATION_LAG.panel(_SCOPE, limits)),
        graph(
            "Bytes behind",
            "What a replica has not acknowledged yet: what a failover to it would lose now.",
            [Query(behind, "{{slave_ip}}:{{slave_port}}")],
            "bytes",
        ),
        graph_of(signals.BACKLOG_RATIO.panel(_SCOPE, limits)),
        heatmap(
            "Outages as clients saw them",
            "Time without a writable master, by failover. Promised: under a minute. Alert: CacheOutageTooLong.",
            outages,
            "s",
            width=12,
        ),
        graph(
            "What the Sentinels count",
            "More Sentinels known than declared: dead peers that raise the majority. Alerts: RedisSentinelStalePeers, "
            "RedisSentinelQuorumAtRisk.",
            [Query(f"max by (master_name) ({_SCOPE.sentinel(Exporter.SENTINEL_PEERS)})", "Sentinels known"),
             Query(signals.USABLE_SENTINELS.expr(_SCOPE), "Sentinels usable"),
             Query(f"min by (master_name) ({_SCOPE.sentinel(Exporter.SENTINEL_REPLICAS_OK)})", "replicas usable")],
            "short",
        ),
    ]  # fmt: skip


def _persistence() -> list[Panel]:
    age = f"time() - {_SCOPE.redis(Exporter.RDB_SAVE_TIME)}"
    failing = (Exporter.AOF_WRITE_STATUS, Exporter.AOF_REWRITE_STATUS, Exporter.RDB_STATUS)
    written, rewritten, saved = (_SCOPE.redis(metric) for metric in failing)
    return [
        timeline(
            "Last result of each kind of write",
            "Alerts: RedisAofWriteFailing, RedisAofRewriteFailing, RedisRdbSaveFailing.",
            [Query(written, "{{pod}} append"), Query(rewritten, "{{pod}} rewrite"), Query(saved, "{{pod}} snapshot")],
            _STATUS,
        ),
        graph(
            "Age of the last snapshot",
            "Begins anew with a restart. Alert: RedisRdbStale.",
            [Query(age, "{{pod}}")],
            "s",
        ),
        graph(
            "Append-only file size",
            "Falls with every rewrite, which needs room for a second copy.",
            [Query(_SCOPE.redis(Exporter.AOF_SIZE))],
            "bytes",
        ),
        graph(
            "Copy-on-write of the last snapshot",
            "Memory above maxmemory that a fork needs: the container's limit has to hold both.",
            [Query(_SCOPE.redis(Exporter.RDB_COW_BYTES))],
            "bytes",
        ),
        graph(
            "Delayed fsyncs",
            "The disk did not keep up: a crash may lose more than a second. Alert: RedisFsyncDelayed.",
            [Query(f"increase({_SCOPE.redis(Exporter.AOF_DELAYED_FSYNC)}[{_SCOPE.window}])")],
            "short",
        ),
    ]


def _clients(limits: Thresholds) -> list[Panel]:
    return [
        graph_of(signals.CONNECTIONS.panel(_SCOPE, limits)),
        graph(
            "Blocked and refused",
            "Clients that wait in a blocking command, and connections refused at maxclients. Alert: "
            "RedisRejectedConnections.",
            [Query(_SCOPE.redis(Exporter.CLIENTS_BLOCKED), "{{pod}} blocked"),
             Query(_SCOPE.rate(_SCOPE.redis(Exporter.CONNECTIONS_REJECTED)), "{{pod}} refused per second")],
            "short",
        ),
        graph(
            "Error replies",
            "By kind. READONLY and LOADING belong to a failover; OOM, MISCONF and NOREPLICAS refuse writes. Alerts: "
            "RedisWriteRefused, RedisWritesFailing.",
            [Query(_SCOPE.rate(_SCOPE.redis(Exporter.ERRORS)), "{{pod}} {{err}}")],
            "ops",
        ),
        graph(
            "Network",
            "Bytes per second into and out of each server.",
            [Query(_SCOPE.rate(_SCOPE.redis(Exporter.NET_INPUT)), "{{pod}} in"),
             Query(_SCOPE.rate(_SCOPE.redis(Exporter.NET_OUTPUT)), "{{pod}} out")],
            "Bps",
        ),
    ]  # fmt: skip
