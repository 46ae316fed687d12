"""Clocks, and the gate that one of them closes. Injected everywhere, so that tests own time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Final

Clock = Callable[[], float]

# Seconds that go on while the machine sleeps: a lid closed for an hour must not leave an hour-old proof of freshness
# standing. Lives in L1 are measured by the same clock, so that a hit reads one clock.
boottime: Final[Clock] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


class ServerClock:
    """The Redis server's time, estimated from its TIME replies; this machine's own until the first reply."""

    def __init__(self, clock: Clock = boottime) -> None:
        self._clock = clock
        self._offset = time.time() - clock()

    def observe(self, server_time: float, asked_at: float) -> None:
        """Take a TIME reply (seconds) to a question asked at ``asked_at`` by the injected clock.

        The server read its clock somewhere between question and answer: the middle is the best guess, wrong by at most
        half the round trip.
        """
        self._offset = server_time - (asked_at + self._clock()) / 2

    def now_ms(self) -> int:
        """Return the server's Unix time in milliseconds."""
        return int((self._clock() + self._offset) * 1000)


def parse_time(reply: list[bytes]) -> float:
    """Return the seconds in a TIME reply."""
    return int(reply[0]) + int(reply[1]) / 1_000_000


class Gate:
    """L1 may answer while the clock is below ``until``. Open for ever where nobody else can write (``memory://``)."""

    __slots__ = ("until",)

    def __init__(self, until: float = math.inf) -> None:
        self.until = until
