"""What a measurement gives: series of figures by candidate, and checks of ours against a bar. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

OURS: Final = "cacheclient"


class Verdict(StrEnum):
    """How a check ended."""

    STRETCH = "stretch"
    PASS = "pass"  # noqa: S105  a verdict, not a password
    MISSED = "MISSED"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bar: at least or at most so much. ``unit`` is printed behind the figure."""

    bar: float
    unit: str
    stretch: float | None = None
    at_most: bool = False

    def verdict(self, seen: float) -> Verdict:
        """Return which of the two bars ``seen`` reaches."""
        if self.stretch is not None and self._reached(seen, self.stretch):
            return Verdict.STRETCH
        return Verdict.PASS if self._reached(seen, self.bar) else Verdict.MISSED

    def _reached(self, seen: float, bar: float) -> bool:
        return seen <= bar if self.at_most else seen >= bar


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict: what was compared, with which limit, and the figure of every round.

    Judged by the median of the rounds; with ``worst`` by the worst round (for counts that must never be exceeded).
    """

    what: str
    limit: Limit
    rounds: tuple[float, ...]
    worst: bool = False

    @property
    def seen(self) -> float:
        """The figure that is judged."""
        if self.worst:
            return max(self.rounds) if self.limit.at_most else min(self.rounds)
        return median(self.rounds)

    @property
    def verdict(self) -> Verdict:
        """Which bar the figure reaches."""
        return self.limit.verdict(self.seen)


@dataclass(frozen=True, slots=True)
class Series:
    """One workload: the figure of each candidate in each round."""

    title: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    higher_is_better: bool = False

    def middle(self, candidate: str) -> float:
        """Return the median over the rounds."""
        return median(self.rounds[candidate])

    def over(self, reference: str, candidate: str = OURS) -> tuple[float, ...]:
        """Return the candidate's figure over the reference's, round by round."""
        return tuple(a / b for a, b in zip(self.rounds[candidate], self.rounds[reference], strict=True))

    def versus(self, reference: str, limit: Limit) -> Check:
        """Return the check of ours over ``reference`` against ``limit``."""
        return Check(f"{self.title}: over {reference}", limit, self.over(reference))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bar's measurement gave. ``skipped`` says why there is nothing; ``notes`` are printed below the peers."""

    series: tuple[Series, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str = ""
