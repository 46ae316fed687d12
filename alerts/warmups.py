"""Alerts on warm-ups. A warm-up leaves the time of its success in a key, which the exporters read, as a backup does.

Only a stack with warm-ups has these series: its exporters are told to look for the keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.model import Alert, Severity
from cacheclient.contract import WARMED_AT, Exporter, Loss

if TYPE_CHECKING:
    from alerts.scope import Scope


def _age(scope: Scope, plan: str) -> str:
    """Return the seconds since a plan was last done; absent if it never was."""
    return f"time() - max by (namespace) ({scope.redis(Exporter.KEY_VALUE, _matcher(plan))})"


def _never(scope: Scope, plan: str) -> str:
    """Return the condition that a plan is wanted and was never done."""
    return f"max by (namespace) ({scope.redis(Exporter.KEY_SIZE, _matcher(plan))}) == 0"


def _matcher(plan: str) -> str:
    return f'key="{WARMED_AT[plan]}"'


WARMUPS: Final = (
    Alert(
        name="CacheFullWarmUpMissed",
        condition=lambda s, t: f"{_age(s, 'full')} > {t.full_warmup_age_seconds}",
        hold="5m",
        severity=Severity.WARNING,
        summary="Last night's warm-up did not succeed.",
        description="The last full warm-up of {{ $labels.namespace }} was {{ $value | humanizeDuration }} ago.",
        silent={Loss.UNBORN: "there was none: CacheWarmUpNever"},
        board="hit-rate",
    ),
    Alert(
        name="CacheHotWarmUpMissed",
        condition=lambda s, t: f"{_age(s, 'hot')} > {t.hot_warmup_age_seconds}",
        hold="5m",
        severity=Severity.INFO,
        summary="The last warm-up of what is used most did not succeed.",
        description="The last hot warm-up of {{ $labels.namespace }} was {{ $value | humanizeDuration }} ago.",
        silent={Loss.UNBORN: "there was none: CacheWarmUpNever"},
        board="hit-rate",
    ),
    Alert(
        name="CacheWarmUpNever",
        condition=lambda s, _: f"{_never(s, 'full')} or {_never(s, 'hot')}",
        hold="25h",
        severity=Severity.WARNING,
        summary="A warm-up has never succeeded.",
        description="Warm-ups of {{ $labels.namespace }} are enabled, and the full or the hot one was never done.",
        board="hit-rate",
    ),
)
