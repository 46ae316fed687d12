"""P7: what an application does all day: ``get_or_load`` by 64 tasks, popular ids asked for more often than others.

The reference is the cache that people write themselves: an OrderedDict with expiry behind an asyncio.Lock, redis-py
below it, and prometheus_client counting and timing. It has no answer to a stampede and to stale entries, which makes it
faster, not slower.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from itertools import accumulate
from time import monotonic, perf_counter
from typing import Any, Final

import msgspec
import redis.asyncio
from cashews import Cache as Cashews
from cashews.backends.memory import Memory
from prometheus_client import CollectorRegistry, Counter, Histogram

from bench.figures import OURS, Limit, Outcome, Series
from bench.rounds import BenchError, Setting, Turn
from cacheclient import AsyncCache, CacheOptions, L1Options, L2Options
from cacheclient.contract import LATENCY_BUCKETS

IDS: Final = 20_000
L1_ENTRIES: Final = 2_000
TASKS: Final = 64
TTL: Final = 300
TEXTBOOK: Final = "textbook"
_OPTIONS: Final = CacheOptions(l1=L1Options(max_entries=L1_ENTRIES), l2=L2Options(timeout=30.0))
GetOrLoad = Callable[[str], Awaitable[Any]]


async def load(key: str) -> dict[str, Any]:
    """Stand for the database: a record of about 1 KB, without a delay, so that only the caches' own work counts."""
    return {"id": key, "agent": key * 40, "fonts": [key] * 40}


class Textbook:
    """The two-tier cache of countless articles."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(url, max_connections=TASKS)
        self._local: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._lock = asyncio.Lock()
        registry = CollectorRegistry()
        self._hits = Counter("hits", "Lookups answered.", ["tier"], registry=registry)
        self._misses = Counter("misses", "Lookups not answered.", ["tier"], registry=registry)
        self._seconds = Histogram("lookup_seconds", "Time.", ["tier"], buckets=LATENCY_BUCKETS, registry=registry)

    async def close(self) -> None:
        """Close its connections."""
        await self._redis.aclose()

    async def get_or_load(self, key: str) -> Any:
        """Look into the dict, then into Redis, else load and fill both."""
        began = perf_counter()
        full = f"textbook:v1:{key}"
        async with self._lock:
            held = self._local.get(full)
            if held is not None and held[0] > monotonic():
                self._local.move_to_end(full)
                return self._count("l1", began, held[1])
        self._misses.labels("l1").inc()
        raw: Any = await self._redis.get(full)
        if raw is not None:
            value, tier = msgspec.msgpack.decode(raw), "l2"
        else:
            self._misses.labels("l2").inc()
            value, tier = await load(key), "l3"
            await self._redis.set(full, msgspec.msgpack.encode(value), ex=TTL)
        async with self._lock:
            self._local[full] = (monotonic() + TTL, value)
            if len(self._local) > L1_ENTRIES:
                self._local.popitem(last=False)
        return self._count(tier, began, value)

    def _count(self, tier: str, began: float, value: Any) -> Any:
        self._hits.labels(tier).inc()
        self._seconds.labels(tier).observe(perf_counter() - began)
        return value


async def mixed(setting: Setting) -> Outcome:
    """P7: Zipf-distributed ids (s = 1), ten times as many as L1 holds; Redis holds what was loaded once."""
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            AsyncCache.from_url(setting.redis_url, namespace="mix", options=_OPTIONS)
        )
        textbook = Textbook(setting.redis_url)
        stack.push_async_callback(textbook.close)
        cashews = Cashews()
        local = Memory(size=L1_ENTRIES)
        cashews.setup(setting.redis_url, client_side=True, local_cache=local, max_connections=2 * TASKS)
        stack.push_async_callback(cashews.close)
        await cashews.init()

        async def cashews_get_or_load(key: str) -> Any:
            return await cashews.get_or_set(key, default=partial(load, key), expire=TTL)

        streams = _streams(setting.scaled(1_500, 150))
        turns = {
            OURS: _turn(lambda key: ours.get_or_load(key, load), streams),
            TEXTBOOK: _turn(textbook.get_or_load, streams),
            "cashews, client side": _turn(cashews_get_or_load, streams),
        }
        for fill in turns.values():
            await fill()
        rounds = await setting.take_turns("P7 mix", turns)
        ours_seen = ours.stats()
    series = Series(f"{TASKS} tasks, Zipf", "calls/s", rounds, higher_is_better=True)
    ratio = ours_seen.l1.hit_rate or 0.0
    return Outcome(
        (series,),
        (series.versus(TEXTBOOK, Limit(5.0, "x", stretch=8.0)),),
        (f"{ratio:.0%} of our calls were answered by L1",),
    )


def _streams(length: int) -> list[list[str]]:
    rng = random.Random(3)  # noqa: S311  a workload, not a secret
    order = rng.sample(range(IDS), IDS)
    weights = list(accumulate(1 / rank for rank in range(1, IDS + 1)))
    return [[f"user:{order[bisect(weights, rng.random() * weights[-1])]}" for _ in range(length)] for _ in range(TASKS)]


def _turn(get_or_load: GetOrLoad, streams: list[list[str]]) -> Turn[float]:
    async def caller(keys: list[str]) -> None:
        for key in keys:
            if (await get_or_load(key))["id"] != key:
                raise BenchError(f"a call for {key!r} gave another record")

    async def turn() -> float:
        began = perf_counter()
        await asyncio.gather(*(caller(keys) for keys in streams))
        return sum(map(len, streams)) / (perf_counter() - began)

    return turn
