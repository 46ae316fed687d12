"""The rules of automatic tuning: their names, and where they engage."""

from __future__ import annotations

from enum import Enum, StrEnum


class TuningRule(StrEnum):
    """Values of the ``rule`` label: the four rules of requirement 2.10, by the figure that each looks at."""

    L2_HIT_RATE = "l2_hit_rate"
    MEMORY_PRESSURE = "memory_pressure"
    L1_HIT_RATE = "l1_hit_rate"
    INVALIDATIONS = "invalidations"


class TuningLimit(float, Enum):
    """Where the four rules engage, and how far they go; the defaults of the options, and lines of the panels.

    None is the same as a threshold of an alert: tuning is to have acted, or said what to do, before people are called
    (the combined hit rate at 0.60, memory of Redis at 0.80) and long after a target is missed (L1 0.50, L2 0.80).
    """

    L2_HIT_RATE = 0.70
    PRESSURE = 0.85
    L1_HIT_RATE = 0.30
    INVALIDATIONS = 10.0  # a second
    RAISED_TTL = 600.0  # seconds
