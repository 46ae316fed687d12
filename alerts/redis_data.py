"""Alerts on what one Redis server does with its data: persistence, memory, connections, refused commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts import signals
from alerts.model import Alert, Severity
from cacheclient.contract import Exporter, Loss

if TYPE_CHECKING:
    from alerts.scope import Scope

# Error replies that mean "this write or read was refused by the state of the server", as opposed to a caller's mistake.
_REFUSALS = "OOM|MISCONF|NOREPLICAS|READONLY|MASTERDOWN|LOADING|BUSY|NOAUTH|WRONGPASS|NOPERM"
_WRITES_LOST = "OOM|MISCONF|NOREPLICAS"


def _errors(scope: Scope, kinds: str) -> str:
    """Return new error replies by kind within five minutes.

    Redis creates the series of an error kind with its first error, at 1, which increase() cannot see. A series that was
    not there five minutes ago counts too, provided that the server was scraped then: otherwise a gap in scraping would
    bring old errors back.
    """
    series = scope.redis(Exporter.ERRORS, f'err=~"{kinds}"')
    born = f"({series} unless {series} offset 5m) and on (namespace, pod) ({scope.redis(Exporter.UP)} offset 5m == 1)"
    return f"sum by (namespace, pod, err) (increase({series}[5m]) > 0 or ({born}))"


PERSISTENCE: Final = (
    Alert(
        name="RedisAofWriteFailing",
        condition=lambda s, _: (
            f"{s.redis(Exporter.AOF_WRITE_STATUS)} == 0 and on (namespace, pod) {s.redis(Exporter.AOF_ENABLED)} == 1"
        ),
        hold="30s",
        severity=Severity.CRITICAL,
        summary="Redis cannot write its append-only file.",
        description="{{ $labels.pod }} cannot append to disk (full?): it answers every write with MISCONF.",
        silent={Loss.FILTERED: "where no file is wanted, none can fail"},
        board="redis",
    ),
    Alert(
        name="RedisAofRewriteFailing",
        condition=lambda s, _: f"{s.redis(Exporter.AOF_REWRITE_STATUS)} == 0",
        hold="5m",
        severity=Severity.WARNING,
        summary="Redis cannot compact its append-only file.",
        description="The last rewrite on {{ $labels.pod }} failed: the file grows until the volume is full.",
        board="redis",
    ),
    Alert(
        name="RedisRdbSaveFailing",
        condition=lambda s, _: f"{s.redis(Exporter.RDB_STATUS)} == 0",
        hold="5m",
        severity=Severity.WARNING,
        summary="Redis cannot save its snapshot.",
        description="The last snapshot on {{ $labels.pod }} failed: no memory for the fork, or no space on the volume.",
        board="redis",
    ),
    Alert(
        # After a restart the save time equals the start time: it looks freshly saved. Hence the second condition.
        name="RedisRdbStale",
        condition=lambda s, t: (
            f"time() - {s.redis(Exporter.RDB_SAVE_TIME)} > {t.snapshot_age_seconds}"
            f" and on (namespace, pod) {s.redis(Exporter.RDB_CHANGES)} > 1000"
        ),
        hold="10m",
        severity=Severity.WARNING,
        summary="Redis has not saved a snapshot for hours although data changed.",
        description="The newest snapshot of {{ $labels.pod }} is {{ $value | humanizeDuration }} old.",
        silent={Loss.FILTERED: "what has hardly changed need not be saved"},
        board="redis",
    ),
    Alert(
        name="RedisFsyncDelayed",
        condition=lambda s, _: f"increase({s.redis(Exporter.AOF_DELAYED_FSYNC)}[5m]) > 0",
        severity=Severity.WARNING,
        summary="The disk is too slow for one fsync per second.",
        description="{{ $labels.pod }} delayed {{ $value | humanize }} fsyncs in 5 minutes: a crash may lose over 1 s.",
        board="redis",
    ),
)

MEMORY: Final = (
    signals.MEMORY_RATIO.rule(
        "RedisMemoryHigh",
        hold="15m",
        severity=Severity.WARNING,
        summary="Redis memory use is above its limit.",
        description="{{ $labels.pod }} uses {{ $value | humanizePercentage }} of maxmemory.",
        silent={Loss.FILTERED: "there is no share of no limit: RedisMaxmemoryUnset"},
        board="redis",
    ),
    Alert(
        name="RedisMaxmemoryUnset",
        condition=lambda s, _: f"{s.redis(Exporter.MEMORY_MAX)} == 0",
        hold="5m",
        severity=Severity.WARNING,
        summary="A Redis server runs without maxmemory.",
        description="{{ $labels.pod }} has no maxmemory: it grows until the kernel ends it; RedisMemoryHigh is blind.",
        board="redis",
    ),
    Alert(
        # Evictions alone are the normal life of a full cache; they matter when the hit rate pays for them.
        name="RedisEvictingTooFast",
        condition=lambda s, t: (
            f"{s.rate(s.redis(Exporter.EVICTED))} > {t.evictions_per_second}"
            f" and on (namespace) {s.recorded(signals.HIT_RATE.record)} < {t.target_hit_rate}"
        ),
        hold="15m",
        severity=Severity.WARNING,
        summary="Redis evicts entries that lookups still want.",
        description="{{ $labels.pod }} evicts {{ $value | humanize }} entries per second while hits are below target.",
        silent={Loss.FILTERED: "evictions that cost no hits are the life of a full cache"},
        board="redis",
    ),
    Alert(
        # The ratio alone is far above 1.5 on an almost empty server; bytes say whether it is worth an action.
        name="RedisFragmented",
        condition=lambda s, t: (
            f"{s.redis(Exporter.FRAGMENTATION_RATIO)} > {t.fragmentation_ratio}"
            f" and on (namespace, pod) {s.redis(Exporter.FRAGMENTATION_BYTES)} > {t.fragmentation_bytes}"
        ),
        hold="30m",
        severity=Severity.INFO,
        summary="Redis holds much more memory than it uses.",
        description="{{ $labels.pod }} holds {{ $value | humanize }} times the memory it uses.",
        silent={Loss.FILTERED: "the few bytes of a small server are not worth an action"},
        board="redis",
    ),
)

COMMANDS: Final = (
    signals.CONNECTIONS.rule(
        "RedisConnectionsHigh",
        hold="5m",
        severity=Severity.WARNING,
        summary="Redis has more client connections than planned.",
        description="{{ $labels.pod }} has {{ $value }} connected clients.",
        board="redis",
    ),
    Alert(
        # maxclients comes from the stack, not from the exporter: CONFIG GET would show it the replication password too.
        name="RedisConnectionsNearLimit",
        condition=lambda s, t: f"{s.redis(Exporter.CLIENTS)} / {t.max_clients} > {t.connections_ratio}",
        hold="2m",
        severity=Severity.CRITICAL,
        summary="Redis is about to refuse connections.",
        description="{{ $labels.pod }} uses {{ $value | humanizePercentage }} of maxclients: at 100 % its metrics end.",
        board="redis",
    ),
    Alert(
        # Visible only afterwards: at maxclients the exporter cannot connect either.
        name="RedisRejectedConnections",
        condition=lambda s, _: f"increase({s.redis(Exporter.CONNECTIONS_REJECTED)}[5m]) > 0",
        severity=Severity.CRITICAL,
        summary="Redis refused connections.",
        description="{{ $labels.pod }} refused {{ $value | humanize }} connections in 5 minutes: maxclients reached.",
        board="redis",
    ),
    Alert(
        name="RedisWriteRefused",
        condition=lambda s, _: f"{_errors(s, _REFUSALS)} > 0",
        severity=Severity.WARNING,
        summary="Redis refused commands.",
        description="{{ $labels.pod }} answered {{ $labels.err }} within 5 minutes.",
        silent={Loss.UNBORN: "nothing was ever refused; the first refusal is what the second arm sees"},
        board="redis",
    ),
    Alert(
        # A burst of refusals accompanies every failover. The short range makes the hold mean "refused in each minute".
        name="RedisWritesFailing",
        condition=lambda s, _: f"""rate({s.redis(Exporter.ERRORS, f'err=~"{_WRITES_LOST}"')}[1m]) > 0""",
        hold="2m",
        severity=Severity.CRITICAL,
        summary="Redis keeps refusing writes.",
        description="{{ $labels.pod }} refuses writes with {{ $labels.err }}, {{ $value | humanize }} per second.",
        silent={Loss.UNBORN: "nothing was ever refused; refusals that go on raise the new series within the hold"},
        board="redis",
    ),
    Alert(
        # spike_last is the time of the spike; needs latency-monitor-threshold in redis.conf.
        name="RedisSlowEvent",
        condition=lambda s, t: (
            f"time() - {s.redis(Exporter.SPIKE_TIME)} < 300 and on (namespace, pod, event_name) "
            f"{s.redis(Exporter.SPIKE_SECONDS)} > {t.slow_event_seconds}"
        ),
        severity=Severity.WARNING,
        summary="Redis stood still for a moment.",
        description="{{ $labels.event_name }} blocked every client of {{ $labels.pod }} {{ $value | humanize }} s ago.",
        silent={Loss.UNBORN: "it never stood still", Loss.FILTERED: "the spike was too short to be felt"},
        board="redis",
    ),
)
