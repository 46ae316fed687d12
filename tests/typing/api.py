"""The public surface as type checkers see it. Never run: mypy --strict reads it."""

from __future__ import annotations

from typing import Any, assert_type

from cacheclient import (
    MISSING,
    TTL,
    AsyncCache,
    Cache,
    CacheOptions,
    Entry,
    L1Options,
    L2Options,
    LockOptions,
    Stats,
    SyncOptions,
    UnavailableError,
)
from cacheclient.contract import ErrorType, Tier
from cacheclient.metrics import CacheCollector, register


async def load(key: str) -> int:
    return len(key)


async def asynchronous() -> None:
    async with AsyncCache.from_url("memory://", namespace="a", version=2, type=int, options=CacheOptions()) as cache:
        assert_type(cache, AsyncCache)
        assert_type(await cache.get("k"), Any)
        assert_type(await cache.get("k", MISSING), Any)
        assert_type(await cache.get_many(["k"]), dict[str, Any])
        assert_type(await cache.get_or_load("k", load, ttl=TTL.LONG), Any)
        assert_type(await cache.set("k", 1, ttl=5), bool)
        assert_type(await cache.invalidate("k", durable=True), bool)
        assert_type(await cache.get_entry("k"), Entry | None)
        assert_type(cache.stats(), Stats)
        assert_type(register(cache), CacheCollector)
    assert_type(AsyncCache.from_env({}), AsyncCache)


def threads() -> None:
    with Cache.from_url("memory://", namespace="a", codec="json") as cache:
        assert_type(cache, Cache)
        assert_type(cache.get("k", None), Any)
        assert_type(cache.get_many(("k", "l")), dict[str, Any])
        assert_type(cache.get_or_load("k", len), Any)
        assert_type(cache.set("k", 1), bool)
        assert_type(cache.invalidate("k"), bool)
        assert_type(cache.get_entry("k"), Entry | None)
        assert_type(cache.stats() - cache.stats(), Stats)
        assert_type(register(cache), CacheCollector)
    assert_type(Cache.from_env({}), Cache)


def values(entry: Entry, error: UnavailableError, stats: Stats) -> None:
    assert_type(entry.tier, Tier)
    assert_type(entry.age, float)
    assert_type(entry.write_id, str)
    assert_type(error.kind, ErrorType)
    assert_type(error.in_doubt, bool)
    assert_type(stats.combined_hit_rate, float | None)
    assert_type(Stats.merge([stats]), Stats)
    assert_type(stats.l1.lookup.quantile(0.95), float | None)
    assert_type(
        CacheOptions(l1=L1Options(), l2=L2Options(ttl=TTL.SHORT), lock=LockOptions(), sync=SyncOptions()), CacheOptions
    )
    assert_type(CacheOptions.from_env({}).to_env(), dict[str, str])
    L1Options(5)  # type: ignore[call-arg]  # options are given by name
    CacheOptions().l1 = L1Options()  # type: ignore[misc]  # and stay as they are
