"""P4, P5 and P6: reads of 1 KB from L2, L1 switched off, against the clients that people use.

Loader and server share the machine: with two cores each has one. All asynchronous candidates run on one uvloop, the
pools are as large as there are callers, and nobody has a time limit that could cut a slow answer short. Every answer is
compared with what was stored.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from statistics import quantiles
from time import perf_counter
from typing import Any, Final

import redis
import redis.asyncio
from aiocache import RedisCache  # type: ignore[import-untyped]  # it publishes no types
from aiocache.serializers import NullSerializer  # type: ignore[import-untyped]  # it publishes no types
from cashews import Cache as Cashews
from glide import GlideClient, GlideClientConfiguration, NodeAddress

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting, Turn
from cacheclient import AsyncCache, Cache, CacheOptions, L1Options, L2Options

KEYS: Final = 10_000
THREADS: Final = 8
REDIS_PY: Final = "redis-py"
_VALUE: Final = random.Random(2).randbytes(1024)  # noqa: S311  a workload, not a secret
NO_L1: Final = CacheOptions(l1=L1Options(max_entries=0), l2=L2Options(timeout=30.0))
Read = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Load:
    """What one turn of many callers gave: reads a second, and the 95th percentile of a read in milliseconds."""

    rate: float
    p95_ms: float


async def many_tasks(setting: Setting) -> Outcome:
    """P4: 64 and 256 callers at a time."""
    async with AsyncExitStack() as stack:
        clients = await _clients(setting, stack)
        few = await _compare(setting, clients, 64)
        many = await _compare(setting, clients, 256)
    series = [_series(title, found) for title, found in (("64 tasks", few), ("256 tasks", many))]
    slow = Series("64 tasks, 95th percentile", "ms", {name: [one.p95_ms for one in took] for name, took in few.items()})
    return Outcome(
        (*series, slow),
        (
            series[0].versus(REDIS_PY, Limit(8.0, "x", stretch=14.0)),
            series[1].versus(REDIS_PY, Limit(12.0, "x", stretch=19.0)),
            Check(slow.title, Limit(2.0, "ms", at_most=True), tuple(slow.rounds[OURS])),
        ),
    )


async def one_task(setting: Setting) -> Outcome:
    """P5: one caller, one read after another: batching has nothing to batch."""
    async with AsyncExitStack() as stack:
        series = _series("1 task", await _compare(setting, await _clients(setting, stack), 1))
    return Outcome((series,), (series.versus(REDIS_PY, Limit(0.9, "x", stretch=1.3)),))


async def _clients(setting: Setting, stack: AsyncExitStack) -> dict[str, Read]:
    """Open every client and store the value under every key in its own format."""
    ours = await stack.enter_async_context(AsyncCache.from_url(setting.redis_url, namespace="reads", options=NO_L1))
    # Its pool ends at 100 connections and then fails callers, unless told otherwise.
    plain = redis.asyncio.Redis.from_url(setting.redis_url, max_connections=256)
    stack.push_async_callback(plain.aclose)
    cashews = Cashews()
    cashews.setup(
        f"{setting.redis_url}/1", max_connections=256, socket_timeout=30, suppress=False
    )  # it encodes values its own way
    stack.push_async_callback(cashews.close)
    aiocache = RedisCache(
        port=setting.redis_port, serializer=NullSerializer(encoding=None), pool_max_size=256, timeout=0
    )
    stack.push_async_callback(aiocache.close)
    address = [NodeAddress("127.0.0.1", setting.redis_port)]
    glide = await GlideClient.create(GlideClientConfiguration(address, request_timeout=30_000))
    stack.push_async_callback(glide.close)
    for number in range(KEYS):
        await ours.set(_key(number), _VALUE)
        await cashews.set(_key(number), _VALUE)
    async with plain.pipeline(transaction=False) as pipeline:
        for number in range(KEYS):
            pipeline.set(_key(number), _VALUE)
        await pipeline.execute()
    return {
        OURS: ours.get,
        REDIS_PY: plain.get,
        "valkey-glide": glide.get,
        "aiocache": aiocache.get,
        "cashews": cashews.get,
    }


async def _compare(setting: Setting, clients: Mapping[str, Read], tasks: int) -> dict[str, list[Load]]:
    seconds = setting.scaled(10, 2) / 10
    turns = {name: _turn(read, tasks, seconds) for name, read in clients.items()}
    for warm_up in turns.values():  # opens the pools' connections
        await warm_up()
    return await setting.take_turns(f"{tasks} tasks", turns)


def _turn(read: Read, tasks: int, seconds: float) -> Turn[Load]:
    streams = _streams(tasks)

    async def turn() -> Load:
        took: list[float] = []
        began = perf_counter()
        until = began + seconds
        await asyncio.gather(*(_caller(read, keys, until, took) for keys in streams))
        elapsed = perf_counter() - began
        return Load(len(took) / elapsed, _p95(took) * 1000)

    return turn


async def _caller(read: Read, keys: Iterator[str], until: float, took: list[float]) -> None:
    now = perf_counter()
    while not took or now < until:  # one read at least, however busy the machine is
        _verify(await read(next(keys)))
        before, now = now, perf_counter()
        took.append(now - before)


async def many_threads(setting: Setting) -> Outcome:
    """P6: eight threads that share one client."""
    plain = redis.Redis.from_url(setting.redis_url, max_connections=256)
    with plain, Cache.from_url(setting.redis_url, namespace="reads", options=NO_L1) as ours:
        for number in range(KEYS):
            ours.set(_key(number), _VALUE)
            plain.set(_key(number), _VALUE)
        turns = {OURS: _threads(ours.get, setting), REDIS_PY: _threads(plain.get, setting)}
        rounds = await setting.take_turns("P6 8 threads", turns)
    series = Series(f"{THREADS} threads", "reads/s", rounds, higher_is_better=True)
    return Outcome((series,), (series.versus(REDIS_PY, Limit(3.0, "x", stretch=8.0)),))


def _threads(read: Callable[[str], Any], setting: Setting) -> Turn[float]:
    count = setting.scaled(1_000, 100)
    streams = _streams(THREADS)

    def caller(keys: Iterator[str]) -> None:
        for _ in range(count):
            _verify(read(next(keys)))

    async def turn() -> float:
        with ThreadPoolExecutor(THREADS) as pool:
            began = perf_counter()
            for _ in pool.map(caller, streams):  # raises what a caller raised
                pass
            return THREADS * count / (perf_counter() - began)

    return turn


def _key(number: int) -> str:
    return f"user:{number}"


def _streams(callers: int) -> list[Iterator[str]]:
    """Return an endless stream of keys for each caller, made beforehand: making them is not the clients' work."""
    rng = random.Random(5)  # noqa: S311  a workload, not a secret
    keys = [_key(rng.randrange(KEYS)) for _ in range(2 * KEYS)]
    starts = [number * len(keys) // callers for number in range(callers)]
    return [cycle(keys[start:] + keys[:start]) for start in starts]


def _verify(answer: Any) -> None:
    if answer != _VALUE:
        raise BenchError(f"a read gave {str(answer)[:40]!r} instead of what was stored")


def _p95(took: list[float]) -> float:
    return quantiles(took, n=20)[-1] if len(took) > 1 else took[0]


def _series(title: str, found: Mapping[str, list[Load]]) -> Series:
    return Series(
        title, "reads/s", {name: [one.rate for one in took] for name, took in found.items()}, higher_is_better=True
    )
