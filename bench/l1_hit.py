"""P1 and P2: what a hit in L1 costs, through the public calls.

The reference is a plain ``dict.get`` in the same loop. An application has an id and must build the key, so that belongs
to either side: ``get(f"user:{id}")`` over 10,000 entries in random order. The same with keys built beforehand is shown
too: there the reference does nothing but find a hash that is known, and every ratio is larger.

Time is CPU time of the thread, which other load on the machine disturbs less than the wall clock.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Awaitable, Callable, Sequence
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


def _ids(count: int, entries: int = ENTRIES) -> list[int]:
    rng = random.Random(1)  # noqa: S311  a workload, not a secret
    return [rng.randrange(entries) for _ in range(count)]


def _best(loop: Callable[[Sequence[Any]], None], asked: Sequence[Any]) -> Turn[float]:
    """Return a turn that gives the nanoseconds a call takes: the best of three passes."""

    async def turn() -> float:
        best = float("inf")
        for _ in range(3):
            began = thread_time()
            loop(asked)
            best = min(best, thread_time() - began)
        return best / len(asked) * 1e9

    return turn


def _best_awaited(loop: Callable[[Sequence[Any]], Awaitable[None]], asked: Sequence[Any]) -> Turn[float]:
    async def turn() -> float:
        best = float("inf")
        for _ in range(3):
            began = thread_time()
            await loop(asked)
            best = min(best, thread_time() - began)
        return best / len(asked) * 1e9

    return turn


def _calls(get: Callable[[str], Any], ids: Sequence[int]) -> Turn[float]:
    def loop(asked: Sequence[int]) -> None:
        for number in asked:
            get(f"user:{number}")

    return _best(loop, ids)


def _ready_calls(get: Callable[[str], Any], ids: Sequence[int]) -> Turn[float]:
    def loop(asked: Sequence[str]) -> None:
        for key in asked:
            get(key)

    return _best(loop, [f"user:{number}" for number in ids])


def _awaits(get: Callable[[str], Awaitable[Any]], ids: Sequence[int]) -> Turn[float]:
    async def loop(asked: Sequence[int]) -> None:
        for number in asked:
            await get(f"user:{number}")

    return _best_awaited(loop, ids)


def _ready_awaits(get: Callable[[str], Awaitable[Any]], ids: Sequence[int]) -> Turn[float]:
    async def loop(asked: Sequence[str]) -> None:
        for key in asked:
            await get(key)

    return _best_awaited(loop, [f"user:{number}" for number in ids])


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
        ids = _ids(setting.scaled(50_000, 5_000))
        few = ids[: len(ids) // 20]  # the slow ones need no more for the same precision
        turns = {
            DICT: _calls(plain.get, ids),
            OURS: _awaits(ours.get, ids),
            "cashews": _awaits(cashews.get, few),
            "aiocache": _awaits(aiocache.get, few),
        }
        hit = Series("a hit, awaited", "ns", await setting.take_turns("P1 a hit", turns))
        turns = {DICT: _ready_calls(plain.get, ids), OURS: _ready_awaits(ours.get, ids)}
        ready = Series("a hit, awaited, key built beforehand", "ns", await setting.take_turns("P1 key built", turns))
    grown = await _growth(setting)
    limit = Limit(6.0, "x", stretch=4.0, at_most=True)
    return Outcome((hit, ready, grown), (hit.versus(DICT, limit), _constant(grown)))


async def _growth(setting: Setting) -> Series:
    """Ask the same 1,000 keys of caches that hold more and more: what grows is the cache's doing, not the CPU's."""
    sizes = (1_000, 100_000) if setting.quick else (1_000, 100_000, 1_000_000)
    ids = _ids(setting.scaled(50_000, 5_000), 1_000)
    async with AsyncExitStack() as stack:
        turns = {}
        for size in sizes:
            setting.tell(f"P1 growth: filling {size:,} entries")
            cache = await stack.enter_async_context(AsyncCache.from_url("memory://", namespace="grow", options=_ROOMY))
            for number in range(size):
                await cache.set(f"user:{number}", number)
            turns[f"{size:,} entries"] = _awaits(cache.get, ids)
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
        ids = _ids(setting.scaled(50_000, 5_000))
        few = ids[: len(ids) // 5]
        turns = {
            DICT: _calls(plain.get, ids),
            OURS: _calls(ours.get, ids),
            "cachebox (Rust)": _calls(rust.get, ids),
            "theine": _calls(tlfu.get, few),
            "cachetools + lock": _calls(locked.get, few),
            "dogpile.cache": _calls(dogpile.get, few),
        }
        hit = Series("a hit", "ns", await setting.take_turns("P2 a hit", turns))
        turns = {DICT: _ready_calls(plain.get, ids), OURS: _ready_calls(ours.get, ids)}
        ready = Series("a hit, key built beforehand", "ns", await setting.take_turns("P2 key built", turns))
        tlfu.close()
    return Outcome((hit, ready), (hit.versus(DICT, Limit(4.0, "x", stretch=3.0, at_most=True)),))


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
