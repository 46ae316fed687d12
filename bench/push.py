"""P10: from ``invalidate`` in one process to the entry being gone from another process's L1.

The holder looks as often as it can while its event loop turns; the clock is CLOCK_MONOTONIC, one for all processes. The
peer is what an application would build itself: DEL, then PUBLISH, and a subscriber that drops its copy, without any
proof that nothing was lost on the way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import quantiles
from typing import Any, Final

import redis
import redis.asyncio
from redis.cache import CacheConfig

from bench.crew import Make, Member, crew
from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting, Turn
from cacheclient import AsyncCache
from cacheclient.missing import ABSENT

PUBSUB: Final = "redis-py, DEL + PUBLISH"
_CHANNEL: Final = "bench-invalidations"
_PAUSE: Final = 0.005  # seconds between the holder's first look and the invalidation
_PATIENCE: Final = 5.0
_OLDEST_CLIENT_SIDE: Final = (7, 4)
_numbers = itertools.count()
Act = Callable[[str], Awaitable[Any]]


class Party:
    """One process: holds entries in its own memory, or invalidates them for all.

    ``put`` stores an entry and holds it, ``has`` looks for it, ``drop`` invalidates it.
    """

    def __init__(self, put: Act, has: Callable[[str], bool], drop: Act) -> None:
        self._put = put
        self._has = has
        self._drop = drop

    async def hold(self, key: str) -> None:
        """Make sure that the entry is here."""
        until = time.monotonic() + _PATIENCE
        await self._put(key)
        while not self._has(key):  # the push of the write may void the first fills
            _check_patience(until)
            await asyncio.sleep(0.001)
            await self._put(key)

    async def watch(self, key: str) -> float:
        """Return the moment when the entry was gone."""
        until = time.monotonic() + _PATIENCE
        while self._has(key):
            _check_patience(until)
            await asyncio.sleep(0)
        return time.monotonic()

    async def invalidate(self, key: str) -> float:
        """Invalidate the entry for everybody; return the moment of the call."""
        began = time.monotonic()
        await self._drop(key)
        return began


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Party]:
    """Our cache."""

    async def put(key: str) -> None:
        if await cache.get(key) is None:
            await cache.set(key, "value")

    async with AsyncCache.from_url(url, namespace="push") as cache:
        yield Party(put, lambda key: cache.peek(key) is not ABSENT, cache.invalidate)


@asynccontextmanager
async def pubsub(url: str) -> AsyncIterator[Party]:
    """A dict, and a subscriber that drops what is named; with redis-py."""
    local: dict[str, str] = {}

    async def put(key: str) -> None:
        await client.set(key, "value")
        local[key] = "value"

    async def drop(key: str) -> None:
        await client.delete(key)
        await client.publish(_CHANNEL, key)

    async def listen() -> None:
        async for message in channel.listen():
            if message["type"] == "message":
                local.pop(message["data"].decode(), None)

    async with redis.asyncio.Redis.from_url(url) as client, client.pubsub() as channel:
        await channel.subscribe(_CHANNEL)
        listener = asyncio.create_task(listen())
        yield Party(put, local.__contains__, drop)
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


@asynccontextmanager
async def client_side(url: str) -> AsyncIterator[Party]:
    """redis-py's own client-side cache. It learns of changes when it is next asked, so it is asked all the time."""

    async def put(key: str) -> None:
        client.set(key, "value")
        client.get(key)

    async def drop(key: str) -> None:
        client.delete(key)

    with redis.Redis.from_url(url, protocol=3, cache_config=CacheConfig()) as client:
        yield Party(put, lambda key: client.get(key) is not None, drop)


def _candidates(url: str) -> tuple[dict[str, Make], tuple[str, ...]]:
    """Return who takes part, and a note on who cannot."""
    candidates: dict[str, Make] = {OURS: ours, PUBSUB: pubsub}
    with redis.Redis.from_url(url) as client:
        server = client.info("server")["redis_version"]
    if tuple(map(int, server.split(".")[:2])) < _OLDEST_CLIENT_SIDE:
        return candidates, (f"redis-py's own client-side cache refuses servers before 7.4; this one says {server}",)
    return candidates | {"redis-py, client-side cache": client_side}, ()


async def push(setting: Setting) -> Outcome:
    """P10: the median and the 99th percentile of many invalidations."""
    candidates, notes = _candidates(setting.redis_url)
    async with AsyncExitStack() as stack:
        turns = {}
        for name, make in candidates.items():
            holder, changer = await stack.enter_async_context(crew(2, make, setting.redis_url))
            turns[name] = _turn(holder, changer, setting.scaled(200, 40))
        found = await setting.take_turns("P10 invalidations", turns)
    half, tail = _series("median", found, 49), _series("99th percentile", found, 98)
    return Outcome(
        (half, tail),
        (
            Check("median", Limit(2.0, "ms", stretch=0.5, at_most=True), tuple(half.rounds[OURS])),
            Check("99th percentile", Limit(20.0, "ms", at_most=True), tuple(tail.rounds[OURS])),
        ),
        notes,
    )


def _turn(holder: Member, changer: Member, times: int) -> Turn[list[float]]:
    async def turn() -> list[float]:
        return [await _once(holder, changer) for _ in range(times)]

    return turn


async def _once(holder: Member, changer: Member) -> float:
    """Return the milliseconds one invalidation took to arrive."""
    key = f"user:{next(_numbers)}"
    await holder.ask("hold", key)
    holder.tell("watch", key)
    await asyncio.sleep(_PAUSE)
    began: float = await changer.ask("invalidate", key)
    gone: float = await holder.answer()
    if gone < began:
        raise BenchError(f"the entry {key!r} was gone before it was invalidated")
    return (gone - began) * 1000


def _series(title: str, found: dict[str, list[list[float]]], percentile: int) -> Series:
    return Series(
        title, "ms", {name: [quantiles(one, n=100)[percentile] for one in took] for name, took in found.items()}
    )


def _check_patience(until: float) -> None:
    if time.monotonic() > until:
        raise BenchError(f"the entry did not change in {_PATIENCE:g} s")
