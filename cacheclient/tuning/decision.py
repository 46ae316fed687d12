"""The values of tuning: what was measured, what a rule remembers, what it decided and why."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from cacheclient.contract import TuningRule


class Action(StrEnum):
    """What a decision asks for; each rule has one for the beginning and one for the end of its trouble."""

    SUGGEST_SCALE_UP = "suggest_scale_up"
    WITHDRAW = "withdraw_suggestion"
    EVICT = "evict_aggressively"
    STOP_EVICTING = "stop_evicting"
    RAISE_TTL = "raise_l1_ttl"
    RESTORE_TTL = "restore_l1_ttl"
    PREWARM = "prewarm"
    REARM = "rearm_prewarm"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the last minute; None: too few lookups to tell.

    Attributes:
        now: seconds, by the cache's clock.
        l1_hit_rate: hits over lookups of L1, 0 to 1.
        l2_hit_rate: the same of L2, over the lookups that reach it.
        pressure: bytes that L1 holds over those that it is configured for, as ``cache_memory_pressure_ratio``.
        invalidations: keys, tags and patterns that the fleet invalidates a second, as heard here.
        advice: what scaling Redis up would be worth, in words.
    """

    now: float
    l1_hit_rate: float | None = None
    l2_hit_rate: float | None = None
    pressure: float | None = None
    invalidations: float | None = None
    advice: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule remembers.

    Attributes:
        engaged: whether its trouble is on.
        changed_at: when that changed last, or when the cache was started.
        since: since when the figure asks for the other state; inf: it does not.
        relapses: times in a row that the trouble came back soon after its end; -1: it has never been on.
    """

    engaged: bool = False
    changed_at: float
    since: float = math.inf
    relapses: int = -1


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision.

    Attributes:
        rule: whose.
        action: what is to be done.
        reason: the figure, the threshold, and what is to be gained, in words.
        at: seconds, by the cache's clock.
        parameter: what is changed, ``l1_ttl_seconds`` or ``l1_max_bytes``; empty: nothing here.
        before: its value before, 0 without one.
        after: its value from now on.
        applied: whether it was carried out; False: this is a dry run, or it is advice.
    """

    rule: TuningRule
    action: Action
    reason: str
    at: float
    parameter: str = ""
    before: float = 0.0
    after: float = 0.0
    applied: bool = False

    def to_dict(self) -> dict[str, object]:
        """Return the decision for JSON."""
        told: dict[str, object] = {
            "rule": self.rule.value, "action": self.action.value, "reason": self.reason, "applied": self.applied,
        }  # fmt: skip
        if self.parameter:
            told |= {"parameter": self.parameter, "before": self.before, "after": self.after}
        return told
