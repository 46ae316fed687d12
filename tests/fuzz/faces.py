"""The two façades of the cache behind one interface, so that one loop drives both."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from typing import Any

import msgspec

from cacheclient import MISSING, AsyncCache, Cache
from cacheclient.cache import Entry
from cacheclient.contract import Tier
from tests.fuzz.database import Database
from tests.fuzz.history import Op


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What is cached: which row, in which version."""

    key: int
    version: int


Answer = tuple[Op, Row | None]


def name(key: int) -> str:
    """Return the cache's key of a row."""
    return f"row-{key}"


class Face:
    """A cache as the loops of a worker see it. With ``Cache`` every call blocks the thread, which must be its own."""

    def __init__(self, cache: AsyncCache | Cache, database: Database, load_time: float) -> None:
        """Take the mean time in seconds that a load takes after it has read the row."""
        self._cache: Any = cache
        self._load = self._load_plainly if isinstance(cache, Cache) else self._load_in_task
        self._database = database
        self._load_time = load_time

    async def read(self, op: Op, keys: list[int]) -> list[Answer]:
        """Read ``keys`` by the call ``op``; return for each how it was answered, and the row or None."""
        if op is Op.GET_MANY:
            found = await _done(self._cache.get_many(map(name, keys)))
            return [(op, found.get(name(key))) for key in keys]
        return [await self._read_one(op, name(key)) for key in keys]

    async def _read_one(self, op: Op, key: str) -> Answer:
        if op is Op.GET:
            row = await _done(self._cache.get(key, MISSING))
            return op, None if row is MISSING else row
        if op is Op.GET_OR_LOAD:
            return op, await _done(self._cache.get_or_load(key, self._load))
        entry: Entry | None = await _done(self._cache.get_entry(key))
        if entry is None:
            return Op.ENTRY_L2, None
        return (Op.ENTRY_L1 if entry.tier is Tier.L1 else Op.ENTRY_L2), entry.value

    async def set(self, key: int, row: Row) -> bool:
        """Set the row; return whether Redis acknowledged it."""
        return bool(await _done(self._cache.set(name(key), row)))

    async def invalidate(self, key: int, *, durable: bool) -> bool:
        """Invalidate the key; return whether Redis (with ``durable``: a replica too) acknowledged it."""
        return bool(await _done(self._cache.invalidate(name(key), durable=durable)))

    async def _load_in_task(self, key: str) -> Row:
        row = self._row(key)
        await asyncio.sleep(self._some_time())
        return row

    def _load_plainly(self, key: str) -> Row:
        row = self._row(key)
        time.sleep(self._some_time())
        return row

    def _row(self, key: str) -> Row:
        number = int(key.removeprefix("row-"))
        return Row(number, self._database[number])

    def _some_time(self) -> float:
        """Return how long a load goes on after it has read its row: the time in which that becomes old."""
        return random.expovariate(1 / self._load_time)


async def _done(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer
