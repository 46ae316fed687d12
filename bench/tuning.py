"""S4: automatic tuning on access traces: how often its rules change something, and what that does to the hit ratio.

The traces say in what order keys are asked for, not when: they are replayed slowly, so that entries of L1 expire
between two lookups and its TTL matters, and with a noon and a night, so that there is something to react to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import Setting
from bench.traces import read
from cacheclient import L1Options, TuningOptions
from cacheclient.clock import Gate
from cacheclient.contract import TuningRule
from cacheclient.entry import Stored
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.stats import Histogram, TierStats
from cacheclient.tuning import Decision, Measured, State, decide

_DAY: Final = 86_400.0
_LOOK: Final = 10.0  # seconds
_LOOKUPS: Final = 100_000  # of a trace
_SIZE: Final = 1024  # bytes of an entry
UNTUNED: Final = "without tuning"


def moments(count: int, days: float = 2.0) -> Iterator[float]:
    """Yield the time of each lookup: most of them at noon, a third as many at night."""
    now, step = 0.0, days * _DAY / count
    for _ in range(count):
        yield now
        now += step / (1 + 0.5 * math.sin(2 * math.pi * now / _DAY))


def replay(trace: Sequence[int], l1: L1Options, *, apply: bool) -> tuple[float, list[Decision]]:
    """Return the hit ratio of a replay, and what was decided."""
    now, made = [0.0], list[Decision]()
    stats, options = TierStats(), TuningOptions()
    local = Local(l1, stats)
    peek = local.reader(Gate(), lambda: now[0], Histogram())
    stored = Stored(b"", 0, 0, 0, 0.0, b"", size=_SIZE)
    states = {rule: State(changed_at=0.0) for rule in TuningRule}
    seen, look_at = (0, 0), _LOOK
    for number, moment in zip(trace, moments(len(trace)), strict=False):
        now[0] = moment
        key = str(number)
        if peek(key) is ABSENT:
            stats.misses += 1
            local.commit(key, local.begin(key), stored, moment, _DAY)
        if moment >= look_at and stats.lookups - seen[0] >= 100:
            look_at = moment + _LOOK
            rate = (stats.hits - seen[1]) / (stats.lookups - seen[0])
            seen = (stats.lookups, stats.hits)
            measured = Measured(now=moment, l1_hit_rate=rate, pressure=stats.size_bytes / stats.capacity_bytes)
            decisions, states = decide(measured, states, options, l1)
            made += decisions
            for decision in decisions if apply else ():
                if decision.parameter == "l1_ttl_seconds":
                    local.ttl = decision.after
                elif decision.parameter == "l1_max_bytes":
                    local.max_bytes = math.floor(decision.after)
                    local.shrink(len(trace))
    return stats.hit_rate or 0.0, made


async def tuning(setting: Setting) -> Outcome:
    """S4: changes of a rule in two days of each trace."""
    if setting.traces is None:
        return Outcome(skipped="it replays access traces: give their folder with --traces")
    series, changes = [], []
    for name, keys in read(setting.traces).items():
        setting.tell(f"S4 {name}")
        asked = keys[: _LOOKUPS // (5 if setting.quick else 1)]
        l1 = L1Options(max_entries=10**6, max_bytes=max(8, len(set(asked)) // 20) * _SIZE, jitter=0)
        tuned, made = replay(asked, l1, apply=True)
        untuned, _ = replay(asked, l1, apply=False)
        rates = {OURS: [100 * tuned], UNTUNED: [100 * untuned]}
        series.append(Series(f"L1 hit ratio of {name}", "%", rates, higher_is_better=True))
        changes.append(float(max((sum(d.rule is rule for d in made) for rule in TuningRule), default=0)))
    limit = Limit(math.log2(2 * _DAY / TuningOptions().cooldown) + 2, "changes", at_most=True)
    return Outcome(tuple(series), (Check("changes of a rule in two days, most of all traces", limit, (max(changes),)),))
