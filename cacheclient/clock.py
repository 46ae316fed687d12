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


class JointClock(ServerClock):
    """The median of several servers' times: whoever asks the same servers agrees on it, whatever one of them says.

    A mean would follow one clock that is far off. When a server goes, the median moves by what the others differ.
    """

    def __init__(self, clock: Clock = boottime) -> None:
        super().__init__(clock)
        self._offsets: dict[ServerClock, float] = {}

    def part(self) -> ServerClock:
        """Return the clock of one more server. It counts from its first reply on."""
        return _PartClock(self._clock, self)

    def settle(self, part: ServerClock, offset: float | None) -> None:
        """Take the offset of one server; None: it is gone."""
        if offset is None:
            self._offsets.pop(part, None)
        else:
            self._offsets[part] = offset
        if self._offsets:
            from statistics import median  # noqa: PLC0415  it brings fractions and decimals, for clusters only

            self._offset = median(self._offsets.values())


class _PartClock(ServerClock):
    def __init__(self, clock: Clock, whole: JointClock) -> None:
        super().__init__(clock)
        self._whole = whole

    def observe(self, server_time: float, asked_at: float) -> None:
        super().observe(server_time, asked_at)
        self._whole.settle(self, self._offset)


def parse_time(reply: list[bytes]) -> float:
    """Return the seconds in a TIME reply."""
    return int(reply[0]) + int(reply[1]) / 1_000_000


class Gate:
    """L1 may answer while the clock is below ``until``. Open for ever where nobody else can write (``memory://``)."""

    __slots__ = ("until",)

    def __init__(self, until: float = math.inf) -> None:
        self.until = until

    @property
    def whole(self) -> Gate:
        """The gate that this one is a part of; itself, if it is none."""
        return self


class JointGate(Gate):
    """Open while all of its parts are; shut without any."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        super().__init__(0.0)
        self._parts: set[Gate] = set()

    def part(self) -> Gate:
        """Return one more part, shut."""
        part = _Part(self)
        self._parts.add(part)
        self.settle()
        return part

    def leave(self, part: Gate) -> None:
        """Ask nothing of ``part`` any more."""
        self._parts.discard(part)
        self.settle()

    def settle(self) -> None:
        """Take note of what the parts say now."""
        self.until = min((part.until for part in self._parts), default=0.0)


class _Part(Gate):
    """A part of a JointGate, which learns of every change: so L1 looks at one number, however many there are."""

    __slots__ = ("_until", "_whole")

    def __init__(self, whole: JointGate) -> None:
        self._whole = whole
        self._until = 0.0

    @property
    def until(self) -> float:
        return self._until

    @until.setter
    def until(self, moment: float) -> None:
        self._until = moment
        self._whole.settle()

    @property
    def whole(self) -> Gate:
        return self._whole
