"""Alerts on the Sentinels, and on the failovers they carry out."""

from __future__ import annotations

from typing import Final

from alerts import signals
from alerts.model import Alert, Severity
from cacheclient.contract import FAILOVER_EVENTS, Exporter

FAILOVERS: Final = (
    Alert(
        # Critical, as the bundle promises, although the set has healed itself by then: up to a second of acknowledged
        # writes may be gone and the set runs with one spare less, so a person has to look. The alert ends by itself.
        name="RedisFailover",
        condition=lambda s, _: f"{signals.master_addresses(s, '5m')} > 1",
        severity=Severity.CRITICAL,
        summary="The Redis master changed.",
        description="{{ $labels.master_name }} had {{ $value }} masters within five minutes.",
        board="redis",
    ),
    Alert(
        name="RedisFailoverFlapping",
        condition=lambda s, _: f"max by (namespace) (increase({s.client(FAILOVER_EVENTS.name)}[1h])) >= 3",
        severity=Severity.CRITICAL,
        summary="The Redis master changes again and again.",
        description="Clients in {{ $labels.namespace }} followed {{ $value | humanize }} master changes in an hour.",
        board="redis",
    ),
    Alert(
        # The label with the status changes with it, so the zeros are counted instead of matched.
        name="RedisFailoverStuck",
        condition=lambda s, t: (
            f"count by (namespace, master_name) ({s.sentinel(Exporter.SENTINEL_MASTER_STATUS)} == 0) >= {t.quorum}"
        ),
        hold="1m",
        severity=Severity.CRITICAL,
        summary="The Sentinels agree that the master is down, and nothing is promoted.",
        description="{{ $value }} Sentinels have seen {{ $labels.master_name }} down for a minute without a failover.",
        board="redis",
    ),
    Alert(
        name="RedisSentinelsDisagreeOnMaster",
        condition=lambda s, _: (
            "count by (namespace, master_name) (count by (namespace, master_name, master_address) "
            f"({s.sentinel(Exporter.SENTINEL_MASTER_STATUS)})) > 1"
        ),
        hold="1m",
        severity=Severity.CRITICAL,
        summary="The Sentinels name different masters.",
        description="The Sentinels name {{ $value }} masters of {{ $labels.master_name }}: clients may write to each.",
        board="redis",
    ),
)

QUORUM: Final = (
    Alert(
        # Critical, as the bundle promises: with two of three left, one more loss ends automatic failover.
        name="RedisSentinelDown",
        condition=lambda s, _: f"{s.sentinel(Exporter.UP)} == 0 or {s.sentinel('up')} == 0",
        hold="1m",
        severity=Severity.CRITICAL,
        summary="A Sentinel does not answer its exporter.",
        description="{{ $labels.pod }} has not answered for a minute.",
        board="redis",
    ),
    Alert(
        # min() drops the label with Sentinel's reply: its text changes with every peer and would restart the hold.
        name="RedisSentinelQuorumLost",
        condition=lambda s, _: f"{signals.QUORUM.expr(s)} == 0",
        hold="30s",
        severity=Severity.CRITICAL,
        summary="The Sentinels cannot carry out a failover.",
        description="A Sentinel of {{ $labels.master_name }} lacks the peers for a failover: a lost master stays lost.",
        board="redis",
    ),
    Alert(
        name="RedisSentinelQuorumAtRisk",
        condition=lambda s, t: f"{signals.USABLE_SENTINELS.expr(s)} < {t.sentinels}",
        hold="2m",
        severity=Severity.WARNING,
        summary="Fewer Sentinels are usable than the stack declares.",
        description="{{ $labels.master_name }} has {{ $value }} usable Sentinels.",
        board="redis",
    ),
    Alert(
        # Sentinel never forgets a peer by itself, and the dead count in the majority that a failover needs.
        name="RedisSentinelStalePeers",
        condition=lambda s, t: (
            f"max by (namespace, master_name) ({s.sentinel(Exporter.SENTINEL_PEERS)}) > {t.sentinels}"
        ),
        hold="15m",
        severity=Severity.WARNING,
        summary="The Sentinels count peers that no longer exist.",
        description="{{ $labels.master_name }} counts {{ $value }} Sentinels, more than the stack declares.",
        board="redis",
    ),
    Alert(
        name="RedisSentinelTilt",
        condition=lambda s, _: f"{s.sentinel(Exporter.SENTINEL_TILT)} == 1",
        hold="1m",
        severity=Severity.WARNING,
        summary="A Sentinel distrusts its clock and takes no part in failovers.",
        description="{{ $labels.pod }} is in TILT mode: its process stood still or the clock jumped.",
        board="redis",
    ),
    Alert(
        name="RedisSentinelMetricsAbsent",
        condition=lambda s, _: f"absent({s.sentinel(Exporter.UP)})",
        hold="5m",
        severity=Severity.CRITICAL,
        summary="No Sentinel is scraped: the other Sentinel alerts are blind.",
        description="Prometheus has no Sentinel metrics from {{ $labels.namespace }}.",
        board="redis",
    ),
)
