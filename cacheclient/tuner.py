"""Looks at one cache's figures every few seconds: what sizes are worth (``sizing``), and what to tune (``tuning``).

What the rules decide is carried out with ``tuning.apply`` only. Without, which is the default, they say what they would
do, and why: in the log, in ``stats()`` and in the metrics. A cache that changes itself unasked is a surprise at night;
one that says what it would do can be believed after a week.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from cacheclient.clock import Clock
from cacheclient.contract import Tier, TuningRule
from cacheclient.errors import ConfigurationError, UnavailableError
from cacheclient.events import EventType
from cacheclient.local import Local
from cacheclient.options import L1Options, TuningOptions
from cacheclient.patient import Patient
from cacheclient.remote import redis_memory
from cacheclient.sizing import Follower
from cacheclient.stats import DECISIONS, Stats
from cacheclient.tuning import Action, Decision, Measured, Memory, State, decide, suggestion

_ASK: Final = 60.0  # seconds between two questions about Redis' memory
_WINDOW: Final = 60.0  # seconds over which rates are measured
_ENOUGH: Final = 100  # lookups in that time below which there is no rate
_STEP: Final = 500  # entries given up before others have their turn on the event loop
_log = logging.getLogger("cacheclient")


@dataclass(frozen=True, slots=True)
class _Seen:
    """Counters at one moment."""

    at: float
    l1: tuple[int, int]  # lookups, hits
    l2: tuple[int, int]
    invalidations: int


class Tuner:
    """The loop of one cache; without a follower it does nothing."""

    def __init__(
        self,
        local: Local,
        patient: Patient | None,
        prewarm: Callable[[float], Awaitable[bool]],
        options: TuningOptions,
        l1: L1Options,
        *,
        stats: Stats,
        clock: Clock,
    ) -> None:
        """Prepare; ``prewarm`` asks the fleet for a pre-warm, once in so many seconds, and returns whether it did."""
        self._local = local
        self._patient = patient
        self._prewarm = prewarm
        self._options = options
        self._l1 = l1
        self._stats = stats
        self._clock = clock
        self._states: dict[TuningRule, State] = {}
        self._seen: deque[_Seen] = deque()
        self._ask_at = -math.inf
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on; needs a running loop."""
        if self._local.follower is not None:
            self.begin()
            self._task = asyncio.create_task(self._run(), name="cacheclient-tuner")

    def begin(self) -> None:
        """Take note of where all begins."""
        self._states = {rule: State(changed_at=self._clock()) for rule in TuningRule}
        self._tell()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Look at the figures once, decide, and carry out or say what was decided."""
        follower = self._local.follower
        if follower is None:
            return
        now = self._clock()
        await self._ask(follower, now)
        l1, l2 = self._stats.l1, self._stats.l2
        self._stats.curves = follower.settle(now, (l1.lookups, l1.hits), (l2.lookups, l2.hits))
        decisions, self._states = decide(self._measured(follower, now), self._states, self._options, self._l1)
        for decision in decisions:
            await self._carry_out(decision)
        self._tell()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._options.interval)
            try:
                await self.look()
            except Exception:  # noqa: BLE001  a wrong figure must not end the looking
                _log.exception("cacheclient: the tuner could not look")

    async def _ask(self, follower: Follower, now: float) -> None:
        if self._patient is not None and now >= self._ask_at:
            self._ask_at = now + _ASK
            with contextlib.suppress(UnavailableError):  # nobody can tell: what was known stays
                follower.looked_at(await redis_memory(self._patient.masters.everywhere()))

    def _measured(self, follower: Follower, now: float) -> Measured:
        stats = self._stats
        heard = stats.events[EventType.INVALIDATE]  # of the whole fleet, own ones too
        own = sum(stats.invalidations[f"{kind}/local"] for kind in ("key", "tag", "pattern"))
        seen = _Seen(now, (stats.l1.lookups, stats.l1.hits), (stats.l2.lookups, stats.l2.hits), max(heard, own))
        self._seen.append(seen)
        while len(self._seen) > 1 and self._seen[1].at <= now - _WINDOW:
            self._seen.popleft()
        first = self._seen[0]
        seconds = now - first.at
        l2 = _rate(seen.l2, first.l2)
        return Measured(
            now=now,
            l1_hit_rate=_rate(seen.l1, first.l1) if self._local.enabled else None,
            l2_hit_rate=None if stats.circuit_open else l2,
            pressure=stats.l1.size_bytes / stats.l1.capacity_bytes if stats.l1.capacity_bytes else None,
            invalidations=(seen.invalidations - first.invalidations) / seconds if seconds else None,
            advice="" if l2 is None or l2 >= self._options.l2_hit_rate else self._advice(follower),
        )

    def _advice(self, follower: Follower) -> str:
        memory = None
        if follower.memory is not None:
            from cacheclient.savings import Prices  # noqa: PLC0415  few caches suggest anything

            try:
                price = Prices.from_env().per_redis_gib_month
            except ConfigurationError:  # whoever serves the prices has said so
                price = Prices().per_redis_gib_month
            memory = Memory(used=follower.memory.used, allowed=follower.memory.allowed, per_gib_month=price)
        return suggestion(self._stats.curves.get(Tier.L2), memory, self._options.l2_hit_rate)

    async def _carry_out(self, decision: Decision) -> None:
        applied = self._options.apply and await self._apply(decision)
        told = msgspec.structs.replace(decision, applied=applied)
        self._stats.tuned[f"{decision.rule}/{'applied' if applied else 'advised'}"] += 1
        self._stats.decisions = (*self._stats.decisions, told)[-DECISIONS:]
        change = f", {told.parameter} {told.before:g} -> {told.after:g}" if told.parameter else ""
        mode = "" if applied else " (not applied)"
        _log.warning("cacheclient: tuning: %s%s%s: %s", told.action, change, mode, told.reason)

    async def _apply(self, decision: Decision) -> bool:
        match decision.action:
            case Action.RAISE_TTL | Action.RESTORE_TTL:
                self._local.ttl = decision.after
            case Action.EVICT | Action.STOP_EVICTING:
                self._local.max_bytes = math.floor(decision.after)
                while not self._local.shrink(_STEP):  # noqa: ASYNC110  it waits for nothing: others have their turn
                    await asyncio.sleep(0)
            case Action.PREWARM:
                return await self._prewarm(self._options.cooldown)
            case _:  # advice, and the end of what has no end to be made
                return False
        return True

    def _tell(self) -> None:
        self._stats.engaged = {rule.value: state.engaged for rule, state in self._states.items()}
        self._stats.tuning = {"l1_ttl_seconds": self._local.ttl, "l1_max_bytes": float(self._local.max_bytes)}


def _rate(now: tuple[int, int], then: tuple[int, int]) -> float | None:
    lookups, hits = now[0] - then[0], now[1] - then[1]
    return hits / lookups if lookups >= _ENOUGH else None
