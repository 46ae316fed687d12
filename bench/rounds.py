"""Taking turns: each candidate once a round, in an order that rotates, so that drift of the machine hits all alike."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

Turn = Callable[[], Awaitable[T]]


class BenchError(Exception):
    """A measurement that cannot be trusted or cannot be made; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How to measure.

    Attributes:
        rounds: turns of every candidate.
        quick: smaller workloads, to see that everything works; the figures mean little.
        redis_port: of an empty server on 127.0.0.1 that the bars share, each in its own keys.
        traces: folder with access traces, None if there is none.
        tell: takes a line on what is going on.
    """

    rounds: int
    quick: bool
    redis_port: int
    traces: Path | None
    tell: Callable[[str], None]

    @property
    def redis_url(self) -> str:
        """URL of the server."""
        return f"redis://127.0.0.1:{self.redis_port}"

    def scaled(self, full: int, quick: int) -> int:
        """Return the size of a workload."""
        return quick if self.quick else full

    async def take_turns(self, what: str, turns: Mapping[str, Turn[T]]) -> dict[str, list[T]]:
        """Return what each candidate's turn gave in each round."""
        results: dict[str, list[T]] = {name: [] for name in turns}
        for number, order in enumerate(rotations(list(turns), self.rounds), start=1):
            for name in order:
                self.tell(f"{what}: round {number} of {self.rounds}, {name}")
                gc.collect()  # what the candidate before left behind is not this one's cost
                results[name].append(await turns[name]())
        return results


def rotations(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Yield the order of each round: each candidate is first equally often, and none always follows the same other.

    A plain rotation keeps neighbours together, so every second pass over the names runs backwards.
    """
    for number in range(rounds):
        start = number % len(names)
        order = [*names[start:], *names[:start]]
        yield order if number // len(names) % 2 == 0 else order[::-1]
