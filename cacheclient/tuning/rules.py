"""The four rules of requirement 2.10. Pure: figures and memory in, decisions and memory out.

- L2 hit rate below 0.70: suggest scaling Redis up;
- memory pressure above 0.85: evict aggressively, down to a lower target;
- L1 hit rate below 0.30: raise the L1 TTL to 10 minutes;
- more than 10 invalidations a second: trigger a pre-warm.

Why this converges and does not flap. A rule engages at one threshold and lets go at another, which what it does cannot
reach by itself (hysteresis); the figure must ask for it for a while (hold); after a change nothing changes for a while
(cooldown). One loop is left: a raised TTL may raise the hit rate beyond the second threshold, and once it is restored
the rate may fall again. So whenever trouble comes back soon after its end, the rule waits four times as long the next
time before it lets go. Within a time H there are then at most about log2(H / cooldown) changes of a rule, and two more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from cacheclient.contract import TuningRule
from cacheclient.options import L1Options, TuningOptions
from cacheclient.tuning.decision import Action, Decision, Measured, State

_PATIENCE: Final = 4  # times as long after each relapse
_MOST_RELAPSES: Final = 6  # 4**6 cooldowns of five minutes are two weeks
_RELAPSE: Final = 4  # cooldowns within which trouble that is back was never over


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, with its two thresholds; ``low`` means that small figures are the trouble."""

    figure: Callable[[Measured], float | None]
    name: str
    low: bool
    engage: float
    release: float
    begin: Action
    end: Action
    parameter: str = ""
    usual: float = 0.0
    tuned: float = 0.0
    form: str = ".1%"

    def troubled(self, value: float) -> bool:
        return value < self.engage if self.low else value > self.engage

    def calm(self, value: float) -> bool:
        return value > self.release if self.low else value < self.release


def decide(
    measured: Measured, states: Mapping[TuningRule, State], options: TuningOptions, l1: L1Options
) -> tuple[list[Decision], dict[TuningRule, State]]:
    """Return what is to be done now, and what each rule remembers from now on."""
    decisions: list[Decision] = []
    later: dict[TuningRule, State] = {}
    for name, rule in _rules(options, l1).items():
        later[name] = state = _next(rule, states[name], measured, options)
        if state.engaged is not states[name].engaged:
            decisions.append(_decision(name, rule, measured, options, engaged=state.engaged))
    return decisions, later


def _rules(options: TuningOptions, l1: L1Options) -> dict[TuningRule, _Rule]:
    return {
        TuningRule.L2_HIT_RATE: _Rule(
            figure=lambda m: m.l2_hit_rate, name="L2 hit rate", low=True, engage=options.l2_hit_rate,
            release=_above(options.l2_hit_rate, 0.05), begin=Action.SUGGEST_SCALE_UP, end=Action.WITHDRAW,
        ),
        TuningRule.MEMORY_PRESSURE: _Rule(
            figure=lambda m: m.pressure, name="memory pressure of L1", low=False, engage=options.pressure,
            release=options.evict_to * 0.85, begin=Action.EVICT, end=Action.STOP_EVICTING,
            parameter="l1_max_bytes", usual=l1.max_bytes, tuned=math.floor(l1.max_bytes * options.evict_to),
        ),
        TuningRule.L1_HIT_RATE: _Rule(
            figure=lambda m: m.l1_hit_rate, name="L1 hit rate", low=True, engage=options.l1_hit_rate,
            release=_above(options.l1_hit_rate, 0.2), begin=Action.RAISE_TTL, end=Action.RESTORE_TTL,
            parameter="l1_ttl_seconds", usual=l1.ttl, tuned=max(l1.ttl, options.raised_ttl),
        ),
        TuningRule.INVALIDATIONS: _Rule(
            figure=lambda m: m.invalidations, name="invalidations a second", low=False, engage=options.invalidations,
            release=options.invalidations / 2, begin=Action.PREWARM, end=Action.REARM, form=".1f",
        ),
    }  # fmt: skip


def _above(threshold: float, by: float) -> float:
    return threshold + min(by, (1 - threshold) / 2)


def _next(rule: _Rule, state: State, measured: Measured, options: TuningOptions) -> State:
    """Return the state after one look."""
    value, now = rule.figure(measured), measured.now
    if value is None:
        return msgspec.structs.replace(state, since=math.inf)
    if not (rule.calm(value) if state.engaged else rule.troubled(value)):
        return msgspec.structs.replace(state, since=math.inf)
    since = min(state.since, now)
    patience = options.cooldown * (_PATIENCE**state.relapses if state.engaged else 1)
    if now - since < options.hold or now - state.changed_at < patience:
        return msgspec.structs.replace(state, since=since)
    relapses = state.relapses
    if not state.engaged:  # trouble that is back soon was never over
        soon = now - state.changed_at < _RELAPSE * options.cooldown * _PATIENCE ** max(0, relapses)
        relapses = min(relapses + 1, _MOST_RELAPSES) if soon and relapses >= 0 else 0
    return State(engaged=not state.engaged, changed_at=now, relapses=relapses)


def _decision(name: TuningRule, rule: _Rule, measured: Measured, options: TuningOptions, *, engaged: bool) -> Decision:
    value = rule.figure(measured)
    threshold = rule.engage if engaged else rule.release
    beyond = "below" if rule.low is engaged else "above"
    reason = f"{rule.name} {value:{rule.form}}, {beyond} {threshold:{rule.form}} for {options.hold:g} s"
    if engaged and measured.advice and name is TuningRule.L2_HIT_RATE:
        reason = f"{reason}; {measured.advice}"
    before, after = (rule.usual, rule.tuned) if engaged else (rule.tuned, rule.usual)
    return Decision(
        rule=name, action=rule.begin if engaged else rule.end, reason=reason, at=measured.now,
        parameter=rule.parameter, before=before, after=after,
    )  # fmt: skip
