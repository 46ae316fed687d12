"""The rate limits that all workers hit, and one hit as it is recorded.

Each limiter is of another kind of outage. Both subjects of each are hit more often than they may be: one whose bucket
is empty again within half a second, and one whose bucket remembers for longer than a change of master takes.
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
LIMITS: Final[Mapping[str, Limit]] = {"quick": Limit(8, per=1, burst=4), "slow": Limit(60, per=60, burst=20)}
SUBJECTS: Final = tuple(LIMITS)
DECIDERS: Final = tuple(DecidedBy)


class Limiters:
    """The limiters of one worker."""

    def __init__(self, cache: AsyncCache[Any] | Cache[Any]) -> None:
        self._limiters: list[Any] = [
            cache.rate_limiter(outage, LIMITS.__getitem__, outage=outage) for outage in OUTAGES
        ]

    async def hit(self, draw: random.Random) -> Hit:
        """Hit one of them, with one of the subjects. With ``Cache`` it blocks the thread."""
        limiter, subject = draw.randrange(len(OUTAGES)), draw.randrange(len(SUBJECTS))
        begin = time.monotonic()
        decision: Decision = await done(self._limiters[limiter].hit(SUBJECTS[subject]))
        end = time.monotonic()
        remaining = -1 if decision.remaining is None else decision.remaining
        reset = -1.0 if decision.reset_after is None else decision.reset_after
        by = DECIDERS.index(decision.decided_by)
        return Hit(limiter, subject, by, decision.allowed, remaining, decision.retry_after, reset, begin, end)
