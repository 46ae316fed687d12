"""P1 and P2: what a hit in L1 costs, through the public calls.

The reference is a plain ``dict.get`` in the same loop over the same keys. Time is CPU time of the thread, which other
load on the machine disturbs less than the wall clock. Keys are asked in random order over 10,000 entries, every time as
a new string object with its hash known, as an application has them after formatting and one lookup.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from time import thread_time
from typing import Any, Final

import cachebox
import cachetools
import theine
from aiocache import SimpleMemoryCache  # type: ignore[import-untyped]  # it publishes no types
from cashews import Cache as Cashews
from dogpile.cache import make_region

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import Setting, Turn
from cacheclient import AsyncCache, Cache, CacheOptions, L1Options

ENTRIES: Final = 10_000
TTL: Final = 300.0
DICT: Final = "dict.get"
_VALUE: Final = b"x" * 1024
_ROOMY: Final = CacheOptions(l1=L1Options(max_entries=10**7, max_bytes=2**33, ttl=86_400.0))


def _asked(count: int, entries: int = ENTRIES) -> list[str]:
    rng = random.Random(1)  # noqa: S311  a workload, not a secret
    return [f"user:{rng.randrange(entries)}" for _ in range(count)]


def _loop(get: Callable[[str], Any], keys: list[str], repeats: int = 3) -> Turn[float]:
    """Return a turn that gives the nanoseconds a call takes: the best of some passes."""

    async def turn() -> float:
        best = float("inf")
        for _ in range(repeats):
            began = thread_time()
            for key in keys:
                get(key)
            best = min(best, thread_time() - began)
        return best / len(keys) * 1e9

    return turn


def _awaited(get: Callable[[str], Awaitable[Any]], keys: list[str], repeats: int = 3) -> Turn[float]:
    async def turn() -> float:
        best = float("inf")
        for _ in range(repeats):
            began = thread_time()
            for key in keys:
                await get(key)
            best = min(best, thread_time() - began)
        return best / len(keys) * 1e9

    return turn


async def asynchronous(setting: Setting) -> Outcome:
    """P1: ``await AsyncCache.get`` on a hit, with expiry, freshness gate, counters and sampled latency."""
    plain = {f"user:{number}": _VALUE for number in range(ENTRIES)}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(AsyncCache.from_url("memory://", namespace="bench", options=_ROOMY))
        cashews = Cashews()
        cashews.setup("mem://", size=2 * ENTRIES)
        stack.push_async_callback(cashews.close)
        aiocache = SimpleMemoryCache()
        for key, value in plain.items():
            await ours.set(key, value)
            await cashews.set(key, value, expire=TTL)
            await aiocache.set(key, value, ttl=TTL)
        keys = _asked(setting.scaled(50_000, 5_000))
        few = keys[: len(keys) // 20]  # the slow ones need no more for the same precision
        turns = {
            DICT: _loop(plain.get, keys),
            OURS: _awaited(ours.get, keys),
            "cashews": _awaited(cashews.get, few),
            "aiocache": _awaited(aiocache.get, few),
        }
        hit = Series("a hit, awaited", "ns", await setting.take_turns("P1 a hit", turns))
    grown = await _growth(setting)
    limit = Limit(6.0, "x", stretch=4.0, at_most=True)
    return Outcome((hit, grown), (hit.versus(DICT, limit), _constant(grown)))


async def _growth(setting: Setting) -> Series:
    """Ask the same 1,000 keys of caches that hold more and more: what grows is the cache's doing, not the CPU's."""
    sizes = (1_000, 100_000) if setting.quick else (1_000, 100_000, 1_000_000)
    keys = _asked(setting.scaled(50_000, 5_000), 1_000)
    async with AsyncExitStack() as stack:
        turns = {}
        for size in sizes:
            setting.tell(f"P1 growth: filling {size:,} entries")
            cache = await stack.enter_async_context(AsyncCache.from_url("memory://", namespace="grow", options=_ROOMY))
            for number in range(size):
                await cache.set(f"user:{number}", number)
            turns[f"{size:,} entries"] = _awaited(cache.get, keys)
        return Series("a hit in a larger cache", "ns", await setting.take_turns("P1 growth", turns))


def _constant(grown: Series) -> Check:
    smallest, *_, largest = grown.rounds
    ratios = grown.over(smallest, largest)
    return Check(f"a hit among {largest} over {smallest}", Limit(1.5, "x", at_most=True), ratios)


async def threaded(setting: Setting) -> Outcome:
    """P2: ``Cache.get`` on a hit, in the calling thread."""
    plain = {f"user:{number}": _VALUE for number in range(ENTRIES)}
    with Cache.from_url("memory://", namespace="bench", options=_ROOMY) as ours:
        rust: Any = cachebox.TTLCache(2 * ENTRIES, TTL)
        tlfu = theine.Cache[str, bytes](2 * ENTRIES)
        locked = _Locked()
        dogpile = make_region().configure("dogpile.cache.memory", expiration_time=TTL)
        for key, value in plain.items():
            ours.set(key, value)
            rust[key] = value
            tlfu.set(key, value, timedelta(seconds=TTL))
            locked.set(key, value)
            dogpile.set(key, value)
        keys = _asked(setting.scaled(50_000, 5_000))
        few = keys[: len(keys) // 5]
        turns = {
            DICT: _loop(plain.get, keys),
            OURS: _loop(ours.get, keys),
            "cachebox (Rust)": _loop(rust.get, keys),
            "theine": _loop(tlfu.get, few),
            "cachetools + lock": _loop(locked.get, few),
            "dogpile.cache": _loop(dogpile.get, few),
        }
        hit = Series("a hit", "ns", await setting.take_turns("P2 a hit", turns))
        tlfu.close()
    return Outcome((hit,), (hit.versus(DICT, Limit(4.0, "x", stretch=3.0, at_most=True)),))


class _Locked:
    """cachetools as its documentation shows it for threads: a TTLCache behind a lock."""

    def __init__(self) -> None:
        self._cache = cachetools.TTLCache[str, bytes](2 * ENTRIES, TTL)
        self._lock = threading.RLock()

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._cache.get(key)

    def set(self, key: str, value: bytes) -> None:
        with self._lock:
            self._cache[key] = value
