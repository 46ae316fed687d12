"""When pushes come so fast that L1 is not worth having. Pure: the caller brings the counts and the time.

A bulk import into a namespace, or a hot loop of writes, is told to every process of the fleet. Entries then leave L1
about as fast as they come, and each still costs its fill, its fence and its drop. So past a rate L1 is switched off,
for this namespace only, and lookups go to L2 until the rate has been below half of that for a while.
"""

from __future__ import annotations

import math
from typing import Final

_WINDOW: Final = 1.0  # seconds over which pushes are counted
_CALM: Final = 5.0  # seconds for which the rate must stay below half the limit


class PushGuard:
    """Counts pushes by the second, with hysteresis.

    Attributes:
        storm: whether there is one, as of the last count.
    """

    def __init__(self, limit: int) -> None:
        """Take note of the pushes a second past which it is a storm; 0: never."""
        self._limit = limit or math.inf
        self._seen = 0
        self._window_ends = 0.0
        self._calm_at = 0.0
        self.storm = False

    def count(self, pushes: int, now: float) -> bool:
        """Count ``pushes`` that arrived ``now``; return whether a storm began or ended with that."""
        if now >= self._window_ends:
            self._window_ends = now + _WINDOW
            self._seen = 0
        self._seen += pushes
        if self._seen > (self._limit / 2 if self.storm else self._limit):
            self._calm_at = now + _CALM
        before, self.storm = self.storm, now < self._calm_at
        return before is not self.storm
