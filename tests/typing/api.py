"""The public surface as type checkers see it. Never run: mypy --strict and basedpyright read it (``make lint``).

Lines with an ignore must be refused: both checkers report an ignore that they do not need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_type

import msgspec

from cacheclient import (
    MISSING,
    TTL,
    AsyncCache,
    AsyncRateLimiter,
    Cache,
    CacheOptions,
    Decision,
    Entry,
    Explanation,
    Finding,
    L1Options,
    L2Options,
    Limit,
    LockOptions,
    Missing,
    RateLimiter,
    Stats,
    SyncOptions,
    UnavailableError,
)
from cacheclient.contract import ErrorType, Tier
from cacheclient.metrics import CacheCollector, register


class Profile(msgspec.Struct, frozen=True):
    name: str


@dataclass
class Row:
    size: int


async def load(key: str) -> Profile:
    return Profile(key)


async def load_or_not(key: str) -> Profile | Missing:
    return MISSING if key else Profile(key)


def load_row(key: str) -> Row:
    return Row(len(key))


async def load_number(key: str) -> int:
    return len(key)


async def load_many(keys: Sequence[str]) -> Mapping[str, Profile | Missing | Exception]:
    return {key: Profile(key) for key in keys}


async def asynchronous() -> None:
    cache = AsyncCache.from_url("memory://", namespace="a", version=2, type=Profile, options=CacheOptions())
    assert_type(cache, AsyncCache[Profile])
    async with cache as opened:
        assert_type(opened, AsyncCache[Profile])
        assert_type(await cache.get("k"), Profile | None)
        assert_type(await cache.get("k", 5), Profile | int)
        assert_type(await cache.get_many(["k"]), dict[str, Profile])
        assert_type(await cache.get_or_load("k", load, ttl=TTL.LONG, tags=["t"]), Profile)
        assert_type(await cache.get_or_load("k", load_or_not, negative_ttl=5), Profile | Missing)
        assert_type(await cache.get_or_load_many(["k"], load_many), dict[str, Profile | Missing | Exception])
        assert_type(await cache.set("k", Profile("x"), ttl=5), bool)
        assert_type(await cache.set_many({"k": Profile("x")}), bool)
        assert_type(await cache.invalidate("k", durable=True), bool)
        assert_type(await cache.get_entry("k"), Entry[Profile] | None)
        assert_type(await cache.explain("k"), Explanation)
        assert_type((await cache.doctor()).findings, tuple[Finding, ...])
        assert_type(await cache.drop_version(1), int | None)
        assert_type(cache.stats(), Stats)
        assert_type(register(cache), CacheCollector)

        found = await cache.get("k", MISSING)
        assert_type(found, Profile | Missing)
        if found is MISSING:
            return
        assert_type(found, Profile)  # ``is`` narrows

        await cache.set("k", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await cache.set_many({"k": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
        await cache.get_or_load("k", load_number)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
        await cache.get_or_load("k", load, ttl="5")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def threads() -> None:
    with Cache.from_url("memory://", namespace="a", type=Row, codec="json") as cache:
        assert_type(cache, Cache[Row])
        assert_type(cache.get("k"), Row | None)
        assert_type(cache.get("k", MISSING), Row | Missing)
        assert_type(cache.get_many(("k", "l")), dict[str, Row])
        assert_type(cache.get_or_load("k", load_row), Row)
        assert_type(cache.set("k", Row(1)), bool)
        assert_type(cache.invalidate("k"), bool)
        assert_type(cache.get_entry("k"), Entry[Row] | None)
        assert_type(cache.explain("k").to_dict(), dict[str, Any])
        assert_type(cache.stats() - cache.stats(), Stats)
        assert_type(register(cache), CacheCollector)

        cache.set("k", 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        cache.get_or_load("k", len)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


def decorated(cache: AsyncCache[Any], threads_cache: Cache[Any]) -> None:
    @cache.cached("profile:{browser}:{major}", ttl=60, tags=["browser:{browser}"])
    async def profile(browser: str, major: int = 1) -> Profile:
        return Profile(f"{browser}{major}")

    @threads_cache.cached("{size}", ignore=["size"])
    def row(size: int) -> Row:
        return Row(size)

    class Service:
        @cache.cached("{number}")
        async def twice(self, number: int) -> float:
            return 2.0 * number

        @threads_cache.cached("{number}")
        def thrice(self, number: int) -> float:
            return 3.0 * number

    async def calls() -> None:
        assert_type(await profile("firefox", major=2), Profile)
        assert_type(profile.key("firefox"), str)
        assert_type(await profile.invalidate("firefox", 2), bool)
        assert_type(await profile.refresh("firefox"), Profile)
        assert_type(row(5), Row)
        assert_type(row.refresh(size=5), Row)
        assert_type(row.invalidate(5), bool)
        assert_type(await Service().twice(2), float)
        assert_type(Service().twice.key(2), str)
        assert_type(await Service().twice.refresh(number=2), float)
        assert_type(Service().thrice(2), float)
        assert_type(Service().thrice.invalidate(2), bool)
        await profile(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await profile.invalidate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        row("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await Service().twice("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        Service().thrice.key()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    @cache.cached("{key}")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # not async
    def plain(key: str) -> str:
        return key

    @cache.cached("{key}", fresh=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    async def forced(key: str) -> str:
        return key

    del calls, plain, forced


def limits(cache: AsyncCache[Profile], threads: Cache[Profile]) -> None:
    async def look_up(subject: str) -> Limit | None:
        return Limit(5, per=60) if subject else None

    limiter, plain = cache.rate_limiter("a", look_up, outage="closed"), threads.rate_limiter("a", Limit(5))
    assert_type(limiter, AsyncRateLimiter)
    assert_type(plain, RateLimiter)
    assert_type(plain.hit("ann", 2), Decision)
    assert_type(plain.hit("ann").remaining, int | None)

    @limiter.limited("{key}")
    async def search(key: str) -> bytes:
        assert_type(await limiter.acquire(key, wait=1), Decision)
        return b""

    @plain.limited("{key}")
    def find(key: str) -> bytes:
        return key.encode()

    async def calls() -> None:
        assert_type(await search("a"), bytes)
        assert_type(find("a"), bytes)
        find(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    cache.rate_limiter("a", outage="half")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    threads.rate_limiter("a", look_up)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    del calls


def other_types() -> None:
    assert_type(AsyncCache.from_url("memory://", namespace="a"), AsyncCache[Any])
    assert_type(AsyncCache.from_url("memory://", namespace="a", type=dict[str, int]), AsyncCache[dict[str, int]])
    assert_type(AsyncCache.from_url("memory://", namespace="a", type=int | None), AsyncCache[Any])  # no class: say it
    optional: AsyncCache[int | None] = AsyncCache.from_url("memory://", namespace="a", type=int | None)
    assert_type(AsyncCache.from_env({}, type=Profile), AsyncCache[Profile])
    assert_type(Cache.from_env({}, type=Profile), Cache[Profile])
    assert_type(Cache.from_env({}), Cache[Any])
    AsyncCache.from_url("memory://", namespace="a", colour="red")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    del optional


def values(entry: Entry[Profile], error: UnavailableError, stats: Stats) -> None:
    assert_type(entry.value, Profile)
    assert_type(entry.tier, Tier)
    assert_type(entry.age, float)
    assert_type(entry.write_id, str)
    assert_type(entry.remaining, float)
    assert_type(entry.tags, tuple[str, ...])
    assert_type(error.kind, ErrorType)
    assert_type(error.in_doubt, bool)
    assert_type(stats.combined_hit_rate, float | None)
    assert_type(Stats.merge([stats]), Stats)
    assert_type(stats.l1.lookup.quantile(0.95), float | None)
    options = CacheOptions(l1=L1Options(), l2=L2Options(ttl=TTL.SHORT), lock=LockOptions(), sync=SyncOptions())
    assert_type(options, CacheOptions)
    assert_type(CacheOptions.from_env({}).to_env(), dict[str, str])
    L1Options(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # options are given by name
    CacheOptions().l1 = L1Options()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # and stay
