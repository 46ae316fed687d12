"""Service level objectives: a budget of bad lookups, and alerts on the speed at which it burns.

Multi-window, multi-burn-rate alerts after Google's SRE workbook (chapter 5, table 5-8): the long window says that a
relevant part of the budget is gone, the short one that it is still going. A budget of 5 % cannot burn faster than
twentyfold, so every burn rate here is one that its objective can reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from alerts import signals
from alerts.model import Alert, Recording, Severity
from alerts.thresholds import FASTEST_BURN
from cacheclient.contract import ERRORS, LOOKUP_SECONDS, ErrorType, Loss, Tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from alerts.scope import Scope
    from alerts.thresholds import Thresholds

_WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")
_FAST: Final = (("5m", "1h", FASTEST_BURN), ("30m", "6h", 6.0))  # 2 % of a month's budget in an hour, 5 % in six
_PROMISED_SECONDS: Final = 0.005  # within which 95 % of all lookups are answered (requirement 6); a bucket edge
_IDLE: Final = {Loss.FILTERED: "hardly any lookups: no budget burns"}
_SLOW: Final = ("6h", "3d", 1.0)  # 10 % in three days


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A promise about lookups: the share of bad ones, over a scope's window, and how many are allowed.

    ``alert`` begins the names of its two alerts, ``record`` those of its recorded series.
    """

    alert: str
    record: str
    what: str
    bad: Callable[[Scope], str]
    budget: Callable[[Thresholds], float]
    board: str

    def recordings(self) -> tuple[Recording, ...]:
        """Return the share of bad lookups over each window."""
        return tuple(Recording(self._name(window), self._over(window)) for window in _WINDOWS)

    def alerts(self) -> tuple[Alert, ...]:
        """Return the alert that wakes somebody, and the one that can wait for the morning."""
        return (
            Alert(
                name=f"{self.alert}BurnsFast",
                condition=self._burns_fast,
                severity=Severity.CRITICAL,
                summary=f"{self.what} at a speed that uses up the month's budget in days.",
                description=self._description("over five minutes or half an hour"),
                silent=_IDLE,
                board=self.board,
            ),
            Alert(
                name=f"{self.alert}BurnsSlowly",
                condition=lambda s, t: _under_traffic(s, t, self._burning(s, t, *_SLOW)),
                severity=Severity.WARNING,
                summary=f"{self.what} steadily: the month's budget will not last.",
                description=self._description("over six hours"),
                silent=_IDLE,
                board=self.board,
            ),
        )

    def burn(self, scope: Scope, limits: Thresholds, window: str) -> str:
        """Return how many times faster than allowed the budget burns over ``window``, as a panel computes it."""
        return f"({self.bad(replace(scope, window=window))}) / {self.budget(limits):g}"

    def _burns_fast(self, scope: Scope, limits: Thresholds) -> str:
        arms = " or ".join(self._burning(scope, limits, *windows) for windows in _FAST)
        return _under_traffic(scope, limits, f"({arms})")

    def _burning(self, scope: Scope, limits: Thresholds, short: str, long: str, rate: float) -> str:
        limit = f"{rate * self.budget(limits):g}"
        return f"{scope.recorded(self._name(short))} > {limit} and {scope.recorded(self._name(long))} > {limit}"

    def _name(self, window: str) -> str:
        return f"{self.record}:ratio_rate{window}"

    def _over(self, window: str) -> Callable[[Scope], str]:
        return lambda scope: self.bad(replace(scope, window=window))

    def _description(self, period: str) -> str:
        return f"{{{{ $value | humanizePercentage }}}} of the lookups in {{{{ $labels.namespace }}}} {period}."


def _under_traffic(scope: Scope, limits: Thresholds, condition: str) -> str:
    lookups = scope.recorded(signals.LOOKUPS.record)
    return f"{condition} and on (namespace) {lookups} > {limits.idle_lookups_per_second}"


def _slow(scope: Scope, limit: float) -> str:
    """Return the share of lookups that took longer than ``limit`` seconds, a bucket edge."""
    every = scope.rate(scope.client(f"{LOOKUP_SECONDS.name}_count", signals.tier(Tier.ALL)))
    fast = scope.rate(scope.client(f"{LOOKUP_SECONDS.name}_bucket", signals.tier(Tier.ALL), f'le="{limit}"'))
    return f"1 - sum by (namespace) ({fast}) / (sum by (namespace) ({every}) > 0)"


def _failed(scope: Scope) -> str:
    """Return the share of lookups whose load failed: the only way in which the cache answers nobody."""
    failed = scope.rate(scope.client(ERRORS.name, f'type="{ErrorType.LOADER}"'))
    return f"sum by (namespace) ({failed}) / ({signals.looked_up(scope)} > 0)"


LATENCY: Final = Objective(
    alert="CacheLatencyBudget",
    record="namespace:cache_slow_lookups",
    what="Lookups are slower than promised",
    bad=lambda scope: _slow(scope, _PROMISED_SECONDS),
    budget=lambda limits: limits.slow_budget_ratio,
    board="latency",
)
ERROR: Final = Objective(
    alert="CacheErrorBudget",
    record="namespace:cache_failed_lookups",
    what="Lookups end without a value",
    bad=_failed,
    budget=lambda limits: limits.error_budget_ratio,
    board="hit-rate",
)
OBJECTIVES: Final = (LATENCY, ERROR)
