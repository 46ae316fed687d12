"""The other caches, each used as its own documentation says for values that are loaded when they are missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from aiocache import Cache as Aiocache
from aiocache.decorators import cached_stampede
from cachetools import TTLCache, cached
from cashews import Cache as Cashews
from dogpile.cache import make_region
from redis.cache import CacheConfig
from theine import Memoize

from bench.features.candidate import SHORT, TTL, Candidate, Load, Make, ours

_LEASE: Final = 5.0  # seconds for which a load is waited for
_ENTRIES: Final = 1000


@asynccontextmanager
async def cashews(url: str, *, lock: bool) -> AsyncIterator[Candidate]:
    """cashews, with its client-side cache. Over RESP3, redis-py's default, that hears of no change."""
    cache = Cashews()
    cache.setup(f"{url}?protocol=2", client_side=True)
    loads: dict[str, Load] = {}

    async def load(key: str) -> str:
        return await loads[key]()

    def reader(lifetime: float, *more: Any, **settings: Any) -> Any:
        function: Any = cache(ttl=lifetime, key="{key}", lock=lock, **settings)(load)
        for decorator in more:
            function = decorator(function)
        return function

    plain, short, tagged = reader(TTL), reader(SHORT, cache.failover(ttl=TTL, key="{key}")), reader(TTL, tags=["tag"])

    async def read(key: str, wanted: Load, _: float, function: Any = plain) -> Any:
        loads[key] = wanted
        return await function(key)

    yield Candidate(
        read=read,
        forget=cache.delete,
        read_or_stale=lambda key, wanted, ttl: read(key, wanted, ttl, short),
        read_tagged=lambda key, wanted, _: read(key, wanted, SHORT, tagged),
        forget_tag=lambda _: cache.delete_tags("tag"),
        forget_pattern=cache.delete_match,
    )
    with suppress(Exception, asyncio.CancelledError):  # its server may be gone
        await cache.close()


@asynccontextmanager
async def aiocache(url: str) -> AsyncIterator[Candidate]:
    """aiocache, with its stampede decorator over Redis."""
    place = urlsplit(url)
    where = {"endpoint": place.hostname, "port": place.port}
    plain = Aiocache(Aiocache.REDIS, **where)
    loads: dict[str, Load] = {}

    @cached_stampede(lease=_LEASE, ttl=TTL, key_builder=lambda _function, wanted: wanted, cache=Aiocache.REDIS, **where)
    async def load(key: str) -> str:
        return await loads[key]()

    async def read(key: str, wanted: Load, _: float) -> Any:
        loads[key] = wanted
        return await load(key)

    yield Candidate(read=read, forget=plain.delete)
    with suppress(Exception):
        await plain.close()


def _in_thread(load: Load) -> Callable[[], str]:
    """Return a plain function for threads that runs ``load`` on this loop."""
    loop = asyncio.get_running_loop()
    return lambda: asyncio.run_coroutine_threadsafe(load(), loop).result()


@asynccontextmanager
async def dogpile(url: str) -> AsyncIterator[Candidate]:
    """dogpile.cache on Redis, with its distributed lock, from threads."""
    region = make_region().configure(
        "dogpile.cache.redis",
        arguments={"url": url, "distributed_lock": True, "thread_local_lock": False},
    )
    yield Candidate(
        read=lambda key, load, ttl: asyncio.to_thread(region.get_or_create, key, _in_thread(load), ttl),
        forget=lambda key: asyncio.to_thread(region.delete, key),
    )


@asynccontextmanager
async def client_side(url: str) -> AsyncIterator[Candidate]:
    """redis-py's own client-side cache below a read that loads what is missing, from threads: asyncio has none.

    One call at a time: threads that read one key at once take each other's answers, and then wait until they time out.
    """
    one_at_a_time = threading.Lock()

    def call(method: Callable[..., Any], *arguments: Any) -> Any:
        with one_at_a_time:
            return method(*arguments)

    def read(key: str, load: Callable[[], str], ttl: float) -> Any:
        found = call(client.get, key)
        if found is None:
            found = load()
            call(client.setex, key, timedelta(seconds=ttl), found)
        return found

    with redis.Redis.from_url(url, protocol=3, cache_config=CacheConfig(), decode_responses=True) as client:
        yield Candidate(
            read=lambda key, load, ttl: asyncio.to_thread(read, key, _in_thread(load), ttl),
            forget=lambda key: asyncio.to_thread(call, client.delete, key),
        )


@asynccontextmanager
async def cachetools(_: str) -> AsyncIterator[Candidate]:
    """cachetools, with a condition, from threads."""
    stored: TTLCache[str, Any] = TTLCache(_ENTRIES, TTL)
    loads: dict[str, Callable[[], str]] = {}
    load = cached(stored, key=lambda key: key, condition=threading.Condition())(lambda key: loads[key]())

    def read(key: str, wanted: Load, _: float) -> Awaitable[Any]:
        loads[key] = _in_thread(wanted)
        return asyncio.to_thread(load, key)

    yield Candidate(read=read, forget=lambda key: asyncio.to_thread(stored.pop, key, None))


@asynccontextmanager
async def theine(_: str) -> AsyncIterator[Candidate]:
    """The decorator of theine, from threads."""
    loads: dict[str, Callable[[], str]] = {}

    @Memoize(_ENTRIES, timedelta(seconds=TTL))
    def load(key: str) -> str:
        return loads[key]()

    @load.key
    def _(key: str) -> str:
        return key

    def read(key: str, wanted: Load, _: float) -> Awaitable[Any]:
        loads[key] = _in_thread(wanted)
        return asyncio.to_thread(load, key)

    # It offers no way to delete an entry of a decorated function: its cache is the function's own.
    yield Candidate(read=read, forget=lambda key: asyncio.to_thread(load._cache.delete, key))  # noqa: SLF001


_CLIENT_SIDE: Final = "redis, client-side"
OLDEST_REDIS: Final = {_CLIENT_SIDE: (7, 4)}
"""Who refuses older servers, and Valkey."""

CANDIDATES: Final[dict[str, Make]] = {
    "cacheclient": ours,
    "cashews": partial(cashews, lock=False),
    "cashews, lock": partial(cashews, lock=True),
    "aiocache": aiocache,
    "dogpile.cache": dogpile,
    _CLIENT_SIDE: client_side,
    "cachetools": cachetools,
    "theine": theine,
}
