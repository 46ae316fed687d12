"""Alerts on what applications get from the cache, as the client itself measures it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts import signals
from alerts.model import Alert, Condition, Severity, Signal
from cacheclient.contract import (
    CIRCUIT_STATE,
    ERRORS,
    FAILOVER_SECONDS,
    HITS,
    LISTENER_CONNECTED,
    LOADER_CALLS,
    LOCKS,
    NAMESPACE_VERSION,
    RATE_LIMITED,
    TUNING_CHANGES,
    DecidedBy,
    ErrorType,
    Loss,
)

if TYPE_CHECKING:
    from alerts.scope import Scope
    from alerts.thresholds import Thresholds


def _under_traffic(condition: Condition) -> Condition:
    """Limit a ratio to a cache that is used, and was used a quarter of an hour ago: a cold start is no incident."""

    def guarded(scope: Scope, limits: Thresholds) -> str:
        lookups, idle = scope.recorded(signals.LOOKUPS.record), f"{limits.idle_lookups_per_second}"
        return (
            f"{condition(scope, limits)}"
            f" and on (namespace) {lookups} > {idle} and on (namespace) {lookups} offset 15m > {idle}"
        )

    return guarded


_IDLE: Final = {Loss.FILTERED: "nothing is asked of it, so it fails nobody"}
_COLD: Final = {Loss.FILTERED: "no lookups, or none a quarter of an hour ago: nobody is served badly, or it is cold"}


def _below_target(name: str, signal: Signal, condition: Condition, what: str) -> Alert:
    return Alert(
        name=name,
        condition=_under_traffic(condition),
        hold="30m",
        severity=Severity.INFO,
        summary=f"{what} is below its target.",
        description=f"{signal.title} in {{{{ $labels.namespace }}}} is {{{{ $value | humanizePercentage }}}}.",
        silent=_COLD,
        board="hit-rate",
    )


HIT_RATE: Final = (
    Alert(
        name="CacheHitRateLow",
        condition=_under_traffic(signals.HIT_RATE.beyond),
        hold="10m",
        severity=Severity.WARNING,
        summary="The cache answers too few lookups.",
        description="Only {{ $value | humanizePercentage }} of the lookups in {{ $labels.namespace }} are hits.",
        silent=_COLD,
        board="hit-rate",
    ),
    _below_target(
        "CacheHitRateBelowTarget",
        signals.HIT_RATE,
        lambda s, t: f"{s.recorded(signals.HIT_RATE.record)} < {t.target_hit_rate}",
        "The combined hit rate",
    ),
    _below_target("CacheL1HitRateBelowTarget", signals.L1_HIT_RATE, signals.L1_HIT_RATE.beyond, "The L1 hit rate"),
    _below_target("CacheL2HitRateBelowTarget", signals.L2_HIT_RATE, signals.L2_HIT_RATE.beyond, "The L2 hit rate"),
)

SERVICE: Final = (
    signals.LOOKUP_P95.rule(
        "CacheLookupP95High",
        hold="10m",
        severity=Severity.WARNING,
        summary="Cache lookups are slower than promised.",
        description="5 % of the lookups in {{ $labels.namespace }} take longer than {{ $value | humanizeDuration }}.",
        board="latency",
    ),
    signals.ERROR_RATIO.rule(
        "CacheErrorsHigh",
        hold="5m",
        severity=Severity.WARNING,
        summary="Too many lookups meet a failure that the cache has to absorb.",
        description="{{ $value | humanizePercentage }} errors per lookup in {{ $labels.namespace }}.",
        silent=_IDLE,
        board="latency",
    ),
    Alert(
        name="CacheLoaderFailing",
        condition=lambda s, t: (
            f"""sum by (namespace) ({s.rate(s.client(ERRORS.name, f'type="{ErrorType.LOADER}"'))}) / """
            f"(sum by (namespace) ({s.rate(s.client(LOADER_CALLS.name))}) > 0) > {t.error_ratio}"
        ),
        hold="5m",
        severity=Severity.WARNING,
        summary="Loaders fail: misses are not refilled.",
        description="{{ $value | humanizePercentage }} of the loads in {{ $labels.namespace }} fail.",
        silent=_IDLE,
        board="hit-rate",
    ),
    Alert(
        name="CacheLockTimeouts",
        condition=lambda s, _: (
            f"""sum by (namespace) ({s.rate(s.client(LOCKS.name, 'outcome="timeout"'))}) / """
            f"(sum by (namespace) ({s.rate(s.client(LOCKS.name))}) > 0) > 0.1"
        ),
        hold="5m",
        severity=Severity.WARNING,
        summary="Public locks are not to be had in time.",
        description="{{ $value | humanizePercentage }} of the locks asked for in {{ $labels.namespace }} time out.",
        silent=_IDLE,
        board="latency",
    ),
    Alert(
        # With the default cooldown no rule can change so often; with a short one it can.
        name="CacheTunerFlapping",
        condition=lambda s, _: (
            f"max by (namespace, cache, rule) (sum by (namespace, pod, cache, rule) "
            f"(increase({s.client(TUNING_CHANGES.name)}[1h]))) > 6"
        ),
        severity=Severity.WARNING,
        summary="A rule of the automatic tuning changes its mind all the time.",
        description="{{ $labels.rule }} of {{ $labels.cache }} decided {{ $value | humanize }} times in an hour.",
        board="cost",
    ),
    Alert(
        name="CacheRateLimitBlind",
        condition=lambda s, _: (
            f"""sum by (namespace) ({s.rate(s.client(RATE_LIMITED.name, f'decided_by="{DecidedBy.OUTAGE}"'))}) / """
            f"(sum by (namespace) ({s.rate(s.client(RATE_LIMITED.name))}) > 0) > 0.1"
        ),
        hold="5m",
        severity=Severity.WARNING,
        summary="Rate limits are decided without Redis.",
        description="{{ $value | humanizePercentage }} of the limited hits in {{ $labels.namespace }} are unchecked.",
        silent=_IDLE,
        board="latency",
    ),
    Alert(
        # Without its listener a process stops trusting L1 and reads L2: slower, never stale. Hence a warning.
        name="CacheListenerDisconnected",
        condition=lambda s, _: f"{s.client(LISTENER_CONNECTED.name)} == 0",
        hold="1m",
        severity=Severity.WARNING,
        summary="A process gets no invalidations, so it does not use its L1.",
        description="{{ $labels.pod }} lost the tracking connection of cache {{ $labels.cache }}.",
        board="hit-rate",
    ),
    Alert(
        name="CacheL2Unreachable",
        condition=lambda s, _: (
            f"count by (namespace) (max by (namespace, pod) ({s.client(CIRCUIT_STATE.name)}) > 0)"
            f" / count by (namespace) ({s.client('up')} == 1) > 0.5"
        ),
        hold="2m",
        severity=Severity.CRITICAL,
        summary="Most processes cannot reach Redis: the database takes the load.",
        description="{{ $value | humanizePercentage }} of the processes in {{ $labels.namespace }} gave up on L2.",
        silent={Loss.FILTERED: "no process is up: CacheTargetDown"},
        board="hit-rate",
    ),
    Alert(
        # The quantile 1 is the upper edge of the longest outage's bucket: exact, as the limit is a bucket edge.
        name="CacheOutageTooLong",
        condition=lambda s, t: (
            "histogram_quantile(1, sum by (namespace, le) "
            f"(increase({s.client(FAILOVER_SECONDS.name + '_bucket')}[1h]))) > {t.outage_seconds}"
        ),
        severity=Severity.CRITICAL,
        summary="Clients were without a master for longer than promised.",
        description="A client in {{ $labels.namespace }} could not write for up to {{ $value | humanizeDuration }}.",
        board="redis",
    ),
    Alert(
        name="CacheVersionSkew",
        condition=lambda s, _: (
            "count by (namespace, cache) "
            f"(count by (namespace, cache, version) ({s.client(NAMESPACE_VERSION.name)})) > 1"
        ),
        hold="30m",
        severity=Severity.WARNING,
        summary="Processes use different schema versions of one cache.",
        description="{{ $value }} versions of {{ $labels.cache }} are in use: each fills and misses on its own.",
        board="hit-rate",
    ),
    Alert(
        name="CacheTargetDown",
        condition=lambda s, _: f"{s.client('up')} == 0",
        hold="2m",
        severity=Severity.WARNING,
        summary="A process with the cache client cannot be scraped.",
        description="{{ $labels.pod }} has not answered Prometheus for two minutes.",
        board="hit-rate",
    ),
    Alert(
        name="CacheMetricsAbsent",
        condition=lambda s, _: f"absent({s.client(HITS.name)})",
        hold="5m",
        severity=Severity.CRITICAL,
        summary="No process reports cache metrics: the other cache alerts are blind.",
        description="Prometheus has no cache metrics from {{ $labels.namespace }}.",
        board="hit-rate",
    ),
)
