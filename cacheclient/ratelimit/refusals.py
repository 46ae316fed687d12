"""Who is over its limit, and until when: so that whoever hammers is refused without a round trip."""

from __future__ import annotations

import math
from typing import NamedTuple

from cacheclient.clock import Clock
from cacheclient.gcra import Limit, Verdict


class _Refusal(NamedTuple):
    limit: Limit
    cost: int
    asked: float  # before Redis was: its answer is at least as young
    verdict: Verdict


class Refusals:
    """The refusals that still hold, of ``room`` keys at most.

    What others do meanwhile can only fill the bucket more. So until the time that Redis gave, counted from before it
    was asked, the same hit is refused there too, and after that it may pass: no hit is refused here that Redis would
    have let pass, unless the bucket was emptied (``reset``, a failover).
    """

    def __init__(self, room: int, clock: Clock) -> None:
        self._room = room
        self._clock = clock
        self._kept: dict[str, _Refusal] = {}

    def known(self, key: str, limit: Limit, cost: int) -> Verdict | None:
        """Return the refusal of such a hit if Redis would refuse it now, with the times as of now; else None."""
        kept = self._kept.get(key)
        if kept is None or kept.limit != limit or kept.cost != cost:
            return None
        passed = (self._clock() - kept.asked) * 1000
        _, _, retry_ms, reset_ms = kept.verdict
        if math.ceil(passed) >= retry_ms:  # up, because Redis counts from the beginning of its millisecond
            self._kept.pop(key, None)  # another thread may have done so
            return None
        return kept.verdict._replace(retry_ms=retry_ms - math.floor(passed), reset_ms=reset_ms - math.floor(passed))

    def note(self, key: str, limit: Limit, cost: int, verdict: Verdict, asked: float) -> None:
        """Take note of what Redis said to a question asked at ``asked``."""
        self._kept.pop(key, None)
        if verdict.retry_ms <= 0 or not self._room:  # it passed, or never will, whenever it comes
            return
        if len(self._kept) >= self._room:
            del self._kept[next(iter(self._kept))]  # the oldest
        self._kept[key] = _Refusal(limit, cost, asked, verdict)

    def forget(self, key: str) -> None:
        """Ask Redis again."""
        self._kept.pop(key, None)
