"""The rate limits that all workers hit, and one hit as it is recorded.

Each limiter is of another kind of outage, and has two subjects that are hit more often than they may be: one whose
bucket is empty again within half a second, and one whose bucket is full for good after some seconds. Only hits that
fill it can be missed after a failover. So subjects make room for new ones, each limiter's at another time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Final

from cacheclient import AsyncCache, Cache, Limit
from cacheclient.contract import DecidedBy
from cacheclient.ratelimit import Decision, Outage
from tests.fuzz.faces import done
from tests.fuzz.history import Hit

OUTAGES: Final[tuple[Outage, ...]] = ("open", "closed", "local")
LIMITS: Final[Mapping[str, Limit]] = {"quick": Limit(8, per=1, burst=4), "slow": Limit(6, per=60, burst=20)}
SUBJECTS: Final = tuple(LIMITS)
TURN: Final = 30.0  # seconds: longer than it takes from a fault to the next master
DECIDERS: Final = tuple(DecidedBy)


class Limiters:
    """The limiters of one worker."""

    def __init__(self, cache: AsyncCache[Any] | Cache[Any]) -> None:
        self._limiters: list[Any] = [cache.rate_limiter(outage, _limit_of, outage=outage) for outage in OUTAGES]

    async def hit(self, draw: random.Random) -> Hit:
        """Hit one of them, with one of the subjects. With ``Cache`` it blocks the thread."""
        limiter, subject = draw.randrange(len(OUTAGES)), draw.randrange(len(SUBJECTS))
        begin = time.monotonic()
        turn = int(begin / TURN + limiter / len(OUTAGES))
        decision: Decision = await done(self._limiters[limiter].hit(f"{SUBJECTS[subject]}-{turn}"))
        end = time.monotonic()
        remaining = -1 if decision.remaining is None else decision.remaining
        reset = -1.0 if decision.reset_after is None else decision.reset_after
        by = DECIDERS.index(decision.decided_by)
        return Hit(limiter, subject, turn, by, decision.allowed, remaining, decision.retry_after, reset, begin, end)


def _limit_of(subject: str) -> Limit:
    return LIMITS[subject.partition("-")[0]]
