"""How many hits are too many: the generic cell rate algorithm. Pure.

It is the continuous-state leaky bucket of ITU-T I.371 (the form of the GCRA that is equivalent to virtual scheduling):
every hit pours its weight into the subject's bucket, the bucket drains at a constant rate, and a hit passes if it still
fits. So a subject has one small number, nothing happens at the edge of a window, and what is left and how long to wait
follow from that number exactly.

Everything is counted in whole numbers, so nothing is rounded: time in milliseconds of the server, and a hit weighs and
a millisecond drains what makes both whole (of 3 a second, a hit weighs 1000 and a millisecond drains 3). All of them
stay below 2**53, to which the numbers of Lua are exact too: ``scripts/limit.lua`` decides the same in Redis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cacheclient.errors import ConfigurationError

_MOST: Final = 1_000_000
_LONGEST: Final = 31 * 86_400.0  # seconds; with _MOST hits a bucket still holds less than 2**53
NEVER: Final = -1  # milliseconds to wait for a hit that is heavier than the whole bucket


@dataclass(frozen=True, slots=True)
class Limit:
    """How often something may happen: ``count`` times in ``per`` seconds, and ``burst`` times at once.

    In any span of t seconds at most ``burst + t * count / per`` hits pass, wherever it begins. Hits come back one by
    one, every ``per / count`` seconds, not all at the end of a window.

    Attributes:
        count: hits in ``per`` seconds, on average; 1 to 1,000,000.
        per: seconds, 0.001 to 31 days, in whole milliseconds.
        burst: hits that may come at once after a pause, 1 to 1,000,000; None: ``count``.

    Raises:
        ConfigurationError: if one is out of its range.
    """

    count: int
    per: float = 1.0
    burst: int | None = None
    weight: int = field(init=False, repr=False, compare=False)
    drain: int = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_count("count", self.count)
        if self.burst is not None:
            _check_count("burst", self.burst)
        if isinstance(self.per, bool) or not isinstance(self.per, int | float) or not 0.001 <= self.per <= _LONGEST:  # noqa: PLR2004
            raise ConfigurationError(f"limit per={self.per!r}: seconds, from 0.001 to {_LONGEST:.0f}")
        per = round(self.per * 1000)
        if not math.isclose(per, self.per * 1000, rel_tol=1e-9):
            raise ConfigurationError(f"limit per={self.per!r}: seconds in whole milliseconds")
        shared = math.gcd(self.count, per)
        object.__setattr__(self, "weight", per // shared)
        object.__setattr__(self, "drain", self.count // shared)
        object.__setattr__(self, "size", self.most * self.weight)

    @property
    def most(self) -> int:
        """Hits that may come at once."""
        return self.count if self.burst is None else self.burst

    def __str__(self) -> str:
        burst = "" if self.burst is None else f", {self.burst} at once"
        return f"{self.count} per {self.per:g} s{burst}"


class Bucket(NamedTuple):
    """What is stored of a subject: how full it was at ``at`` (ms), and what a hit weighed then."""

    level: int
    weight: int
    at: int


class Verdict(NamedTuple):
    """What was decided of a hit.

    Attributes:
        allowed: whether it passes.
        remaining: single hits that would pass right after it.
        retry_ms: milliseconds until the same hit would pass if nobody else came; 0 if it passes, ``NEVER``.
        reset_ms: milliseconds until the bucket is empty, so that the whole burst is to be had again.
    """

    allowed: bool
    remaining: int
    retry_ms: int
    reset_ms: int


def decide(found: Bucket | None, limit: Limit, cost: int, now: int, *, take: bool = True) -> tuple[Bucket, Verdict]:
    """Return what is to be stored after a hit of ``cost`` at ``now`` (ms), and whether it passes.

    Without ``take`` nothing is poured in. A clock that was put back drains nothing for once, and goes on from the new
    time: the subject does not wait for the time from before. Under another limit than before, as many hits stay
    poured in as there were, with a fraction rounded up.
    """
    level = _level(found, limit, now)
    asked = cost * limit.weight
    over = level + asked - limit.size
    allowed = over <= 0
    if allowed and take:
        level += asked
    retry_ms = 0 if allowed else NEVER if asked > limit.size else -(-over // limit.drain)
    remaining = max(0, (limit.size - level) // limit.weight)
    return Bucket(level, limit.weight, now), Verdict(allowed, remaining, retry_ms, -(-level // limit.drain))


def _level(found: Bucket | None, limit: Limit, now: int) -> int:
    if found is None:
        return 0
    level = found.level
    if found.weight != limit.weight:
        level = math.ceil(level * float(limit.weight) / found.weight)  # in floating point, as Lua does
    return max(0, level - max(0, now - found.at) * limit.drain)


def check_cost(cost: int) -> int:
    """Return ``cost``; raise ConfigurationError unless it is a whole number from 1 to 1,000,000."""
    _check_count("cost", cost)
    return cost


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise ConfigurationError(f"limit {name}={value!r}: a whole number from 1 to {_MOST}")
