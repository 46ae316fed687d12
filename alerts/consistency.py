"""Alerts on what the consistency auditor of the clients finds, and on L1 being off.

"Above 99.99 % consistent" is an objective with a budget, so its alerts ask how fast the budget burns: over a long
window that has seen enough, and a short one that ends the alert soon after the cause (Beyer et al.: "The Site
Reliability Workbook", O'Reilly 2018, chapter 5, figures for 30 days). The auditor takes samples: where they are few,
one find is a large share of an hour. So three finds are needed to wake anybody.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from alerts import signals
from alerts.model import Alert, Condition, Recording, Severity
from alerts.thresholds import FASTEST_BURN
from cacheclient.contract import CONSISTENCY_INCONSISTENT, L1_OFF, Loss

if TYPE_CHECKING:
    from alerts.scope import Scope
    from alerts.thresholds import Thresholds

_LEAST: Final = 3  # finds within the long window
_UNSEEN: Final = {Loss.FILTERED: "without checks, or with fewer finds than anybody is woken for, nothing is known"}
_FOUND: Final = (
    "{{ $value | humanizePercentage }} of the checks {{ $labels.comparison }} in {{ $labels.namespace }} "
    "found an old value"
)


def _record(window: str) -> str:
    return f"namespace_comparison:cache_inconsistent:ratio_rate{window}"


RECORDINGS: Final = tuple(
    Recording(_record(window), partial(signals.inconsistent_ratio, window=window))
    for window in ("5m", "30m", "1h", "6h")
)


def _burns(factor: float, long: str, short: str) -> Condition:
    """Return the condition that the budget of 30 days burns ``factor`` times too fast."""

    def burning(scope: Scope, limits: Thresholds) -> str:
        ratio = f"{factor * limits.inconsistent_ratio:.6g}"
        within, finds = "(namespace, comparison)", scope.client(CONSISTENCY_INCONSISTENT.name)
        return (
            f"{scope.recorded(_record(long))} > {ratio}"
            f" and on {within} {scope.recorded(_record(short))} > {ratio}"
            f" and on {within} sum by {within} (increase({finds}[{long}])) >= {_LEAST}"
        )

    return burning


ALERTS: Final = (
    Alert(
        name="CacheInconsistent",
        condition=_burns(FASTEST_BURN, "1h", "5m"),
        severity=Severity.CRITICAL,
        summary="Callers get old values: what is promised for a month is gone in two days.",
        description=_FOUND + " within the last hour.",
        silent=_UNSEEN,
        board="invalidation",
    ),
    Alert(
        name="CacheInconsistencyRising",
        condition=_burns(6, "6h", "30m"),
        severity=Severity.WARNING,
        summary="Callers get old values more often than promised.",
        description=_FOUND + " within six hours.",
        silent=_UNSEEN,
        board="invalidation",
    ),
    signals.PROPAGATION_P99.rule(
        "CacheInvalidationSlow",
        hold="5m",
        severity=Severity.WARNING,
        summary="Processes hear of invalidations later than promised.",
        description="1 % of the pushes in {{ $labels.namespace }} take longer than {{ $value | humanizeDuration }}.",
        board="invalidation",
    ),
    Alert(
        name="CachePushStorm",
        condition=lambda s, _: f"{s.client(L1_OFF.name)} == 1",
        hold="5m",
        severity=Severity.WARNING,
        summary="A process does not use its L1, because too many keys change.",
        description="{{ $labels.pod }} switched L1 of cache {{ $labels.cache }} off.",
        board="invalidation",
    ),
)
