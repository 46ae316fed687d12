"""Alerts on the Redis servers as a set: who is up, who is master, how far the replicas are behind."""

from __future__ import annotations

from typing import Final

from alerts import signals
from alerts.model import Alert, Severity
from cacheclient.contract import Exporter, Loss

_MASTER = 'role="master"'
_NO_MASTER: Final = {
    Loss.ROLE: "without a master, RedisMasterMissing",
    Loss.FILTERED: "on replicas, which have no replicas of their own",
}
_CUT_OFF: Final = {
    Loss.PEER: "the replica is cut off: RedisReplicasMissing",
    Loss.ROLE: "without a master, RedisMasterMissing",
}

AVAILABILITY: Final = (
    Alert(
        # Both halves are needed: a hung server lets the exporter time out, and then redis_up is absent instead of 0.
        name="RedisDown",
        condition=lambda s, _: f"{s.redis(Exporter.UP)} == 0 or {s.redis('up')} == 0",
        hold="1m",
        severity=Severity.WARNING,
        summary="A Redis server does not answer its exporter.",
        description="{{ $labels.pod }} has not answered for a minute: dead, hung, at maxclients, or a wrong password.",
        board="redis",
    ),
    Alert(
        name="RedisMasterMissing",
        condition=lambda s, _: f"{s.recorded(signals.MASTERS.record)} == 0",
        hold="1m",
        severity=Severity.CRITICAL,
        summary="No Redis server is master.",
        description="{{ $labels.namespace }} has had no master for a minute, the longest a failover may take.",
        board="redis",
    ),
    Alert(
        name="RedisTooManyMasters",
        # A returning old master claims the role for about 10 s, until Sentinel demotes it.
        condition=lambda s, _: f"{s.recorded(signals.MASTERS.record)} > 1",
        hold="1m",
        severity=Severity.CRITICAL,
        summary="More than one Redis server is master.",
        description="{{ $value }} servers in {{ $labels.namespace }} take writes: those of all but one will be lost.",
        board="redis",
    ),
    Alert(
        name="RedisTargetsMissing",
        condition=lambda s, t: f"count by (namespace) ({s.redis('up')}) < {t.replicas + 1}",
        hold="10m",
        severity=Severity.WARNING,
        summary="Prometheus scrapes fewer Redis servers than the stack has.",
        description="Only {{ $value }} Redis servers are scraped in {{ $labels.namespace }}: the others go unwatched.",
        board="redis",
    ),
    Alert(
        name="RedisMetricsAbsent",
        condition=lambda s, _: f"absent({s.redis(Exporter.UP)})",
        hold="5m",
        severity=Severity.CRITICAL,
        summary="No Redis server is scraped: the other Redis alerts are blind.",
        description="Prometheus has no Redis metrics from {{ $labels.namespace }}.",
        board="redis",
    ),
    Alert(
        name="RedisRestarted",
        # redis_start_time_seconds is computed per scrape and wobbles; the uptime only falls when the process restarts.
        condition=lambda s, _: f"sum by (namespace, pod) (resets({s.redis(Exporter.UPTIME)}[10m])) > 0",
        severity=Severity.INFO,
        summary="A Redis server restarted.",
        description="{{ $labels.pod }} restarted {{ $value }} times in ten minutes.",
        board="redis",
    ),
    Alert(
        name="RedisCrashLooping",
        condition=lambda s, _: f"sum by (namespace, pod) (resets({s.redis(Exporter.UPTIME)}[30m])) >= 3",
        severity=Severity.CRITICAL,
        summary="A Redis server restarts again and again.",
        description="{{ $labels.pod }} restarted {{ $value }} times in half an hour.",
        board="redis",
    ),
)

REPLICATION: Final = (
    Alert(
        name="RedisReplicasMissing",
        condition=lambda s, t: (
            f"{s.redis(Exporter.REPLICAS)} < {t.replicas}"
            f" and on (namespace, pod) {s.redis(Exporter.INSTANCE_INFO, _MASTER)} == 1"
        ),
        hold="1m",
        severity=Severity.WARNING,
        summary="The Redis master has fewer replicas than the stack declares.",
        description="{{ $labels.pod }} is master of {{ $value }} replicas: the next failure may leave no candidate.",
        silent=_NO_MASTER,
        board="redis",
    ),
    Alert(
        name="RedisNoReplicas",
        condition=lambda s, _: (
            f"{s.redis(Exporter.REPLICAS)} == 0 and on (namespace, pod) {s.redis(Exporter.INSTANCE_INFO, _MASTER)} == 1"
        ),
        hold="1m",
        severity=Severity.CRITICAL,
        summary="The Redis master has no replica.",
        description="{{ $labels.pod }} is alone: nothing to fail over to, and min-replicas-to-write refuses writes.",
        silent=_NO_MASTER,
        board="redis",
    ),
    Alert(
        name="RedisReplicaLinkDown",
        condition=lambda s, _: f"{s.redis(Exporter.MASTER_LINK_UP)} == 0",
        hold="1m",
        severity=Severity.WARNING,
        summary="A Redis replica lost the connection to its master.",
        description="{{ $labels.pod }} has no link to {{ $labels.master_host }}: what it serves grows stale.",
        silent={Loss.ROLE: "a master has no link to lose"},
        board="redis",
    ),
    # The series ends when repl-timeout (60 s) cuts the replica off, so a longer hold could never fire. From then on
    # RedisReplicasMissing speaks.
    signals.REPLICATION_LAG.rule(
        "RedisReplicationLagHigh",
        hold="30s",
        severity=Severity.WARNING,
        summary="A Redis replica is too far behind its master.",
        description="Replica {{ $labels.slave_ip }}:{{ $labels.slave_port }} last answered {{ $value }} s ago: "
        "a failover to it would lose that much.",
        silent=_CUT_OFF,
        board="redis",
    ),
    signals.BACKLOG_RATIO.rule(
        "RedisBacklogNearlyExhausted",
        hold="1m",
        severity=Severity.WARNING,
        summary="A Redis replica is almost too far behind for a partial resync.",
        description="The slowest replica of {{ $labels.pod }} lags {{ $value | humanizePercentage }} of the backlog.",
        silent=_CUT_OFF,
        board="redis",
    ),
    Alert(
        # A gauge by type, but it only rises: increase() is right. It extrapolates, so two resyncs may read 2.1: "more
        # than two" is written as "at least three".
        name="RedisFullResyncStorm",
        condition=lambda s, _: f"increase({s.redis(Exporter.FULL_RESYNCS)}[15m]) >= 3",
        severity=Severity.WARNING,
        summary="Redis replicas copy the whole data set again and again.",
        description="{{ $labels.pod }} sent {{ $value | humanize }} full copies in 15 minutes, each with a fork.",
        board="redis",
    ),
)
