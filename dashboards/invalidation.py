"""Board 4: how entries end (time, invalidation, version, room), and whether every process hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alerts import signals
from cacheclient.contract import (
    CONSISTENCY_CHECKED,
    EVENTS,
    EVICTIONS,
    INVALIDATIONS,
    L1_OFF,
    LISTENER_CONNECTED,
    LISTENER_GAPS,
    MIGRATED,
    NAMESPACE_VERSION,
    PUSH_STORMS,
    REVALIDATED,
    STALE_SERVED,
    SUSPECT_ENTRIES,
    Exporter,
)
from dashboards.document import Row, document
from dashboards.panels import Column, Query, at_least, below, graph, graph_of, stat, table, timeline
from dashboards.scopes import CLIENTS

if TYPE_CHECKING:
    from grafanalib.core import Panel

    from alerts.thresholds import Thresholds
    from cacheclient.contract import Metric

_SCOPE = CLIENTS
_LOCAL, _REMOTE = 'origin="local"', 'origin="remote"'


def invalidation(limits: Thresholds) -> dict[str, Any]:
    """Return the dashboard of invalidations."""
    return document(
        "invalidation",
        "Cache 4: invalidations",
        "How entries end, whether every process hears of it, and what a burst costs.",
        "clients",
        [
            Row("Does every process hear of changes?", _summary(), collapsed=False),
            Row("Is what callers get up to date?", _consistency(limits), collapsed=False),
            Row("How entries end", _endings(), collapsed=False),
            Row("What it costs", _costs(limits), collapsed=False),
            Row("Listeners", _listeners(limits)),
            Row("Versions", _versions()),
        ],
    )


def _rate(metric: Metric, by: str, *matchers: str) -> str:
    return f"sum by ({by}) ({_SCOPE.rate(_SCOPE.client(metric.name, *matchers))})"


def _summary() -> list[Panel]:
    connected = _SCOPE.client(LISTENER_CONNECTED.name)
    gaps = f"sum(round(increase({_SCOPE.client(LISTENER_GAPS.name)}[$__range]))) or vector(0)"
    return [
        stat("Invalidations", "Made by these processes: keys, tags and patterns.", _total(_LOCAL), "ops"),
        stat("Heard of", "Entries and tags that others changed, summed over all processes.", _total(_REMOTE), "ops"),
        stat(
            "Listeners connected",
            "Share of processes that are told of changes. The others do not use their L1. "
            "Alert: CacheListenerDisconnected.",
            f"avg({connected})",
            "percentunit",
            steps=at_least(1),
        ),
        stat(
            "Lost connections",
            "Times a listener lost its connection in the time shown. Until it has a new one that process reads L2.",
            gaps,
            "short",
            steps=below(1),
        ),
        stat(
            "Expired in Redis",
            "Entries whose time was over, per second. Compare with invalidations: which of the two ends more entries?",
            f"sum({_SCOPE.rate(_SCOPE.redis(Exporter.EXPIRED))})",
            "ops",
        ),
        stat(
            "Versions in use",
            "Schema versions of one cache side by side, at most. Two during a rollout. Alert: CacheVersionSkew.",
            f"max(count by (cache) (count by (cache, version) ({_SCOPE.client(NAMESPACE_VERSION.name)})))",
            "short",
            steps=below(2),
        ),
    ]


def _total(origin: str) -> str:
    return f"sum({_SCOPE.rate(_SCOPE.client(INVALIDATIONS.name, origin))})"


def _consistency(limits: Thresholds) -> list[Panel]:
    return [
        graph_of(signals.INCONSISTENT.panel(_SCOPE, limits)),
        graph(
            "Checks",
            "Comparisons that the auditor made, by what it compared and how long after the invalidation. "
            "Too few to judge by? Set sync.audit lower.",
            [Query(_rate(CONSISTENCY_CHECKED, "comparison, window"), "{{comparison}} {{window}}")],
            "ops",
        ),
    ]


def _endings() -> list[Panel]:
    return [
        graph(
            "By invalidation",
            "What these processes invalidated: single keys, all that carry a tag, all that match a pattern.",
            [Query(_rate(INVALIDATIONS, "mode", _LOCAL), "{{mode}}")],
            "ops",
            stack="normal",
        ),
        graph(
            "By time, and for want of room",
            "Entries that Redis let expire or evicted, and those that L1 gave up. Alert: RedisEvictingTooFast.",
            [
                Query(f"sum({_SCOPE.rate(_SCOPE.redis(Exporter.EXPIRED))})", "L2 expired"),
                Query(f"sum({_SCOPE.rate(_SCOPE.redis(Exporter.EVICTED))})", "L2 evicted"),
                Query(_rate(EVICTIONS, "tier, reason"), "{{tier}} {{reason}}"),
            ],
            "ops",
            stack="normal",
        ),
        graph(
            "Heard of from others",
            "Changes that the tracking connections and the channels told of, by kind.",
            [Query(_rate(INVALIDATIONS, "mode", _REMOTE), "{{mode}}")],
            "ops",
            stack="normal",
        ),
        graph(
            "Heard of by process",
            "All processes hear of the same changes: one line below the others is a listener that is often away.",
            [Query(_rate(INVALIDATIONS, "pod", _REMOTE), "{{pod}}")],
            "ops",
        ),
    ]


def _costs(limits: Thresholds) -> list[Panel]:
    return [
        graph_of(
            signals.HIT_RATE.panel(_SCOPE, limits), steps=at_least(limits.target_hit_rate, limits.hit_rate), width=12
        ),
        graph(
            "Stale values served",
            "Values past their time that were better than none, by reason.",
            [Query(_rate(STALE_SERVED, "reason"), "{{reason}}")],
            "reqps",
        ),
    ]


def _listeners(limits: Thresholds) -> list[Panel]:
    gaps = f"sum by (pod) (round(increase({_SCOPE.client(LISTENER_GAPS.name)}[$__range])))"
    columns = [
        Column("Connected", f"min by (pod) ({_SCOPE.client(LISTENER_CONNECTED.name)})", "short", at_least(1)),
        Column("Heard of", _rate(INVALIDATIONS, "pod", _REMOTE), "ops"),
        Column("Made", _rate(INVALIDATIONS, "pod", _LOCAL), "ops"),
        Column("Lost connections", gaps, "short", below(1)),
    ]
    return [
        timeline(
            "Listener of each process",
            "Whether it is told of changes. While it is not, its L1 does not answer.",
            [Query(_SCOPE.client(LISTENER_CONNECTED.name), "{{pod}} {{cache}}")],
            {1: ("connected", "green"), 0: ("lost", "red")},
            width=24,
        ),
        graph_of(
            signals.PROPAGATION_P99.panel(_SCOPE, limits),
            Query(signals.propagation_quantile(_SCOPE, 0.5), "P50 {{namespace}}"),
            log=True,
        ),
        graph(
            "Events heard",
            "Messages on the three channels, by type. Unknown and malformed ones come from foreign publishers.",
            [Query(_rate(EVENTS, "type"), "{{type}}")],
            "ops",
            stack="normal",
        ),
        timeline(
            "L1 of each process",
            "Off: keys change faster than L1 is worth, so lookups go to L2. Alert: CachePushStorm.",
            [Query(_SCOPE.client(L1_OFF.name), "{{pod}} {{cache}}")],
            {0: ("on", "green"), 1: ("off", "orange")},
        ),
        graph(
            "Storms",
            "Times L1 was switched off because too many keys changed.",
            [Query(f"increase({_SCOPE.client(PUSH_STORMS.name)}[{_SCOPE.window}])", "{{pod}} {{cache}}")],
            "short",
        ),
        graph(
            "Suspect entries",
            "Entries of L1 that do not answer until L2 has confirmed them: for a moment after a lost connection.",
            [Query(_SCOPE.client(SUSPECT_ENTRIES.name), "{{pod}} {{cache}}")],
            "short",
        ),
        graph(
            "Suspect entries compared",
            "Dropped ones had changed while the listener was not connected.",
            [Query(_rate(REVALIDATED, "outcome"), "{{outcome}}")],
            "ops",
            stack="normal",
        ),
        table("Processes", "One row per process; those that lost their connection most often first.", "pod", columns),
    ]


def _versions() -> list[Panel]:
    version = f"max by (cache, version) ({_SCOPE.client(NAMESPACE_VERSION.name)})"
    return [
        graph(
            "Processes by version",
            "A rollout moves processes from one line to the next. Alert: CacheVersionSkew.",
            [Query(f"count by (cache, version) ({_SCOPE.client(NAMESPACE_VERSION.name)})", "{{cache}} v{{version}}")],
            "short",
            stack="normal",
        ),
        graph(
            "Versions over time",
            "The version numbers in use; two lines of one cache are two releases.",
            [Query(version, "{{cache}} v{{version}}")],
            "none",
        ),
        graph(
            "Migration",
            "Keys of an older version a second, by what became of them; seen is the progress. Empty unless one runs.",
            [Query(_rate(MIGRATED, "cache, outcome"), "{{cache}} {{outcome}}")],
            "ops",
            width=24,
        ),
    ]
