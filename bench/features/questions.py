"""The questions: each causes a situation, with two views of a cache as two processes have them, and says what came."""

from __future__ import annotations

import asyncio
import pickletools
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from bench.features.candidate import SHORT, TTL, Candidate, Load

CALLERS: Final = 50
READS: Final = 100
RUSHES: Final = 3
PATIENCE: Final = 3.0  # seconds
_LOAD: Final = 0.2
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")  # what a pickle of protocol 2 or newer begins with

NO_CALL: Final = "no such call"


@dataclass(slots=True)
class Source:
    """What is cached: a value that changes, and a count of who asked for it."""

    value: str = "old"
    loads: int = 0
    error: Exception | None = None
    takes: float = _LOAD
    gate: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self) -> str:
        """Read the value, then take a while to bring it."""
        self.loads += 1
        if self.error:
            raise self.error
        value = self.value
        self.asked.set()
        await (self.gate.wait() if self.gate else asyncio.sleep(self.takes))
        return value


@dataclass(frozen=True, slots=True)
class Scene:
    """Two views of one cache, and the server below them."""

    one: Candidate
    two: Candidate
    server: redis.Redis


async def callers(scene: Scene) -> str:
    """Loads of a missing key that 50 callers of one process want at once."""
    return await _rushes((scene.one,), "callers")


async def fleet(scene: Scene) -> str:
    """Loads of a missing key that 50 callers of two processes want at once."""
    return await _rushes((scene.one, scene.two), "fleet")


async def _rushes(views: tuple[Candidate, ...], key: str) -> str:
    """Return the loads of a rush; from the fewest to the most where rushes differ."""
    seen = set()
    for rush in range(RUSHES):
        source = Source()
        reads = (views[n % len(views)].read(f"{key}:{rush}", source.load, TTL) for n in range(CALLERS))
        await asyncio.gather(*reads)
        seen.add(source.loads)
    return str(*seen) if len(seen) == 1 else f"{min(seen)} to {max(seen)}"


async def local(scene: Scene) -> str:
    """Commands that Redis gets for 100 more reads of a key."""
    source = Source()
    for _ in range(2):
        await scene.one.read("local", source.load, TTL)
        await asyncio.sleep(0.1)
    before = _commands(scene.server)
    for _ in range(READS):
        await scene.one.read("local", source.load, TTL)
    return str(max(0, _commands(scene.server) - before))


async def everywhere(scene: Scene) -> str:
    """Whether a process stops within a second to serve what another has invalidated."""
    source = Source(takes=0)
    for view in (scene.one, scene.two, scene.two):
        await view.read("everywhere", source.load, TTL)
    source.value = "new"
    await scene.one.forget("everywhere")
    began = time.monotonic()
    while time.monotonic() - began < 1:
        if await scene.two.read("everywhere", source.load, TTL) == "new":
            return "yes"
        await asyncio.sleep(0.01)
    return "no"


async def race(scene: Scene) -> str:
    """Whether a value stays that was loaded before an invalidation and brought after it."""
    gate = asyncio.Event()
    source = Source(gate=gate)
    read = asyncio.create_task(scene.one.read("race", source.load, TTL))
    await source.asked.wait()
    source.value = "new"
    await scene.two.forget("race")
    gate.set()
    await read
    found = [await view.read("race", source.load, TTL) for view in (scene.one, scene.two)]
    return "no" if found == ["new", "new"] else "yes"


async def stale(scene: Scene) -> str:
    """What is served when a lifetime is over and the loader fails."""
    ask = scene.one.read_or_stale
    if ask is None:
        return NO_CALL
    source = Source(takes=0)
    await ask("stale", source.load, SHORT)
    source.error = LookupError("the database is away")
    await asyncio.sleep(SHORT + 0.3)
    try:
        return "the old value" if await ask("stale", source.load, SHORT) == "old" else "something else"
    except LookupError:
        return "the loader's error"


async def tags(scene: Scene) -> str:
    """Whether entries can be forgotten by a tag."""
    if scene.one.read_tagged is None or scene.one.forget_tag is None:
        return NO_CALL
    source = Source(takes=0)
    for key in ("tagged:1", "tagged:2"):
        await scene.one.read_tagged(key, source.load, "team")
    await scene.one.forget_tag("team")
    return await _forgotten(scene.one.read_tagged, source, "tagged", "team")


async def patterns(scene: Scene) -> str:
    """Whether entries can be forgotten by a pattern."""
    if scene.one.forget_pattern is None:
        return NO_CALL
    source = Source(takes=0)
    for key in ("pattern:1", "pattern:2"):
        await scene.one.read(key, source.load, TTL)
    await scene.one.forget_pattern("pattern:*")
    return await _forgotten(scene.one.read, source, "pattern", TTL)


async def _forgotten(read: Callable[[str, Load, Any], Awaitable[Any]], source: Source, kind: str, more: Any) -> str:
    source.value = "new"
    return "yes" if [await read(f"{kind}:{n}", source.load, more) for n in (1, 2)] == ["new", "new"] else "no"


async def pickled(scene: Scene) -> str:
    """Whether what Redis holds is a pickle, which runs code of whoever wrote it when it is read."""
    await scene.one.read("stored", Source(takes=0).load, TTL)
    stored = [scene.server.get(key) for key in scene.server.scan_iter("*stored*", _type="string")]
    held = [value for value in stored if value]
    if not held:
        return "nothing in Redis"
    return "yes" if any(map(holds_pickle, held)) else "no"


def holds_pickle(value: bytes) -> bool:
    """Return whether a pickle stands in ``value``, up to its end; its first bytes may be there by chance."""
    for beginning in _PICKLE.finditer(value):
        with suppress(ValueError):
            for _ in pickletools.genops(value[beginning.start() :]):
                pass
            return True
    return False


async def away(scene: Scene) -> str:
    """What a read with a loader does when Redis is gone."""
    source = Source(takes=0)
    scene.server.shutdown(nosave=True)
    began = time.monotonic()
    with suppress(TimeoutError):
        try:
            async with asyncio.timeout(PATIENCE):
                await scene.one.read("away", source.load, TTL)
        except Exception as error:  # noqa: BLE001  whatever it is
            return f"raises {type(error).__name__}"
        return "loads" if time.monotonic() - began < 1 else "loads, after more than a second"
    return f"hangs for {PATIENCE:g} s"


def _commands(server: redis.Redis) -> int:
    stats: dict[str, Any] = server.info("commandstats")
    ignored = {"cmdstat_info", "cmdstat_ping", "cmdstat_client", "cmdstat_hello"}
    return sum(int(each["calls"]) for name, each in stats.items() if name.partition("|")[0] not in ignored)


Question = Callable[[Scene], Awaitable[str]]
QUESTIONS: Final[tuple[Question, ...]] = (callers, fleet, local, everywhere, race, stale, tags, patterns, pickled, away)
"""In this order: the last ends the server."""
