"""The two façades of the cache behind one interface, so that one loop drives both."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cacheclient import MISSING, AsyncCache, Cache
from cacheclient.cache import Entry
from cacheclient.contract import Tier
from tests.fuzz.database import Database
from tests.fuzz.history import Mode, Op, mode_of, short_lived

_SHORT: Final = 4.0  # seconds that short-lived values live
_FAILING: Final = 0.03  # share of the loads of these that fail
_GROUP: Final = 30  # so many keys in a row share a tag


class SourceError(Exception):
    """The database does not answer: what a stale value is there for."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What is cached: which row, in which version."""

    key: int
    version: int


Answer = tuple[Op, Row | None]


def name(key: int) -> str:
    """Return the cache's key of a row."""
    return f"row-{key}"


def tags_of(key: int) -> tuple[str, ...]:
    """Return the tags of a row."""
    return (f"group-{key // _GROUP}",) if mode_of(key) is Mode.TAG else ()


class Face:
    """A cache as the loops of a worker see it. With ``Cache`` every call blocks the thread, which must be its own."""

    def __init__(self, cache: AsyncCache | Cache, database: Database, load_time: float) -> None:
        """Take the mean time in seconds that a load takes after it has read the row."""
        self._cache: Any = cache
        threads = isinstance(cache, Cache)
        self._load = self._load_plainly if threads else self._load_in_task
        self._load_many = self._load_many_plainly if threads else self._load_many_in_task
        self._database = database
        self._load_time = load_time

    async def read(self, op: Op, keys: list[int]) -> list[Answer]:
        """Read ``keys`` by the call ``op``; return for each how it was answered, and the row or None."""
        if op is Op.GET_MANY:
            found = await done(self._cache.get_many(map(name, keys)))
            return [(op, found.get(name(key))) for key in keys]
        if op is Op.LOAD_MANY:  # the tags and the ttl of the call are those of every key in it
            found = await done(self._cache.get_or_load_many(map(name, keys), self._load_many))
            return [(op, row if isinstance(row := found[name(key)], Row) else None) for key in keys]
        return [await self._read_one(op, key) for key in keys]

    async def _read_one(self, op: Op, key: int) -> Answer:
        if op is Op.GET:
            row = await done(self._cache.get(name(key), MISSING))
            return op, None if row is MISSING else row
        if op is Op.GET_OR_LOAD:
            ttl = _SHORT if short_lived(key) else None
            try:
                return op, await done(self._cache.get_or_load(name(key), self._load, ttl=ttl, tags=tags_of(key)))
            except SourceError:
                return op, None
        entry: Entry | None = await done(self._cache.get_entry(name(key)))
        if entry is None:
            return Op.ENTRY_L2, None
        return (Op.ENTRY_L1 if entry.tier is Tier.L1 else Op.ENTRY_L2), entry.value

    async def set(self, key: int, row: Row) -> bool:
        """Set the row; return whether Redis acknowledged it."""
        return bool(await done(self._cache.set(name(key), row, ttl=_SHORT if short_lived(key) else None)))

    async def invalidate(self, key: int, *, durable: bool) -> bool:
        """Invalidate the key; return whether Redis (with ``durable``: a replica too) acknowledged it."""
        return bool(await done(self._cache.invalidate(name(key), durable=durable)))

    async def forget(self, key: int, mode: Mode) -> bool:
        """Invalidate the key in the way of ``mode``, others along with it; return whether Redis acknowledged it."""
        if mode is Mode.TAG:
            return bool(await done(self._cache.invalidate_tag(*tags_of(key))))
        if mode is Mode.PATTERN:
            return await done(self._cache.invalidate_pattern(f"?ow-{key}")) is not None
        return await self.invalidate(key, durable=mode is Mode.DURABLE)

    async def _load_in_task(self, key: str) -> Row:
        row = self._row(key)
        await asyncio.sleep(self._some_time())
        return row

    def _load_plainly(self, key: str) -> Row:
        row = self._row(key)
        time.sleep(self._some_time())
        return row

    async def _load_many_in_task(self, keys: Sequence[str]) -> dict[str, Row]:
        rows = {key: self._row(key) for key in keys}
        await asyncio.sleep(self._some_time())
        return rows

    def _load_many_plainly(self, keys: Sequence[str]) -> dict[str, Row]:
        rows = {key: self._row(key) for key in keys}
        time.sleep(self._some_time())
        return rows

    def _row(self, key: str) -> Row:
        number = int(key.removeprefix("row-"))
        if short_lived(number) and random.random() < _FAILING:  # noqa: S311  a load, not a secret
            raise SourceError
        return Row(number, self._database[number])

    def _some_time(self) -> float:
        """Return how long a load goes on after it has read its row: the time in which that becomes old."""
        return random.expovariate(1 / self._load_time)


async def done(answer: Any) -> Any:
    """Return the answer of either façade."""
    return await answer if inspect.isawaitable(answer) else answer
