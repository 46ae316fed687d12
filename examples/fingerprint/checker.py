"""Is a value that a reader got right? Rules, then the memory that readers and writer share.

A value is wrong if it belongs to another user, if its body is not the one written under its version, or if it is too
old: no read may return a version older than the newest one whose invalidation was acknowledged more than
``max_staleness`` before the read began. That is the promise of the cache; the time before is its stated bound.

The writer keeps the too-old rule as one number for each user, the floor: the lowest version that a read beginning now
may return. It lifts a floor when ``max_staleness`` has passed since the acknowledgement, never earlier, so a slow
writer can only make the check milder by its own delay (some milliseconds) and can never accuse a correct read. Floors
lie in a file that all processes map; an 8-byte aligned store is seen whole or not at all.
"""

from __future__ import annotations

import mmap
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

from examples.fingerprint.profiles import FIRST_VERSION, Profile, digest

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_FORMAT: Final = "Q"
_WIDTH: Final = 8
_EXAMPLES_KEPT: Final = 5


class Fault(StrEnum):
    """What can be wrong with a value."""

    WRONG_KEY = "another user's value"
    WRONG_BODY = "body does not match user and version"
    TOO_OLD = "older than an acknowledged invalidation allows"


def judge(user: int, value: object, floor: int) -> Fault | None:
    """Return what is wrong with the value read for ``user``, or None. ``floor`` was taken before the read began."""
    if not isinstance(value, Profile):
        return Fault.WRONG_BODY
    if value.user != user:
        return Fault.WRONG_KEY
    if value.digest != digest(user, value.version, value.body):
        return Fault.WRONG_BODY
    return Fault.TOO_OLD if value.version < floor else None


@dataclass(slots=True)
class Findings:
    """What checking found so far; can be pickled and added over processes.

    Attributes:
        reads: reads that returned a value.
        changed: those of users whose row was changed more than ``max_staleness`` ago: only these could be too old.
        faults: wrong values by kind.
        failed: reads that raised, by kind of error.
        examples: the first wrong values and errors, for people.
    """

    reads: int = 0
    changed: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Wrong values in all."""
        return self.faults.total()

    def check(self, user: int, value: object, floor: int) -> None:
        """Judge one value and count the verdict."""
        self.reads += 1
        self.changed += floor > FIRST_VERSION
        if (fault := judge(user, value, floor)) is not None:
            self.faults[fault] += 1
            version = getattr(value, "version", None)
            self._keep(f"user {user}: {fault} (version {version}, at least {floor} was due)")

    def error(self, user: int, error: Exception) -> None:
        """Count a read that raised."""
        self.failed[type(error).__name__] += 1
        self._keep(f"user {user}: {type(error).__name__}: {error}")

    def plus(self, other: Findings) -> Findings:
        """Return both together: what several processes, or several phases, found."""
        return Findings(
            self.reads + other.reads,
            self.changed + other.changed,
            self.faults + other.faults,
            self.failed + other.failed,
            (self.examples + other.examples)[:_EXAMPLES_KEPT],
        )

    def _keep(self, text: str) -> None:
        if len(self.examples) < _EXAMPLES_KEPT:
            self.examples.append(text)


class Floors:
    """The lowest allowed version for each user, in a file that several processes map."""

    def __init__(self, path: Path) -> None:
        """Map the file that ``create`` made."""
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._view = memoryview(self._map).cast(_FORMAT)

    @classmethod
    def create(cls, path: Path, users: int) -> None:
        """Create the file, with the first version as floor for each of ``users``."""
        path.write_bytes(FIRST_VERSION.to_bytes(_WIDTH, sys.byteorder) * users)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._view.release()
        self._map.close()

    def __getitem__(self, user: int) -> int:
        return self._view[user]

    def lift(self, user: int, version: int) -> None:
        """Raise the floor of ``user`` to ``version``; a floor never falls. For one process only."""
        self._view[user] = max(self._view[user], version)


class Promises:
    """Acknowledged invalidations whose ``max_staleness`` (seconds) has not passed yet."""

    def __init__(self, max_staleness: float) -> None:
        self._max_staleness = max_staleness
        self._waiting: deque[tuple[float, int, int]] = deque()

    def acknowledged(self, user: int, version: int, now: float) -> None:
        """Note that the invalidation of ``version``'s predecessors was acknowledged at ``now`` (monotonic seconds)."""
        self._waiting.append((now + self._max_staleness, user, version))

    def due(self, now: float) -> list[tuple[int, int]]:
        """Take and return the users and versions that bind every read from ``now`` on."""
        due = []
        while self._waiting and self._waiting[0][0] < now:
            due.append(self._waiting.popleft()[1:])
        return due
