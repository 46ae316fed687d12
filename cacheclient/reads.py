"""Reads that travel together: who waits, for which keys, and what they get."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from time import perf_counter
from typing import Final, Protocol

from cacheclient.entry import Stored
from cacheclient.held import Fence

Found = tuple[Stored | None, float]  # what may be used, and for how many seconds it is fresh: 0, if it is not
NOTHING: Final[Found] = (None, 0.0)


class Waiter(Protocol):
    """Who waits for one read: an ``asyncio.Future``, or what stands for one in another thread."""

    def done(self) -> bool:
        """Return whether nobody waits any more."""

    def set_result(self, found: Found, /) -> None:
        """Take what was found."""


class Batch:
    """Reads that travel together, those of one event-loop tick; by Redis key: who waits, the id, the fence of L1.

    Nearly every key has one waiter, so those who come after the first are kept apart: a list for each key costs more.
    """

    __slots__ = ("began", "fences", "first", "ids", "more")

    def __init__(self) -> None:
        self.began = perf_counter()
        self.first: dict[str, Waiter] = {}
        self.more: dict[str, list[Waiter]] = {}
        self.ids: dict[str, str] = {}  # one object a key: whoever looks it up finds its hash made
        self.fences: dict[str, Fence] = {}

    def add(self, full: str, waiter: Waiter) -> None:
        """Have ``waiter`` told of the Redis key ``full``."""
        if self.first.setdefault(full, waiter) is not waiter:
            self.more.setdefault(full, []).append(waiter)

    def waiters(self, full: str) -> list[Waiter]:
        """Return everybody who waits for ``full``."""
        return [self.first[full], *self.more.get(full, ())]

    def everybody(self) -> Iterator[Waiter]:
        """Yield everybody who waits for anything."""
        return chain(self.first.values(), *self.more.values())
