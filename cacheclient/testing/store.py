"""The second tier in memory, by the rules of the Lua scripts; the test may hold, fail or delay any call."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from cacheclient import entry
from cacheclient.clock import Clock
from cacheclient.errors import UnavailableError
from cacheclient.keys import Glob
from cacheclient.remote import END, SCAN_COUNT, Held, Leased, Step, Take
from cacheclient.testing.answers import Answers

T = TypeVar("T")


class Call(NamedTuple):
    """A call that reached the store: the name of the method, and the whole Redis key (or pattern, or channel)."""

    name: str
    key: str


class Hold:
    """One call of the store that stops: before it is executed, or with its reply on the way back. For asyncio.

    Attributes:
        reached: set when the call has come to the point where it stops.
        go: set by the test, to let it go on.
        lost: whether the caller gets an error instead, as after a time-out: it cannot know whether it was executed.
    """

    def __init__(self, *, executed: bool, lost: bool = False) -> None:
        self.executed = executed
        self.lost = lost
        self.reached = asyncio.Event()
        self.go = asyncio.Event()


class Hears(Protocol):
    """What a store tells of changes and events: the tracking connection of a cache."""

    def changed(self, key: str) -> None:
        """Take note that ``key`` was written, deleted, or expired."""

    def message(self, data: bytes) -> None:
        """Take an event of the channels."""


class FakeStore:
    """An L2 in memory that follows the Lua scripts, expiry and pushes included. Threads may share it.

    Attributes:
        data: the stored bytes by whole Redis key. A test may read and write them: no push tells of that.
        log: every call that reached the store, in order.
        away: whether every call fails, as while Redis is unreachable.
        replicas: whether replicas keep up, so that durable invalidations are acknowledged.
        audience: who is told of every change and every event.
    """

    echoes = True

    def __init__(self, clock: Clock) -> None:
        self.data: dict[str, bytes] = {}
        self.log: list[Call] = []
        self.away = False
        self.replicas = True
        self.audience: list[Hears] = []
        self._clock = clock
        self._ends: dict[str, float] = {}
        self._holds: defaultdict[str, deque[Hold]] = defaultdict(deque)
        self._atomic = threading.RLock()
        self._answers = Answers()

    # -- for tests ----------------------------------------------------------------------------------------------------

    def hold(self, call: str, *, executed: bool) -> Hold:
        """Stop the next call of this name: before it is executed, or with its reply on the way back.

        Held calls are let go in any order, so this also delays and reorders them.
        """
        held = Hold(executed=executed)
        self._holds[call].append(held)
        return held

    def fail(self, call: str, *, executed: bool = False, times: int = 1) -> None:
        """Have the next ``times`` calls of this name end with an error: executed all the same, or not."""
        for _ in range(times):
            failure = Hold(executed=executed, lost=True)
            failure.go.set()
            self._holds[call].append(failure)

    def called(self, *names: str) -> list[str]:
        """Return the keys of the calls of these names that reached the store, in order."""
        return [call.key for call in self.log if call.name in names]

    def copy(self) -> dict[str, bytes]:
        """Return what is stored, as a replica has it at this moment; see ``Fleet.failover``."""
        return dict(self.data)

    def restore(self, data: dict[str, bytes]) -> None:
        """Hold ``data`` instead, as a promoted replica does; nobody is told."""
        with self._atomic:
            self.data = dict(data)

    # -- the second tier ----------------------------------------------------------------------------------------------

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """Give the stored bytes, or None, for each key. It is logged, held and failed as one call."""
        self._answers.give(keys, take, self._call("fetch", " ".join(keys), lambda: [self._get(key) for key in keys]))

    async def write_ids(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the write ids of the values."""
        return await self._call(
            "write_ids", " ".join(keys), lambda: [entry.value_id(self._get(k) or b"") for k in keys]
        )

    async def inspect(self, keys: Sequence[str]) -> list[Held]:
        """Return what each key holds."""

        def execute() -> list[Held]:
            return [Held(self._get(key), self._ends.get(key, math.inf) - self._clock()) for key in keys]

        return await self._call("inspect", " ".join(keys), execute)

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        """Return the value, or take the lease (lease.lua)."""

        def execute() -> Leased:
            raw = self._get(key) or b""
            if raw[:1] == entry.LEASE and len(raw) == 1 + entry.ID_BYTES:
                return Leased()
            if raw[:1] == entry.VALUE and raw[9:11] == readable and raw[1:9] != reject:
                return Leased(raw)
            self._set(key, entry.lease(token), seconds)
            return Leased(granted=True)

        return await self._call("lease", key, execute)

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:
        """Compare and set (fill.lua)."""

        def execute() -> bool:
            if self._write_id(key) != expected:
                return False
            self._set(key, data, self._ends.get(key, math.inf) - self._clock() if seconds is None else seconds)
            return True

        return await self._call("fill", key, execute)

    async def claim(self, key: str, token: bytes, seconds: float) -> bool:
        """SET NX."""

        def execute() -> bool:
            free = self._get(key) is None
            if free:
                self._set(key, entry.lease(token), seconds)
            return free

        return await self._call("claim", key, execute)

    async def mark(self, key: str, token: bytes, seconds: float | None) -> tuple[bytes, float]:
        """Read or create a marker (mark.lua)."""
        least = math.inf if seconds is None else seconds

        def execute() -> tuple[bytes, float]:
            marker = self._get(key)
            left = self._ends.get(key, math.inf) - self._clock()
            if marker is None or left < least:
                left = 2 * least
                self._set(key, marker or token, left)
            return marker or token, left

        return await self._call("mark", key, execute)

    async def remark(self, key: str, token: bytes, seconds: float | None) -> None:
        """Replace a marker's token."""
        await self._call("remark", key, lambda: self._set(key, token, seconds or math.inf))

    async def release(self, key: str, token: bytes) -> None:
        """Give the lease back (release.lua)."""

        def execute() -> None:
            if self._get(key) == entry.lease(token):
                self._delete(key)

        await self._call("release", key, execute)

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``."""
        await self._call("put", key, lambda: self._set(key, data, seconds))

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        """Store a tombstone."""
        await self._call("bury", key, lambda: self._set(key, entry.tombstone(write_id), seconds))
        return durable and self.replicas

    async def repair(self, key: str, expected: bytes, write_id: bytes, seconds: float) -> bool:
        """Compare and bury (repair.lua)."""

        def execute() -> bool:
            if self._write_id(key) in (expected, b""):
                return False
            self._set(key, entry.tombstone(write_id), seconds)
            return True

        return await self._call("repair", key, execute)

    async def bury_matching(
        self, pattern: str, write_id: bytes, seconds: float, only: Callable[[str], bool] | None = None
    ) -> AsyncIterator[int]:
        """Find first, bury then, as SCAN and bury.lua do: what is gone meanwhile is left alone."""
        found = [key for key in self._matching(pattern) if only is None or only(key)]

        def execute() -> int:
            standing = {key: raw for key in found if (raw := self._get(key)) is not None}
            for key in standing:
                self._set(key, entry.tombstone(write_id), seconds)
            return sum(raw[:1] == entry.VALUE for raw in standing.values())

        yield await self._call("bury_matching", pattern, execute)

    async def drop_matching(self, pattern: str) -> AsyncIterator[int]:
        """Delete what matches."""

        def execute() -> int:
            found = self._matching(pattern)
            for key in found:
                self._delete(key)
            return len(found)

        yield await self._call("drop_matching", pattern, execute)

    async def scan(
        self,
        pattern: str,
        count: int = SCAN_COUNT,  # noqa: ARG002
        at: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Step]:
        """Yield the keys that match, all in one step."""
        found = [key.encode() for key in self._matching(pattern)]
        if (at or {}).get("fake") != END:
            yield Step(await self._call("scan", pattern, lambda: found), "fake", END)

    async def adopt(self, key: str, data: bytes, seconds: float | None) -> bool:
        """Compare and set (adopt.lua)."""

        def execute() -> bool:
            found = self._get(key) or b""
            if found and (found[:1] != entry.VALUE or found[12:20] >= data[12:20]):
                return False
            self._set(key, data, math.inf if seconds is None else seconds)
            return True

        return await self._call("adopt", key, execute)

    async def unlink(self, keys: Sequence[str | bytes]) -> int:
        """Remove what there is."""

        def execute() -> int:
            standing = [name for name in names if self._get(name) is not None]
            for name in standing:
                self._delete(name)
            return len(standing)

        names = [key.decode() if isinstance(key, bytes) else key for key in keys]
        return await self._call("unlink", " ".join(names), execute)

    def publish(self, channel: str, message: bytes) -> None:
        """Send an event to every cache of the fleet; it is lost while the store is away."""
        if not self.away:
            self.log.append(Call("publish", channel))
            for audience in list(self.audience):
                audience.message(message)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _call(self, name: str, key: str, execute: Callable[[], T]) -> T:
        if self.away:
            raise UnavailableError("the store is away")
        self.log.append(Call(name, key))
        waiting = self._holds[name]
        if not waiting:
            return self._execute(execute)
        hold = waiting.popleft()
        result = [self._execute(execute)] if hold.executed else []
        hold.reached.set()
        await hold.go.wait()
        if hold.lost:
            raise UnavailableError("the answer is lost", in_doubt=True)
        return result[0] if result else self._execute(execute)

    def _execute(self, execute: Callable[[], T]) -> T:
        with self._atomic:
            return execute()

    def _get(self, key: str) -> bytes | None:
        if self._clock() >= self._ends.get(key, math.inf):
            self._delete(key)
        return self.data.get(key)

    def _matching(self, pattern: str) -> list[str]:
        matches = Glob(pattern).matches
        return [key for key in list(self.data) if matches(key) and self._get(key) is not None]

    def _write_id(self, key: str) -> bytes:
        return (self._get(key) or b"")[1 : 1 + entry.ID_BYTES]

    def _set(self, key: str, data: bytes, seconds: float) -> None:
        self.data[key] = data
        self._ends[key] = self._clock() + seconds
        self._changed(key)

    def _delete(self, key: str) -> None:
        self.data.pop(key, None)
        self._ends.pop(key, None)
        self._changed(key)

    def _changed(self, key: str) -> None:
        for audience in list(self.audience):
            audience.changed(key)
