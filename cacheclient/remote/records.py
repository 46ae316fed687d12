"""Small facts that pods share beside the entries of a cache: records with an expiry, and logs of bounded length.

In Redis, or in this process where there is none (``memory://``). Records are not cached: each is one round trip.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from cacheclient.clock import Clock, boottime
from cacheclient.errors import UnavailableError
from cacheclient.remote.pipe import Argument

_TRIES: Final = 3  # a record may expire between the attempt to create it and the look at what was in the way


class Records(Protocol):
    """Keeps records and logs. Keys are whole Redis keys, times seconds; every method may raise UnavailableError."""

    async def create(self, key: str, data: bytes, seconds: float) -> bytes | None:
        """Store ``data`` unless there is a record; return what was there, None if ``data`` is stored now.

        Asking again with the same ``data`` is safe: the reply to the first request may have been lost.
        """

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``, whatever stands there."""

    async def read(self, key: str) -> bytes | None:
        """Return the record, None if there is none."""

    async def remove(self, key: str) -> None:
        """Remove the record."""

    async def append(self, key: str, fields: Mapping[str, str], length: int) -> None:
        """Add ``fields`` to a log that keeps about the last ``length`` of them."""

    async def newest(self, key: str, before: str, count: int) -> list[tuple[str, dict[str, str]]]:
        """Return ``count`` of a log at most, with their ids, the newest first: those before the id ``before``.

        Without ``before`` the newest of all.
        """


class Commands(Protocol):
    """What ``RedisRecords`` needs of ``RedisStore``."""

    async def command(self, key: str, *words: Argument) -> Any:
        """Send a command to the master of ``key``."""


class RedisRecords:
    """Records as strings, logs as streams."""

    def __init__(self, store: Commands) -> None:
        self._store = store

    async def create(self, key: str, data: bytes, seconds: float) -> bytes | None:
        """SET NX; GET if that did nothing."""
        for _ in range(_TRIES):
            if await self._store.command(key, "SET", key, data, "NX", "PX", _ms(seconds)) is not None:
                return None
            held = await self.read(key)
            if held is not None:
                return None if held == data else held
        raise UnavailableError(f"{key} comes and goes")

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """SET."""
        await self._store.command(key, "SET", key, data, "PX", _ms(seconds))

    async def read(self, key: str) -> bytes | None:
        """GET."""
        held: bytes | None = await self._store.command(key, "GET", key)
        return held

    async def remove(self, key: str) -> None:
        """DEL."""
        await self._store.command(key, "DEL", key)

    async def append(self, key: str, fields: Mapping[str, str], length: int) -> None:
        """XADD, which trims the stream about to its length: exactly would cost Redis more."""
        words = [word for field in fields.items() for word in field]
        await self._store.command(key, "XADD", key, "MAXLEN", "~", length, "*", *words)

    async def newest(self, key: str, before: str, count: int) -> list[tuple[str, dict[str, str]]]:
        """XREVRANGE."""
        end = f"({before}" if before else "+"
        found = await self._store.command(key, "XREVRANGE", key, end, "-", "COUNT", count)
        return [(name.decode(), _fields(words)) for name, words in found]


class LocalRecords:
    """The same in this process: for one process alone."""

    def __init__(self, clock: Clock = boottime) -> None:
        self._clock = clock
        self._held: dict[str, tuple[bytes, float]] = {}  # key -> data, expiry
        self.logs: dict[str, deque[tuple[str, dict[str, str]]]] = {}  # key -> id and fields, the newest last
        self._added = 0

    async def create(self, key: str, data: bytes, seconds: float) -> bytes | None:
        """Store ``data`` unless there is a record."""
        held = await self.read(key)
        if held is not None:
            return None if held == data else held
        await self.put(key, data, seconds)
        return None

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``, and forget what has expired."""
        now = self._clock()
        self._held = {name: record for name, record in self._held.items() if record[1] > now}
        self._held[key] = (data, now + seconds)

    async def read(self, key: str) -> bytes | None:
        """Return the record, None if there is none."""
        data, expiry = self._held.get(key, (None, 0.0))
        return data if expiry > self._clock() else None

    async def remove(self, key: str) -> None:
        """Remove the record."""
        self._held.pop(key, None)

    async def append(self, key: str, fields: Mapping[str, str], length: int) -> None:
        """Add ``fields`` to the log."""
        self._added += 1
        name = f"{int(time.time() * 1000)}-{self._added}"
        self.logs.setdefault(key, deque(maxlen=length)).append((name, dict(fields)))

    async def newest(self, key: str, before: str, count: int) -> list[tuple[str, dict[str, str]]]:
        """Return some of the log."""
        logged = [(name, dict(fields)) for name, fields in reversed(self.logs.get(key, ()))]
        start = next((place + 1 for place, (name, _) in enumerate(logged) if name == before), 0)
        return logged[start : start + count]


def _fields(words: list[bytes]) -> dict[str, str]:
    texts = [word.decode("utf-8", "replace") for word in words]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
