"""P14: the memory of 100,000 entries of 1 KB in L1, against the same in a dict.

Each candidate fills itself in a new process; counted is what the process grew by (resident set size).
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import cachebox
import cachetools
import theine

from bench.crew import crew
from bench.figures import OURS, Limit, Outcome, Series
from bench.rounds import Setting, Turn
from cacheclient import AsyncCache, CacheOptions, L1Options

TTL: Final = 300.0
DICT: Final = "dict"
_ROOM: Final = 200_000
_OPTIONS: Final = CacheOptions(l1=L1Options(max_entries=_ROOM, max_bytes=2**30))
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
Pairs = Iterator[tuple[str, bytes]]
Keep = Callable[[Pairs], Awaitable[Any]]


async def _ours(pairs: Pairs) -> AsyncCache:
    cache = AsyncCache.from_url("memory://", namespace="memory", options=_OPTIONS)
    await cache.start()
    for key, value in pairs:
        await cache.set(key, value)
    return cache


async def _dict(pairs: Pairs) -> dict[str, bytes]:
    return dict(pairs)


async def _cachetools(pairs: Pairs) -> Any:
    cache = cachetools.TTLCache[str, bytes](_ROOM, TTL)
    for key, value in pairs:
        cache[key] = value
    return cache


async def _theine(pairs: Pairs) -> Any:
    cache = theine.Cache[str, bytes](_ROOM)
    for key, value in pairs:
        cache.set(key, value, timedelta(seconds=TTL))
    return cache


async def _cachebox(pairs: Pairs) -> Any:
    cache: Any = cachebox.TTLCache(_ROOM, TTL)
    for key, value in pairs:
        cache[key] = value
    return cache


CANDIDATES: Final[dict[str, Keep]] = {
    DICT: _dict,
    OURS: _ours,
    "cachebox (Rust)": _cachebox,
    "cachetools": _cachetools,
    "theine": _theine,
}


class Filler:
    """A process that fills one candidate."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    async def fill(self, entries: int) -> int:
        """Return how many bytes ``entries`` values of 1 KB took; every one an object of its own."""
        rng = random.Random(4)  # noqa: S311  a workload, not a secret
        _give_back()
        before = _resident()
        held = await self._keep((f"user:{number}", rng.randbytes(1024)) for number in range(entries))
        _give_back()
        grown = _resident() - before
        if isinstance(held, AsyncCache):
            await held.close()
        return grown


@asynccontextmanager
async def filler(_url: str, *, candidate: str) -> AsyncIterator[Filler]:
    """Open a process for one candidate."""
    yield Filler(CANDIDATES[candidate])


async def memory(setting: Setting) -> Outcome:
    """P14: megabytes, and ours over a dict's."""
    entries = setting.scaled(100_000, 50_000)
    turns = {name: _turn(setting, name, entries) for name in CANDIDATES}
    series = Series(f"{entries:,} entries", "MB", await setting.take_turns("P14 memory", turns))
    return Outcome((series,), (series.versus(DICT, Limit(1.6, "x", at_most=True)),))


def _turn(setting: Setting, name: str, entries: int) -> Turn[float]:
    async def turn() -> float:
        async with crew(1, partial(filler, candidate=name), setting.redis_url) as (member,):
            grown: int = await member.ask("fill", entries)
        return grown / 1e6

    return turn


def _give_back() -> None:
    """Return free memory to the system: what imports left behind would be filled without being counted."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc
        trim(0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
