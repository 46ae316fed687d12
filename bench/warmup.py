"""S3: what a warm-up costs those who use the cache meanwhile.

Traffic at a steady rate, in a process of its own: ``get_or_load`` of popular ids, most of them answered by L1. Beside
it, in another process, a warm-up of keys that nobody has yet, as fast as it is let, for as long as the traffic runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from bisect import bisect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import accumulate
from statistics import median, quantiles
from time import monotonic, perf_counter
from typing import Any, Final

from bench.crew import crew
from bench.figures import Check, Limit, Outcome, Series
from bench.mix import IDS, L1_ENTRIES, load
from bench.rounds import BenchError, Setting
from cacheclient import AsyncCache, CacheOptions, L1Options, L2Options
from cacheclient.warming import Item, PlanSettings, Warmer

ALONE: Final = "traffic alone"
TOGETHER: Final = "traffic and a warm-up"
_TASKS: Final = 16
_PER_SECOND: Final = 1_000  # lookups of all tasks
_NAMESPACE: Final = "warmed"
_OPTIONS: Final = CacheOptions(l1=L1Options(max_entries=L1_ENTRIES), l2=L2Options(timeout=30.0))
_SLICE: Final = 1.0  # seconds
_PATIENCE: Final = 20.0  # seconds for a warm-up to begin
_numbers = itertools.count()


class Traffic:
    """The application: callers at a steady rate."""

    def __init__(self, cache: AsyncCache[Any]) -> None:
        self._cache = cache
        rng = random.Random(3)  # noqa: S311  a workload, not a secret
        self._order = rng.sample(range(IDS), IDS)
        self._weights = list(accumulate(1 / rank for rank in range(1, IDS + 1)))
        self._rng = rng

    def _key(self) -> str:
        return f"user:{self._order[bisect(self._weights, self._rng.random() * self._weights[-1])]}"

    async def fill(self) -> None:
        """Have every id in Redis, and the popular ones in L1."""
        for start in range(0, IDS, 500):
            await self._cache.set_many({f"user:{n}": await load(f"user:{n}") for n in range(start, start + 500)})
        await self.run(1.0)

    async def run(self, seconds: float) -> list[float]:
        """Return the milliseconds of each lookup within ``seconds``."""
        took: list[float] = []
        ends = monotonic() + seconds
        await asyncio.gather(*(self._caller(ends, took) for _ in range(_TASKS)))
        return took

    async def _caller(self, ends: float, took: list[float]) -> None:
        while monotonic() < ends:
            await asyncio.sleep(self._rng.expovariate(_PER_SECOND / _TASKS))
            key = self._key()
            began = perf_counter()
            found = await self._cache.get_or_load(key, load)
            took.append((perf_counter() - began) * 1000)
            if found["id"] != key:
                raise BenchError(f"a lookup of {key!r} gave another record")


@asynccontextmanager
async def traffic(url: str) -> AsyncIterator[Traffic]:
    """The application's process."""
    async with AsyncCache.from_url(url, namespace=_NAMESPACE, options=_OPTIONS) as cache:
        yield Traffic(cache)


class Endless:
    """A source that gives entries for ever."""

    name, priority, plans, timeout, load_many = "endless", 1, ("full",), 30.0, None

    async def items(self, after: Any) -> AsyncIterator[Item]:
        """Give records of about 1 KB under keys that nobody has."""
        del after
        run = next(_numbers)
        for number in itertools.count():
            key = f"fresh:{os.getpid()}:{run}:{number}"
            yield Item(key=key, value=await load(key), ttl=20.0)

    def share(self, at: Any) -> None:
        """Say nothing: it has no end."""
        del at


class Warming:
    """The warm-up's process. In a cluster it has a pod of its own; here it gives way to the others by its niceness."""

    def __init__(self, cache: AsyncCache[Any]) -> None:
        self._warmer = Warmer(cache, [Endless()], plans={"full": PlanSettings(deadline=600)}, follow=False)
        self._task: asyncio.Task[Any] | None = None

    async def begin(self) -> None:
        """Warm up from now on; return when the first entries are stored."""
        self._task = asyncio.create_task(self._warmer.run("full"))
        until = monotonic() + _PATIENCE
        while not self._written():
            if monotonic() > until or self._task.done():
                raise BenchError(f"the warm-up does not begin: {self._warmer.last.get('full')}")
            await asyncio.sleep(0.01)

    async def end(self) -> int:
        """Stop; return how many entries were stored."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return self._written()

    def _written(self) -> int:
        report = self._warmer.last.get("full")
        return report.written if report is not None else 0


@asynccontextmanager
async def warming(url: str) -> AsyncIterator[Warming]:
    """The process of the warm-up."""
    os.nice(10)
    async with AsyncCache.from_url(url, namespace=_NAMESPACE, options=_OPTIONS) as cache:
        yield Warming(cache)


async def warm_up(setting: Setting) -> Outcome:
    """S3: the 99th percentile of lookups during a warm-up, over that without one.

    Each round is many short slices of both, one after the other, so that what else the machine does hits both alike.
    """
    slices, speeds = setting.scaled(8, 2), []
    found: dict[str, list[list[float]]] = {ALONE: [], TOGETHER: []}
    async with AsyncExitStack() as stack:
        (caller,) = await stack.enter_async_context(crew(1, traffic, setting.redis_url))
        (warmer,) = await stack.enter_async_context(crew(1, warming, setting.redis_url))
        await caller.ask("fill")
        for number in range(setting.rounds):
            took: dict[str, list[float]] = {ALONE: [], TOGETHER: []}
            for one in range(2 * slices):
                setting.tell(f"S3 warm-up: round {number + 1} of {setting.rounds}, slice {one + 1} of {2 * slices}")
                if (one + one // 2) % 2 == 0:  # each is as often first as second
                    took[ALONE] += await caller.ask("run", _SLICE)
                else:
                    await warmer.ask("begin")
                    began = monotonic()
                    took[TOGETHER] += await caller.ask("run", _SLICE)
                    speeds.append(int(await warmer.ask("end")) / (monotonic() - began))
            for name, seen in took.items():
                found[name].append(seen)
    tail, half = _series("99th percentile", found, 98), _series("median", found, 49)
    limit = Limit(1.2, "x", at_most=True)
    note = f"{median(speeds):,.0f} keys a second were written meanwhile, beside {_PER_SECOND:,} lookups"
    return Outcome((tail, half), (Check(f"{TOGETHER}: over {ALONE}", limit, tail.over(ALONE, TOGETHER)),), (note,))


def _series(title: str, found: dict[str, list[list[float]]], percentile: int) -> Series:
    return Series(
        title, "ms", {name: [quantiles(one, n=100)[percentile] for one in took] for name, took in found.items()}
    )
