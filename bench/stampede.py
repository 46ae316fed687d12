"""P8: many callers in four processes want the same cold key at once; the loader takes 0.2 s.

Counted are the loads, the callers that failed, Redis commands (those inside of scripts too), and how long after the end
of the first load the last caller had its value. CLOCK_MONOTONIC is one clock for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import redis
from cashews import Cache as Cashews
from dogpile.cache import make_region

from bench.crew import Make, Member, crew
from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import Setting, Turn
from cacheclient import AsyncCache

PROCESSES: Final = 4
LOAD: Final = 0.2  # seconds
TTL: Final = 60
CALLERS: Final = (50, 200)  # of each process
MOST: Final = max(CALLERS)
_PATIENCE: Final = 30.0
_HEAD_START: Final = 0.2  # seconds from the order to the common start
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Part:
    """What one process saw. Times are seconds of CLOCK_MONOTONIC."""

    loads: int
    failed: int
    load_ended: float
    last_answered: float


@dataclass(frozen=True, slots=True)
class Rush:
    """What one stampede cost the fleet. ``late_ms``: the last caller after the end of the first load."""

    loads: int
    failed: int
    commands: int
    late_ms: float


class Loads:
    """The loader of one process: counts its calls and notes when the first of them ended."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = float("inf")

    async def load(self) -> str:
        """Load, for tasks."""
        self.count += 1
        await asyncio.sleep(LOAD)
        return self._loaded()

    def load_in_thread(self) -> str:
        """Load, for threads."""
        self.count += 1
        time.sleep(LOAD)
        return self._loaded()

    def _loaded(self) -> str:
        self.ended = min(self.ended, time.monotonic())
        return "value"


Get = Callable[[str, Loads], Awaitable[Any]]


class Herd:
    """The callers of one process, around a function that gets a key and loads it if need be."""

    def __init__(self, get: Get) -> None:
        self._get = get

    async def rush(self, key: str, callers: int, start: float) -> Part:
        """Let all callers ask at the moment ``start``."""
        loads = Loads()
        await asyncio.sleep(start - time.monotonic())
        answers = await asyncio.gather(*(self._get(key, loads) for _ in range(callers)), return_exceptions=True)
        ended = time.monotonic()  # of the last caller: gather waits for it
        return Part(loads.count, sum(answer != "value" for answer in answers), loads.ended, ended)


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Herd]:
    """Our get_or_load."""
    async with AsyncCache.from_url(url, namespace="stampede") as cache:
        yield Herd(lambda key, loads: cache.get_or_load(key, lambda _: loads.load()))


@asynccontextmanager
async def cashews(url: str) -> AsyncIterator[Herd]:
    """The decorator of cashews, with its lock."""
    cache = Cashews()
    cache.setup(
        url, socket_timeout=_PATIENCE
    )  # its own 1 s may lose the unlock of a busy machine: then all wait for 60 s

    async def get(key: str, loads: Loads) -> Any:
        @cache(ttl=TTL, key="{key}", lock=True)
        async def cached(key: str) -> str:  # noqa: ARG001  the decorator's key
            return await loads.load()

        return await cached(key)

    yield Herd(get)
    await cache.close()


@asynccontextmanager
async def dogpile(url: str) -> AsyncIterator[Herd]:
    """The get_or_create of dogpile.cache, with its distributed lock, from threads."""
    region = make_region().configure(
        "dogpile.cache.redis",
        expiration_time=TTL,
        arguments={
            "url": url, "distributed_lock": True, "thread_local_lock": False, "redis_expiration_time": 2 * TTL,
            "connection_kwargs": {"max_connections": MOST},
        },
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(MOST) as pool:
        yield Herd(lambda key, loads: loop.run_in_executor(pool, region.get_or_create, key, loads.load_in_thread))


@asynccontextmanager
async def unguarded(url: str) -> AsyncIterator[Herd]:
    """Plain cache-aside with redis-py: get, load, set."""
    async with redis.asyncio.Redis.from_url(url, max_connections=MOST, socket_connect_timeout=_PATIENCE) as client:

        async def get(key: str, loads: Loads) -> Any:
            raw: Any = await client.get(key)
            if raw is not None:
                return raw.decode()
            value = await loads.load()
            await client.set(key, value, ex=TTL)
            return value

        yield Herd(get)


CANDIDATES: Final[dict[str, Make]] = {
    OURS: ours,
    "cashews, lock": cashews,
    "dogpile.cache, lock": dogpile,
    "no guard": unguarded,
}


class _Counter(Protocol):
    def info(self, section: str) -> dict[str, Any]: ...


async def stampede(setting: Setting) -> Outcome:
    """P8: four processes of 50 and of 200 callers."""
    # A stampede of cashews takes many seconds, and the figures hardly differ from round to round.
    setting = replace(setting, rounds=min(setting.rounds, 5))
    async with AsyncExitStack() as stack:
        crews = {
            name: await stack.enter_async_context(crew(PROCESSES, make, setting.redis_url))
            for name, make in CANDIDATES.items()
        }
        counter = stack.enter_context(redis.Redis.from_url(setting.redis_url))
        found = {}
        for callers in CALLERS:
            turns = {name: _turn(members, counter, callers) for name, members in crews.items()}
            found[callers] = await setting.take_turns(f"P8 {PROCESSES} x {callers} callers", turns)
    series = [one for callers, rushes in found.items() for one in _series(callers, rushes)]
    checks = [check for callers, rushes in found.items() for check in _checks(callers, rushes[OURS])]
    return Outcome(tuple(series), tuple(checks))


def _turn(members: list[Member], counter: _Counter, callers: int) -> Turn[Rush]:
    async def turn() -> Rush:
        key = f"cold:{next(_numbers)}"
        before = _commands(counter)
        start = time.monotonic() + _HEAD_START
        for member in members:
            member.tell("rush", key, callers, start)
        parts: list[Part] = [await member.answer() for member in members]
        commands = _commands(counter) - before
        late = max(part.last_answered for part in parts) - min(part.load_ended for part in parts)
        return Rush(sum(part.loads for part in parts), sum(part.failed for part in parts), commands, late * 1000)

    return turn


def _commands(counter: _Counter) -> int:
    """Return how many commands Redis has executed, without our own question.

    TIME is left out: our clients ask it as a heartbeat all the time, also while another candidate has its turn.
    """
    stats = counter.info("commandstats")
    return sum(one["calls"] for name, one in stats.items() if name not in {"cmdstat_info", "cmdstat_time"})


def _series(callers: int, rushes: dict[str, list[Rush]]) -> list[Series]:
    title = f"{PROCESSES} x {callers} callers"
    return [
        Series(f"{title}, loads", "loads", {name: [rush.loads for rush in took] for name, took in rushes.items()}),
        Series(
            f"{title}, commands", "commands", {name: [rush.commands for rush in took] for name, took in rushes.items()}
        ),
        Series(f"{title}, last caller", "ms", {name: [rush.late_ms for rush in took] for name, took in rushes.items()}),
    ]


def _checks(callers: int, rushes: list[Rush]) -> list[Check]:
    def check(what: str, limit: Limit, rounds: list[float], *, worst: bool) -> Check:
        return Check(f"{PROCESSES} x {callers} callers: {what}", limit, tuple(rounds), worst)

    return [
        check("loads", Limit(1, "", at_most=True), [rush.loads for rush in rushes], worst=True),
        check("failed callers", Limit(0, "", at_most=True), [rush.failed for rush in rushes], worst=True),
        check("Redis commands", Limit(60, "", at_most=True), [rush.commands for rush in rushes], worst=True),
        check(
            "last caller after the load", Limit(60, "ms", stretch=30, at_most=True), [rush.late_ms for rush in rushes],
            worst=False,
        ),
    ]  # fmt: skip
