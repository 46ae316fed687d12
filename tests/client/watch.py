"""Traffic over a cluster that knows which reads would be stale: zero of them is what is promised."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import Any, Final

from cacheclient import AsyncCache, CacheOptions, L1Options, L2Options, SyncOptions
from tests.conftest import until

STALENESS: Final = 2.0  # past which a stalled event loop loses its tenure: machines that run tests stall
OPTIONS: Final = CacheOptions(
    l1=L1Options(jitter=0), l2=L2Options(timeout=1.0, connect_timeout=10), sync=SyncOptions(max_staleness=STALENESS)
)


class Watch:
    """A source with versions, and what each read must not fall behind: 0 stale reads is what it is for."""

    def __init__(self, keys: int) -> None:
        self.version = dict.fromkeys((f"k{n}" for n in range(keys)), 0)
        self._due: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.reads = self.refused = self.writes = 0
        self.stale: list[str] = []

    async def load(self, key: str) -> int:
        return self.version[key]

    async def read(self, cache: AsyncCache, key: str) -> None:
        due = max((version for since, version in self._due[key] if since <= time.monotonic()), default=0)
        found = await cache.get_or_load(key, self.load)
        self.reads += 1
        if found < due:
            self.stale.append(f"{key}: {found} instead of {due}, read {self.reads}")

    def caught_up(self, since: float) -> bool:
        """Say whether a read of any written key is checked by now against a write after the moment ``since``."""
        now = time.monotonic()
        written = list(self.version)[::3]
        return all(any(since + STALENESS <= due <= now for due, _ in self._due[key]) for key in written)

    async def write(self, cache: AsyncCache, key: str, *, durable: bool) -> None:
        self.version[key] += 1
        version = self.version[key]
        self.writes += 1
        if await cache.invalidate(key, durable=durable):
            self._due[key].append((time.monotonic() + STALENESS, version))
        else:
            self.refused += 1

    @contextlib.asynccontextmanager
    async def traffic(self, readers: list[AsyncCache], writer: AsyncCache, *, durable: bool = False) -> Any:
        """Read and write as fast as it goes meanwhile."""
        over = asyncio.Event()

        async def read(cache: AsyncCache) -> None:
            while not over.is_set():
                await asyncio.gather(*(self.read(cache, key) for key in self.version))
                await asyncio.sleep(0.002)

        async def write() -> None:
            while not over.is_set():
                for key in list(self.version)[::3]:
                    await self.write(writer, key, durable=durable)
                    await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            for cache in readers:
                group.create_task(read(cache))
            group.create_task(write())
            try:
                yield self
            finally:
                over.set()


async def listening(*caches: AsyncCache) -> None:
    await until(lambda: all(cache.stats().listener_connected for cache in caches))
