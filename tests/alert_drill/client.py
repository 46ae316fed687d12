"""An application process: uses the cache as it is told, and serves its metrics to Prometheus.

Orders come as words on standard input; the end of that ends the process, so none outlives the drill.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cacheclient import AsyncCache, CacheOptions, L1Options, Limit, SyncOptions, TuningOptions, Versions
from cacheclient.errors import CacheError
from examples.fingerprint.exposition import exposed

_PAUSE: Final = 0.004  # seconds between two turns of a caller
_POPULAR: Final = 40
_SLOW_LOAD: Final = 0.05
_AT_ONCE: Final = 10  # slow loads of a caller at the same time
_BLOCKED: Final = 0.3  # seconds for which a caller blocks the event loop, and with it all others
_BETWEEN_ROWS: Final = 0.4  # seconds
_LOCKED: Final = 0.5  # seconds for which a caller keeps the lock: longer than the others wait for it
_LOCK_WAIT: Final = 0.1
_WRITTEN: Final = 100  # keys that a storm writes again and again
_SWING: Final = 1.2  # seconds for which a restless process leaves its L1 full, or empty
_KIB: Final = 1024


class Mode(StrEnum):
    """What the process does from now on."""

    HITS = "hits"
    MISSES = "misses"
    FAILING = "failing"
    SLOW = "slow"
    LOCKING = "locking"
    LIMITED = "limited"
    BLOCKING = "blocking"
    TOO_EARLY = "too-early"
    STORM = "storm"
    SWING = "swing"


class Kind(StrEnum):
    """What sort of process it is."""

    USUAL = "usual"
    NEWER = "newer"
    RESTLESS = "restless"
    SENSITIVE = "sensitive"


@dataclass(frozen=True, slots=True)
class _Nature:
    """What a kind of process is made of, and what it does until it is told otherwise."""

    options: CacheOptions
    namespace: str = "drill"
    version: int = 1
    mode: Mode = Mode.HITS
    callers: int = 4


_USUAL: Final = CacheOptions(l1=L1Options(max_entries=1000), sync=SyncOptions(audit=1))  # audits all: there are few
_NATURES: Final = {
    Kind.USUAL: _Nature(_USUAL),
    Kind.NEWER: _Nature(_USUAL, version=2),
    # Its tuning waits for nothing, and two loads take turns.
    Kind.RESTLESS: _Nature(
        CacheOptions(
            l1=L1Options(max_bytes=44 * _KIB), tuning=TuningOptions(interval=0.2, hold=0, cooldown=1, evict_to=0.7)
        ),
        "restless", mode=Mode.SWING, callers=1,
    ),
    # It takes for a storm what any machine can make.
    Kind.SENSITIVE: _Nature(CacheOptions(sync=SyncOptions(max_pushes=50)), "sensitive", mode=Mode.STORM, callers=1),
}  # fmt: skip


class Application:
    """Some callers that do what their mode asks for. ``committed`` is the source's version of the rows that changed."""

    def __init__(self, cache: AsyncCache[Any], mode: Mode, committed: dict[str, int]) -> None:
        self._cache = cache
        self._committed = committed
        self._limiter = cache.rate_limiter("reads", Limit(1_000_000, per=1))  # refuses nobody
        self._unread = itertools.count()
        self._blocking = asyncio.Lock()
        self.mode = mode

    async def caller(self) -> None:
        """Take turns until cancelled."""
        turns = {
            Mode.HITS: self._read_popular, Mode.MISSES: self._read, Mode.FAILING: self._read,
            Mode.SLOW: self._read_slowly, Mode.LOCKING: self._lock, Mode.LIMITED: self._read_limited,
            Mode.BLOCKING: self._block, Mode.TOO_EARLY: self._invalidate_too_early, Mode.STORM: self._write_many,
            Mode.SWING: self._fill_and_empty,
        }  # fmt: skip
        while True:
            await asyncio.sleep(_PAUSE)
            try:
                await turns[self.mode]()
            except (LookupError, CacheError):
                continue  # what the loader was told to raise; or Redis is away and the drill is about that

    # -- turns --------------------------------------------------------------------------------------------------------

    async def _read_popular(self) -> None:
        await self._cache.get_or_load(f"popular:{next(self._unread) % _POPULAR}", self._load)

    async def _read(self) -> None:
        await self._cache.get_or_load(f"{self.mode}:{next(self._unread)}", self._load)

    async def _read_slowly(self) -> None:
        await asyncio.gather(*(self._read() for _ in range(_AT_ONCE)))

    async def _read_limited(self) -> None:
        await self._limiter.hit("drill")
        await self._read_popular()

    async def _lock(self) -> None:
        async with self._cache.lock("drill", wait=_LOCK_WAIT):
            await asyncio.sleep(_LOCKED)

    async def _block(self) -> None:
        async with self._blocking:
            under_way = asyncio.ensure_future(self._cache.invalidate(f"popular:{next(self._unread) % _POPULAR}"))
            await asyncio.sleep(0)
            time.sleep(_BLOCKED)  # noqa: ASYNC251  as applications do by mistake
            await under_way
            await asyncio.sleep(_BLOCKED)  # its listener has to be heard, or it would be taken for lost

    async def _invalidate_too_early(self) -> None:
        key = f"row:{next(self._unread)}"
        await self._cache.get_or_load(key, self._load)
        await self._cache.invalidate(key)
        await self._cache.get_or_load(key, self._load)  # another reader, before the writer has committed
        self._committed[key] = 1
        await asyncio.sleep(_BETWEEN_ROWS)

    async def _write_many(self) -> None:
        await self._cache.set_many({f"written:{number}": self._row("") for number in range(_WRITTEN)})

    async def _fill_and_empty(self) -> None:
        for _ in range(2 * _POPULAR):  # the second time from L2, which fills L1
            await self._read_popular()
        await asyncio.sleep(_SWING)
        await self._cache.clear()
        await asyncio.sleep(_SWING)

    async def _load(self, key: str) -> str:
        if key.startswith(Mode.FAILING):
            raise LookupError(key)
        if key.startswith(Mode.SLOW):
            await asyncio.sleep(_SLOW_LOAD)
        return self._row(key)

    def _row(self, key: str) -> str:
        return f"{self._committed.get(key, 0)} {'v' * _KIB}"


async def main(settings: dict[str, Any]) -> None:
    """Run one process until its standard input ends."""
    loop, stdin, nature = asyncio.get_running_loop(), asyncio.StreamReader(), _NATURES[Kind(settings["kind"])]
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    rows: dict[str, int] = {}
    async with AsyncCache.from_url(
        settings["url"], namespace=nature.namespace, version=nature.version, options=nature.options,
        versions=Versions(version_of=lambda key: rows.get(key, 0), version_in=lambda row: int(row.split(" ")[0])),
        password_file=settings["password_file"], sentinel_password_file=settings["sentinel_password_file"],
    ) as cache:  # fmt: skip
        application = Application(cache, nature.mode, rows)
        with exposed(cache, settings["name"], Path(settings["discovery"])):
            callers = [asyncio.create_task(application.caller()) for _ in range(nature.callers)]
            while word := (await stdin.readline()).decode().strip():
                application.mode = Mode(word)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
