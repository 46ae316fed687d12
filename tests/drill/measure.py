"""Runs of one promise, and what was seen in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.local.errors import LocalError
from tests.drill import stage
from tests.drill.promises import PROMISES, Promise
from tests.drill.traffic import healed

BY_NAME: Final = {promise.name: promise for promise in PROMISES}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen of one promise: seconds per run, and what was broken besides."""

    name: str
    limit: float
    seconds: tuple[float, ...]
    problems: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether every run kept the promise."""
        return bool(self.seconds) and not self.problems and max(self.seconds) <= self.limit


def measure(name: str, runs: int, down_after: float) -> Outcome:
    """Run one promise on a set of its own, which is healed before each run."""
    promise = BY_NAME[name]
    seconds: list[float] = []
    problems: list[str] = []
    rounds = [1] * runs if promise.stage == "small_disk" else [runs]  # its master has to be the node with the disk
    for count in rounds:
        try:
            _rounds(promise, count, down_after, seconds, problems)
        except (AssertionError, LocalError, OSError) as error:
            problems.append(f"{type(error).__name__}: {error}")
    return Outcome(name, promise.limit(down_after), tuple(seconds), tuple(problems))


def _rounds(promise: Promise, count: int, down_after: float, seconds: list[float], problems: list[str]) -> None:
    with getattr(stage, promise.stage)(down_after) as staged:
        environment = staged[0] if isinstance(staged, tuple) else staged
        for _ in range(count):
            healed(environment)
            seen, problem = promise.cause(staged)
            seconds.append(seen)
            problems.extend([problem] if problem else [])
