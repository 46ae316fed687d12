"""How long an invalidation takes to be heard of.

Redis pushes a change to all processes in the same moment, the one that made it among them. So each process times its
own: from asking Redis to forget a key until the push for it arrives here. No clock is compared with another pod's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cacheclient.clock import Clock
from cacheclient.stats import Histogram

_MOST: Final = 1024  # invalidations under way that are timed; more than that are counted by those


class Propagation:
    """Times the own invalidations of one cache. ``waiting`` is empty while none is under way."""

    def __init__(self, histogram: Histogram, clock: Clock) -> None:
        self.waiting: dict[str, float] = {}
        self._histogram = histogram
        self._clock = clock

    def asked(self, key: str) -> None:
        """Take note that Redis is being told to forget ``key``; only the first of several is timed."""
        if len(self.waiting) < _MOST:
            self.waiting.setdefault(key, self._clock())

    def told(self, keys: Iterable[str]) -> None:
        """Take note that a push has named these keys."""
        now = self._clock()
        for key in keys:
            asked = self.waiting.pop(key, None)
            if asked is not None:
                self._histogram.observe(now - asked)

    def gap(self) -> None:
        """Forget what is under way: its push may be lost with the connection, or come over another one."""
        self.waiting.clear()
