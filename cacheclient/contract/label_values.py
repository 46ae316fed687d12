"""The values that labels of the metrics have: closed sets, so that every series exists from the start."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Tier(StrEnum):
    """Values of the ``tier`` label."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"
    ALL = "all"


class ErrorType(StrEnum):
    """Values of the ``type`` label of cache_errors_total: a closed set, so that every series exists from the start."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    READONLY = "readonly"
    OOM = "oom"
    MISCONF = "misconf"
    NOREPLICAS = "noreplicas"
    SERIALIZATION = "serialization"
    LOADER = "loader"
    OTHER = "other"


class Comparison(StrEnum):
    """Values of the ``comparison`` label: what the consistency auditor held against what."""

    L1_L2 = "l1_l2"
    L2_SOURCE = "l2_source"


class DecidedBy(StrEnum):
    """Values of the ``decided_by`` label: who decided on a hit under a rate limit."""

    REDIS = "redis"
    MEMORY = "memory"  # this process, because Redis has said until when the subject is over its limit
    OUTAGE = "outage"  # the limiter's policy, because Redis could not be asked
    NOBODY = "nobody"  # there was no limit; not counted


# Sizes at which a tier's hit rate is estimated, by the value of the ``size`` label: times its own.
SIZES: Final = {"0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}

# Seconds after an invalidation at which its key is checked, by the value of the ``window`` label.
AUDIT_WINDOWS: Final = {"1s": 1.0, "10s": 10.0, "60s": 60.0}
