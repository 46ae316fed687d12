"""How fast a warm-up may write, decided by how Redis answers meanwhile. Pure.

Additive increase, multiplicative decrease, as TCP finds its share of a line that others use, too (Chiu, Jain: "Analysis
of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989). The signal is the time of
small reads that are made all the while for nothing else. Before the warm-up they give the baseline. While the 95th
percentile of a window is near that, the rate rises by a step; where it is not, it is halved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 20  # reads in a window: the fewest of which one is the 95th percentile
_STEPS: Final = 20  # from standstill to the full rate


@dataclass(frozen=True, slots=True)
class Limits:
    """Between what the rate may move, in keys a second, and what counts as slow.

    Attributes:
        most: what Redis is asked for at most.
        least: what it is asked for even while it is slow: a warm-up that stands still never ends.
        tolerance: times the baseline up to which an answer is not slow ...
        margin: ... or seconds more than the baseline, if that is more: below, the machine's own noise decides.
    """

    most: float = 2000.0
    least: float = 20.0
    tolerance: float = 2.0
    margin: float = 0.001


class Pace:
    """The rate of one warm-up.

    Attributes:
        rate: keys a second.
        slow: the seconds above which the 95th percentile of a window halves the rate.
    """

    def __init__(self, limits: Limits, baseline: float) -> None:
        """Begin at a quarter of the full rate; ``baseline`` is the 95th percentile of idle reads, in seconds."""
        self._limits = limits
        self.slow = max(baseline * limits.tolerance, baseline + limits.margin)
        self.rate = max(limits.least, limits.most / 4)

    def heed(self, p95: float) -> None:
        """Take the 95th percentile of a window of reads, in seconds; infinite if one was not answered."""
        limits = self._limits
        rate = self.rate + limits.most / _STEPS if p95 <= self.slow else self.rate / 2
        self.rate = min(limits.most, max(limits.least, rate))

    def pause(self, keys: int, busy: float) -> float:
        """Return the seconds to rest after ``keys`` were written in ``busy`` seconds."""
        return max(0.0, keys / self.rate - busy)


def percentile(seconds: Sequence[float], share: float = 0.95) -> float:
    """Return the least of ``seconds`` that ``share`` of them do not exceed."""
    return sorted(seconds)[max(0, math.ceil(share * len(seconds)) - 1)]
