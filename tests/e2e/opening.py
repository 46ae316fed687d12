"""An application that is ready when its critical warm-up is done, or DEADLINE seconds have passed.

Runs in the image of the jobs, which holds cacheclient and its API.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from cacheclient import AsyncCache
from cacheclient.api import operations
from cacheclient.contract import Env
from cacheclient.warming import Warmer, read_plans


def app() -> FastAPI:
    """Return the application, for ``granian --factory``."""
    opened: list[tuple[AsyncCache[object], Warmer]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        said = read_plans(os.environ[Env.PLAN_FILE])
        async with (
            AsyncCache[object].from_env() as cache,
            Warmer(cache, said.sources(cache), plans=said.plans) as warmer,
        ):
            opened.append((cache, warmer))
            start = asyncio.create_task(warmer.at_start(deadline=float(os.environ["DEADLINE"])))
            yield
            start.cancel()
            with suppress(asyncio.CancelledError):
                await start

    served = FastAPI(lifespan=lifespan)
    served.include_router(operations(lambda: opened[0][0], CollectorRegistry(), ready=lambda: opened[0][1].ready))
    return served
