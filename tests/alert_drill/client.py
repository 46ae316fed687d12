"""An application process: reads through the cache as it is told, and serves its metrics to Prometheus.

Orders come as words on standard input; the end of that ends the process, so none outlives the drill.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cacheclient import AsyncCache, CacheOptions, L1Options, Limit
from cacheclient.errors import CacheError
from examples.fingerprint.exposition import exposed

_PAUSE: Final = 0.004  # seconds between two reads of a caller
_CALLERS: Final = 4
_POPULAR: Final = 40
_SLOW_LOAD: Final = 0.05
_LOCKED: Final = 0.5  # seconds for which a caller keeps the lock: longer than the others wait for it
_LOCK_WAIT: Final = 0.1
_VALUE: Final = "v" * 1024


class Mode(StrEnum):
    """What the process does from now on."""

    IDLE = "idle"
    HITS = "hits"
    MISSES = "misses"
    FAILING = "failing"
    SLOW = "slow"
    LOCKING = "locking"


class Application:
    """Some callers that read the keys their mode asks for."""

    def __init__(self, cache: AsyncCache[Any]) -> None:
        self._cache = cache
        self._limiter = cache.rate_limiter("reads", Limit(1_000_000, per=1))  # refuses nobody
        self._unread = itertools.count()
        self.mode = Mode.HITS

    async def caller(self) -> None:
        """Read until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE)
            if self.mode is Mode.IDLE:
                continue
            number = next(self._unread)
            key = f"popular:{number % _POPULAR}" if self.mode is Mode.HITS else f"{self.mode}:{number}"
            try:
                await self._limiter.hit("drill")
                await self._cache.get_or_load(key, self._load)
                if self.mode is Mode.LOCKING:
                    async with self._cache.lock("drill", wait=_LOCK_WAIT):
                        await asyncio.sleep(_LOCKED)
            except (LookupError, CacheError):
                continue  # what the loader was told to raise; or Redis is away and the drill is about that

    async def _load(self, key: str) -> str:
        if key.startswith(Mode.FAILING):
            raise LookupError(key)
        if key.startswith(Mode.SLOW):
            await asyncio.sleep(_SLOW_LOAD)
        return _VALUE


async def main(settings: dict[str, Any]) -> None:
    """Run one process until its standard input ends."""
    loop, stdin = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    options = CacheOptions(l1=L1Options(max_entries=1000))
    async with AsyncCache.from_url(
        settings["url"], namespace="drill", version=settings["version"], options=options,
        password_file=settings["password_file"], sentinel_password_file=settings["sentinel_password_file"],
    ) as cache:  # fmt: skip
        application = Application(cache)
        with exposed(cache, settings["name"], Path(settings["discovery"])):
            callers = [asyncio.create_task(application.caller()) for _ in range(_CALLERS)]
            while word := (await stdin.readline()).decode().strip():
                application.mode = Mode(word)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
