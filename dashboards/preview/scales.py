"""Axes: which values get a line, and where a value lies on the picture. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

_NICE: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_MINUTES: Final = _TIME_STEPS[6:]
_FLAT: Final = 1.0  # the height of an axis whose values are all zero

Rounds = Literal["numbers", "bytes", "seconds"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values from ``low`` to ``high`` onto pixels from ``start`` to ``stop``."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    rounds: Rounds = "numbers"

    def place(self, value: float) -> float:
        """Return the pixel of ``value``; what lies outside is put on the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        return self.start + (self.stop - self.start) * ((at - low) / (high - low))


def linear(low: float, high: float, start: float, stop: float, rounds: Rounds = "numbers") -> Axis:
    """Return an axis that holds ``low`` to ``high`` and ends on what are round ``rounds``."""
    if high <= low:
        high = low + (abs(low) or _FLAT)
    step = nice_step((high - low) / 4, rounds)
    return Axis(math.floor(low / step) * step, math.ceil(high / step) * step, start, stop, rounds=rounds)


def logarithmic(low: float, high: float, start: float, stop: float) -> Axis:
    """Return a logarithmic axis of whole decades; ``low`` and ``high`` are above 0."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return Axis(10.0**bottom, 10.0 ** max(top, bottom + 1), start, stop, log=True)


def ticks(axis: Axis) -> list[float]:
    """Return the values that get a line and a label: at most about six."""
    if axis.log:
        bottom, top = round(math.log10(axis.low)), round(math.log10(axis.high))
        stride = max(1, math.ceil((top - bottom) / 6))
        return [10.0**power for power in range(bottom, top + 1, stride)]
    step = nice_step((axis.high - axis.low) / 4, axis.rounds)
    return [axis.low + step * index for index in range(round((axis.high - axis.low) / step) + 1)]


def nice_step(about: float, rounds: Rounds = "numbers") -> float:
    """Return the smallest of 1, 2, 2.5, 5 times a power of ten that is at least ``about``.

    For bytes it is so many of them, KiB, MiB and so on: quarters of 190 MiB are no round numbers of bytes. For seconds
    it is what clocks divide by, as soon as it is a minute.
    """
    if rounds == "seconds" and _MINUTES[0] / 2 < about <= _MINUTES[-1]:
        return float(next(step for step in _MINUTES if step >= about * 0.999))
    size = 1024.0 ** max(0, math.floor(math.log(about, 1024))) if rounds == "bytes" else 1.0
    power = 10.0 ** math.floor(math.log10(about / size))
    return next(size * power * nice for nice in _NICE if power * nice >= about / size * 0.999)


def time_ticks(start: float, end: float, about: int) -> list[float]:
    """Return round moments between two Unix times, at most ``about`` of them."""
    step = next((s for s in _TIME_STEPS if (end - start) / s <= about), _TIME_STEPS[-1])
    first = math.ceil(start / step) * step
    return [float(moment) for moment in range(first, int(end) + 1, step)]
