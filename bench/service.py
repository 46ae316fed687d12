"""P9: the example service's cached endpoint, over the bare framework on the same server.

Both are FastAPI on granian with one worker, asked by 64 connections for bodies of the same size; the bare one returns a
constant. Every report is in L1 by then, so what is compared is what the cache adds to a request. Server and generator
share the machine: with two cores each has one. The processor time that a request takes is told, too: it says what a
free core would do while others keep this machine busy.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Response

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting, Turn
from cacheclient.contract import Env
from examples.fingerprint.service.database import build
from examples.fingerprint.service.load import Generator, Load
from examples.fingerprint.service.postgres import PostgresError, postgres
from examples.fingerprint.service.serving import HOST, serving

CONNECTIONS: Final = 64
BARE: Final = "bare FastAPI"
_USERS: Final = 200
_ROWS: Final = 2_000  # the database is asked only while it warms up
_SIZE: Final = "BENCH_BODY_BYTES"


def bare() -> FastAPI:
    """Return an application that answers at once."""
    body = b"x" * int(os.environ[_SIZE])
    service = FastAPI()

    @service.get("/reports/{user}", response_class=Response)
    async def report(user: int) -> Response:
        del user
        return Response(body, media_type="application/json")

    return service


async def endpoint(setting: Setting) -> Outcome:
    """P9: requests a second, and the slowest in a hundred."""
    try:
        return await _compared(setting)
    except (PostgresError, OSError) as error:
        raise BenchError(str(error)) from error


async def _compared(setting: Setting) -> Outcome:
    cache = {Env.URL.value: setting.redis_url, Env.NAMESPACE.value: "reports"}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachestack-bench-")))
        dsn = stack.enter_context(postgres())
        build(dsn, _ROWS)
        ours = stack.enter_context(serving(dsn, cache, cached=True, warm=_USERS, log=folder / "ours.log"))
        size = await asyncio.to_thread(ours.size, "/reports/0")
        other = stack.enter_context(
            serving(
                dsn, cache | {_SIZE: str(size)}, cached=False, warm=0, log=folder / "bare.log",
                factory="bench.service:bare",
            )
        )  # fmt: skip
        seconds = setting.scaled(4, 1)
        generators = {
            OURS: Generator(host=HOST, port=ours.port, users=_USERS),
            BARE: Generator(host=HOST, port=other.port, users=_USERS),
        }
        pids = {OURS: ours.pid, BARE: other.pid}
        turns = {name: _turn(generator, pids[name], seconds) for name, generator in generators.items()}
        for warm_up in turns.values():
            await warm_up()
        rounds = await setting.take_turns(f"P9 {CONNECTIONS} connections", turns)
        by = generators[OURS].name
    return _outcome(rounds, by)


@dataclass(frozen=True, slots=True)
class Turned:
    """What a turn gave, and the processor time of the server for each request, in microseconds."""

    load: Load
    cpu_us: float


def _turn(generator: Generator, pid: int, seconds: float) -> Turn[Turned]:
    async def turn() -> Turned:
        before = _cpu_seconds(pid)
        load = await asyncio.to_thread(generator.run, CONNECTIONS, seconds)
        if load.refused or load.broken:
            raise BenchError(f"{load.refused + load.broken} of {load.requests} requests failed")
        return Turned(load, (_cpu_seconds(pid) - before) / load.requests * 1e6)

    return turn


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = int(fields[11]) + int(fields[12])  # in user mode and in the kernel; see proc(5)
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_cpu_seconds(int(child)) for child in children)


def _outcome(rounds: dict[str, list[Turned]], generator: str) -> Outcome:
    rate = Series(
        f"{CONNECTIONS} connections", "requests/s",
        {name: [one.load.rate for one in turns] for name, turns in rounds.items()}, higher_is_better=True,
    )  # fmt: skip
    slow = Series(
        f"{CONNECTIONS} connections, 99th percentile", "ms",
        {name: [one.load.p99 * 1000 for one in turns] for name, turns in rounds.items()},
    )  # fmt: skip
    cpu = Series(
        "processor time of a request", "us", {name: [one.cpu_us for one in turns] for name, turns in rounds.items()}
    )
    return Outcome(
        (rate, slow, cpu),
        (
            rate.versus(BARE, Limit(0.6, "x", stretch=0.8)),
            Check(rate.title, Limit(10_000.0, "requests/s"), tuple(rate.rounds[OURS])),
            Check(slow.title, Limit(20.0, "ms", at_most=True), tuple(slow.rounds[OURS])),
        ),
        notes=(f"asked by {generator}, on the cores of the server",),
    )
