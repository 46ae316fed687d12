"""A cache that is watched: which calls reach its second tier, and what each does to a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from cacheclient import entry
from cacheclient.clock import Clock
from cacheclient.testing import FakeStore, Fleet

T = TypeVar("T")
NOTHING: Final = "nothing"
OTHER: Final = "no entry"  # a token of a tag
_TAG: Final = ":tag:"
STATES: Final = {b"": NOTHING, entry.VALUE: "value", entry.LEASE: "lease", entry.TOMBSTONE: "tombstone"}


class Watched(FakeStore):
    """The second tier by the rules of the Lua scripts, which notes what each call does to the key it names.

    Attributes:
        seen: for each call that named a key: the state before, the name of the call, the state after.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.seen: list[tuple[str, str, str]] = []

    async def _call(self, name: str, key: str, execute: Callable[[], T]) -> T:
        before = self.state(key)
        result = await super()._call(name, key, execute)
        if OTHER not in (before, self.state(key)) and _TAG not in key:
            self.seen.append((before, name, self.state(key)))
        return result

    def state(self, key: str) -> str:
        """Return what a key holds now."""
        return STATES.get((self._get(key) or b"")[:1], OTHER)


def fleet() -> tuple[Fleet, Watched]:
    """Return a fleet whose second tier is watched."""
    made = Fleet()
    made.store = store = Watched(made.clock)
    return made, store
