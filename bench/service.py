"""P9: the example service's cached endpoint, over the bare framework on the same server.

Both are FastAPI on granian with one worker, asked by 64 connections for bodies of the same size; the bare one returns a
constant. Every report is in L1 by then, so what is compared is what the cache adds to a request. Server and generator
share the machine: with two cores each has one.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack
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
        turns = {name: _turn(generator, seconds) for name, generator in generators.items()}
        for warm_up in turns.values():
            await warm_up()
        rounds = await setting.take_turns(f"P9 {CONNECTIONS} connections", turns)
        by = generators[OURS].name
    return _outcome(rounds, by)


def _turn(generator: Generator, seconds: float) -> Turn[Load]:
    async def turn() -> Load:
        load = await asyncio.to_thread(generator.run, CONNECTIONS, seconds)
        if load.refused or load.broken:
            raise BenchError(f"{load.refused + load.broken} of {load.requests} requests failed")
        return load

    return turn


def _outcome(rounds: dict[str, list[Load]], generator: str) -> Outcome:
    rate = Series(
        f"{CONNECTIONS} connections", "requests/s",
        {name: [load.rate for load in loads] for name, loads in rounds.items()}, higher_is_better=True,
    )  # fmt: skip
    slow = Series(
        f"{CONNECTIONS} connections, 99th percentile", "ms",
        {name: [load.p99 * 1000 for load in loads] for name, loads in rounds.items()},
    )  # fmt: skip
    return Outcome(
        (rate, slow),
        (
            rate.versus(BARE, Limit(0.6, "x", stretch=0.8)),
            Check(rate.title, Limit(10_000.0, "requests/s"), tuple(rate.rounds[OURS])),
            Check(slow.title, Limit(20.0, "ms", at_most=True), tuple(slow.rounds[OURS])),
        ),
        notes=(f"asked by {generator}, on the cores of the server",),
    )
