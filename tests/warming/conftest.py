"""Sources that a test holds in its hand, and caches over real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from cacheclient import AsyncCache, CacheOptions, L2Options, SyncOptions
from cacheclient.batch import ManyLoader
from cacheclient.warming import Bad, Cursor, Item, PlanSettings

PATIENT: Final = CacheOptions(l2=L2Options(timeout=2.0, connect_timeout=10), sync=SyncOptions(max_staleness=1.0))
FAST: Final = {"hot": PlanSettings(rate=1e6), "full": PlanSettings(rate=1e6, batch=10)}
Open = Callable[..., Awaitable[AsyncCache[Any]]]


@dataclass
class Listed:
    """A source of given items; ``pause`` is awaited before each."""

    given: Sequence[Item | Bad]
    name: str = "listed"
    priority: int = 1
    plans: Collection[str] = ("hot", "full")
    timeout: float = 5.0
    load_many: ManyLoader[Any] | None = None
    pause: Callable[[int], Awaitable[None]] | None = None
    opened: list[Cursor] = field(default_factory=list)

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        self.opened.append(after)
        given = list(self.given)  # what is changed from here on, it does not see
        for number in range(after or 0, len(given)):
            if self.pause is not None:
                await self.pause(number)
            yield given[number]

    def share(self, at: Cursor) -> float | None:
        return (at or 0) / max(1, len(self.given))


def values(count: int, value: Any = "old", **more: Any) -> list[Item | Bad]:
    """Return items with the keys k0, k1, ... and a value each."""
    return [Item(key=f"k{n}", value=value, at=n + 1, where=f"list:{n}", **more) for n in range(count)]


def keys(count: int, **more: Any) -> list[Item | Bad]:
    """Return items with the keys k0, k1, ... to be loaded."""
    return [Item(key=f"k{n}", at=n + 1, where=f"list:{n}", **more) for n in range(count)]


class Database:
    """A loader of many that counts, and that a test may hold."""

    def __init__(self, value: Any = "loaded") -> None:
        self.value = value
        self.calls: list[list[str]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.reading = asyncio.Event()

    async def load_many(self, wanted: Sequence[str]) -> Mapping[str, Any]:
        self.calls.append(list(wanted))
        value = self.value
        self.reading.set()
        await self.may_end.wait()
        return dict.fromkeys(wanted, value)


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Return a function that opens a cache at a URL; all are closed afterwards."""
    caches: list[AsyncCache[Any]] = []

    async def open_cache(url: str, namespace: str, **settings: Any) -> AsyncCache[Any]:
        cache = AsyncCache.from_url(url, namespace=namespace, **{"options": PATIENT, **settings})
        await cache.start()
        caches.append(cache)
        return cache

    yield open_cache
    for cache in caches:
        await cache.close()
