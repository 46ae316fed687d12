"""One worker process: readers and writers on one cache, as an application would use it.

It is told what to do through its standard input, a word a line: ``rest`` ends the writers, ``read`` has every key read
once, ``end`` ends it. It answers each with a line of JSON.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from cacheclient import AsyncCache, Cache, LoadTimeoutError
from cacheclient.stats import Stats
from tests.fuzz.database import Database
from tests.fuzz.faces import Face, Row
from tests.fuzz.history import NOTHING, WRONG_KEY, Mode, Op, Recorder, Write, mode_of, short_lived
from tests.fuzz.limits import Limiters
from tests.fuzz.network import back

NAMESPACE: Final = "fuzz"
_EXAMPLES: Final = 5


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told at its start. Times in seconds.

    Attributes:
        threads: use the façade for threads instead of the one for asyncio.
        environment: the variables that configure the cache.
        read_pause, write_pause, set_pause, hit_pause, load_time: means of exponential distributions. Writes are rare,
            so that a value that became stale is not replaced before it is seen; hits are often enough to be refused.
    """

    worker: int
    workers: int
    seed: str
    folder: str
    threads: bool
    environment: dict[str, str]
    readers: int = 4
    read_pause: float = 0.004
    write_pause: float = 0.06
    set_pause: float = 0.25
    hit_pause: float = 0.02
    load_time: float = 0.004


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says at its end, besides its records."""

    time_outs: int
    errors: dict[str, int]
    examples: list[str]
    failovers: int
    lookups: int
    l1_hits: int
    loads: int


class Worker:
    """The loops of one worker. Each runs as a task, or in a thread of its own with the façade for threads."""

    def __init__(self, spec: Spec, database: Database, face: Face, limiters: Limiters, recorder: Recorder) -> None:
        self._spec = spec
        self._database = database
        self._face = face
        self._limiters = limiters
        self._recorder = recorder
        self._resting = threading.Event()
        self._ending = threading.Event()
        self.time_outs = 0
        self.errors: Counter[str] = Counter()
        self.examples: list[str] = []

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return every loop of this worker."""
        readers = (self._read_on(self._draw(f"reader {number}")) for number in range(self._spec.readers))
        return [
            *readers, self._invalidate_on(self._draw("invalidate")), self._set_on(self._draw("set")),
            self._hit_on(self._draw("hit")),
        ]  # fmt: skip

    def rest(self) -> None:
        """Let the writers end."""
        self._resting.set()

    def end(self) -> None:
        """Let everything end."""
        self._resting.set()
        self._ending.set()

    async def read_all(self) -> None:
        """Read every key once."""
        for key in range(len(self._database)):
            await self._watched(self._read(Op.GET, [key]))

    async def _read_on(self, draw: random.Random) -> None:
        ops = (Op.GET, Op.GET_MANY, Op.GET_OR_LOAD, Op.ENTRY_L1, Op.LOAD_MANY)
        while not self._ending.is_set():
            (op,) = draw.choices(ops, (2, 1, 5, 3, 1))
            keys = self._some_keys(draw, 6 if op in (Op.GET_MANY, Op.LOAD_MANY) else 1)
            if op is Op.LOAD_MANY:
                keys = [key for key in keys if mode_of(key) is not Mode.TAG and not short_lived(key)]
            await self._watched(self._read(op, keys))
            await asyncio.sleep(draw.expovariate(1 / self._spec.read_pause))

    async def _read(self, op: Op, keys: list[int]) -> None:
        begin = time.monotonic()
        answers = await self._face.read(op, keys)
        end = time.monotonic()
        for key, (answered, row) in zip(keys, answers, strict=True):
            version = NOTHING if row is None else row.version if row.key == key else WRONG_KEY
            self._recorder.read(key, answered, version, begin, end)

    async def _invalidate_on(self, draw: random.Random) -> None:
        while not self._resting.is_set():
            (key,) = self._some_keys(draw, 1)
            mode = mode_of(key)
            if mode is not Mode.SET:
                await self._watched(self._write(key, mode))
            await asyncio.sleep(draw.expovariate(1 / self._spec.write_pause))

    async def _set_on(self, draw: random.Random) -> None:
        """Set rows: each key has one writer, as the order of two writers' sets is not the cache's to know."""
        own = [key for key in range(len(self._database)) if mode_of(key) is Mode.SET]
        own = own[self._spec.worker :: self._spec.workers]
        while not self._resting.is_set():
            await self._watched(self._write(draw.choice(own), Mode.SET))
            await asyncio.sleep(draw.expovariate(1 / self._spec.set_pause))

    async def _hit_on(self, draw: random.Random) -> None:
        while not self._ending.is_set():
            await self._watched(self._hit(draw))
            await asyncio.sleep(draw.expovariate(1 / self._spec.hit_pause))

    async def _hit(self, draw: random.Random) -> None:
        self._recorder.hit(await self._limiters.hit(draw))

    async def _write(self, key: int, mode: Mode) -> None:
        commit = self._database.commit(key)
        if commit is None:
            return
        if mode is Mode.SET:
            acknowledged = await self._face.set(key, Row(key, commit.version))
        else:
            acknowledged = await self._face.forget(key, mode)
        self._recorder.write(Write(key, acknowledged, commit.version, commit.began, time.monotonic()))

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Count what ``work`` raises. A load may take too long: its process was frozen meanwhile."""
        try:
            await work
        except LoadTimeoutError:
            self.time_outs += 1
        except Exception as error:  # noqa: BLE001  whatever it is, it goes into the report and fails the run
            self.errors[type(error).__name__] += 1
            self.examples = [*self.examples, f"{type(error).__name__}: {error}"][:_EXAMPLES]

    def _some_keys(self, draw: random.Random, count: int) -> list[int]:
        """Draw keys, some more often than others."""
        size = len(self._database)
        return [min(int(size * draw.random() ** 1.5), size - 1) for _ in range(count)]

    def _draw(self, purpose: str) -> random.Random:
        return random.Random(f"{self._spec.seed}/{self._spec.worker}/{purpose}")  # noqa: S311  a load, not a secret


def connect_from(address: str) -> None:
    """Have every event loop of this process connect from ``address``, by which the network of the run knows it."""
    direct = asyncio.BaseEventLoop.create_connection

    async def known(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        return await direct(self, factory, host, port, local_addr=(address, 0), **options)

    asyncio.BaseEventLoop.create_connection = known  # type: ignore[method-assign, assignment]


def main() -> None:
    """Run the worker that the file in the first argument describes."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    connect_from(back(f"worker-{spec.worker}"))
    recorder = Recorder(Path(spec.folder), spec.worker)
    with Database(Path(spec.folder, "database")) as database:
        (_in_threads if spec.threads else _in_tasks)(spec, database, recorder)
    recorder.close()


def _in_tasks(spec: Spec, database: Database, recorder: Recorder) -> None:
    asyncio.run(_tasks(spec, database, recorder))


async def _tasks(spec: Spec, database: Database, recorder: Recorder) -> None:
    async with AsyncCache.from_env(spec.environment, type=Row) as cache:
        worker = Worker(spec, database, Face(cache, database, spec.load_time), Limiters(cache), recorder)
        running = [asyncio.create_task(loop) for loop in worker.loops()]
        while await asyncio.to_thread(_obey, worker):
            await worker.read_all()
            _say(cache.stats().listener_connected)
        await asyncio.gather(*running)
        result = _result(worker, cache.stats())
    _say(result)


def _in_threads(spec: Spec, database: Database, recorder: Recorder) -> None:
    with Cache.from_env(spec.environment, type=Row) as cache:
        worker = Worker(spec, database, Face(cache, database, spec.load_time), Limiters(cache), recorder)
        running = [threading.Thread(target=asyncio.run, args=(loop,)) for loop in worker.loops()]
        for thread in running:
            thread.start()
        while _obey(worker):
            asyncio.run(worker.read_all())
            _say(cache.stats().listener_connected)
        for thread in running:
            thread.join()
        result = _result(worker, cache.stats())
    _say(result)


def _obey(worker: Worker) -> bool:
    """Wait for the next word; return whether it was ``read``, and do what the others say. No more words: the end."""
    for line in sys.stdin:
        if line.strip() == "read":
            return True
        if line.strip() == "end":
            break
        worker.rest()
        _say(None)
    worker.end()
    return False


def _result(worker: Worker, stats: Stats) -> Result:
    return Result(
        time_outs=worker.time_outs, errors=dict(worker.errors), examples=worker.examples, failovers=stats.failovers,
        lookups=stats.lookups, l1_hits=stats.l1.hits, loads=stats.loads,
    )  # fmt: skip


def _say(answer: object) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
