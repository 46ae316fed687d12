"""P11 and P12: invalidating by pattern among a million keys, and by tag whatever the number of entries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Final

import redis.asyncio
from cashews import Cache as Cashews

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting, Turn
from cacheclient import AsyncCache, CacheOptions, L2Options

MATCHING: Final = 1_000
TIMES: Final = 50  # invalidations of a tag in one turn
_OPTIONS: Final = CacheOptions(l2=L2Options(timeout=30.0))
_PREFIX: Final = "pattern:v1:"
_BATCH: Final = 1_000
_SLOW_US: Final = 100  # commands that take longer are in the slow log, and so in the figure
Sweep = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Swept:
    """What one invalidation took: seconds, and the milliseconds of the longest command in Redis."""

    seconds: float
    longest_ms: float


async def pattern(setting: Setting) -> Outcome:
    """P11: 1,000 keys of a user among a million; the longest command is what other clients of Redis wait for."""
    total = setting.scaled(1_000_000, 50_000)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(
            AsyncCache.from_url(setting.redis_url, namespace="pattern", options=_OPTIONS)
        )
        client = redis.asyncio.Redis.from_url(setting.redis_url)
        stack.push_async_callback(client.aclose)
        cashews = Cashews()
        cashews.setup(setting.redis_url, socket_timeout=30)
        stack.push_async_callback(cashews.close)
        await _fill(setting, client, total)
        sweeps: dict[str, Sweep] = {
            OURS: lambda: ours.invalidate_pattern("user:42:*"),
            "redis-py, SCAN + UNLINK": lambda: _scan(client),
            "redis-py, KEYS + DEL": lambda: _keys(client),
            "cashews": lambda: cashews.delete_match(f"{_PREFIX}user:42:*"),
        }
        turns = {name: _turn(client, sweep) for name, sweep in sweeps.items()}
        found = await setting.take_turns("P11 pattern", turns)
        await client.flushdb()  # the other bars need no million keys
    took = Series(
        f"{MATCHING:,} of {total:,} keys", "s", {name: [one.seconds for one in all_] for name, all_ in found.items()}
    )
    longest = Series("longest command", "ms", {name: [one.longest_ms for one in all_] for name, all_ in found.items()})
    return Outcome(
        (took, longest),
        (
            Check("seconds", Limit(6.0, "s", at_most=True), tuple(took.rounds[OURS])),
            Check("longest command in Redis", Limit(5.0, "ms", at_most=True), tuple(longest.rounds[OURS])),
        ),
    )


async def _fill(setting: Setting, client: redis.asyncio.Redis, total: int) -> None:
    setting.tell(f"P11: storing {total:,} keys")
    await client.config_set("slowlog-log-slower-than", _SLOW_US)
    await client.config_set("slowlog-max-len", 10_000)
    for start in range(0, total, _BATCH):
        await client.mset({f"{_PREFIX}account:{number}": "value" for number in range(start, start + _BATCH)})


def _turn(client: redis.asyncio.Redis, sweep: Sweep) -> Turn[Swept]:
    names = [f"{_PREFIX}user:42:{number}" for number in range(MATCHING)]

    async def turn() -> Swept:
        await client.mset(dict.fromkeys(names, "value"))
        await client.slowlog_reset()
        began = perf_counter()
        await sweep()
        seconds = perf_counter() - began
        slow = await client.slowlog_get(10_000)
        if b"value" in await client.mget(names):
            raise BenchError("an invalidation by pattern left entries behind")
        return Swept(seconds, max((one["duration"] for one in slow), default=_SLOW_US) / 1000)

    return turn


async def _scan(client: redis.asyncio.Redis) -> None:
    found = [key async for key in client.scan_iter(match=f"{_PREFIX}user:42:*", count=500)]
    await client.unlink(*found)


async def _keys(client: redis.asyncio.Redis) -> None:
    await client.delete(*await client.keys(f"{_PREFIX}user:42:*"))


async def tag(setting: Setting) -> Outcome:
    """P12: one tag on few and on many entries."""
    sizes = (10, 1_000, 10_000) if setting.quick else (10, 10_000, 1_000_000)
    async with AsyncCache.from_url(setting.redis_url, namespace="tag", options=_OPTIONS) as cache:
        turns = {}
        for size in sizes:
            setting.tell(f"P12: storing {size:,} tagged entries")
            await _store(cache, size)
            turns[f"{size:,} entries"] = _tag_turn(cache, size)
        series = Series("invalidate_tag", "ms", await setting.take_turns("P12 tag", turns))
    smallest, *_, largest = series.rounds
    ratios = series.over(smallest, largest)
    return Outcome((series,), (Check(f"{largest} over {smallest}", Limit(1.5, "x", at_most=True), ratios),))


async def _store(cache: AsyncCache, size: int) -> None:
    for start in range(0, size, _BATCH):
        numbers = range(start, min(size, start + _BATCH))
        if not await cache.set_many({f"{size}:{number}": number for number in numbers}, tags=(f"of-{size}",)):
            raise BenchError("Redis did not take the tagged entries")
    if await cache.get(f"{size}:0") is None:
        raise BenchError("a tagged entry is not there")


def _tag_turn(cache: AsyncCache, size: int) -> Turn[float]:
    async def turn() -> float:
        took = []
        for _ in range(TIMES):
            began = perf_counter()
            await cache.invalidate_tag(f"of-{size}")
            took.append(perf_counter() - began)
        if await cache.get(f"{size}:0") is not None:
            raise BenchError("a tagged entry was there after the tag was invalidated")
        return median(took) * 1000

    return turn
