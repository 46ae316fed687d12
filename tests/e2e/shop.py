"""An application: it serves the cache's API, and looks keys up all the time; a share of them (MISSES) is new each time.

Runs in the image of the jobs, which holds cacheclient and its API.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from cacheclient import AsyncCache
from cacheclient.api import router

HOT = 50
PAUSE = 0.002


def app() -> FastAPI:
    """Return the application, for ``granian --factory``."""
    opened: list[AsyncCache[str]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncCache[str].from_env() as cache:
            opened.append(cache)
            customers = asyncio.create_task(shopping(cache, float(os.environ.get("MISSES", "0"))))
            yield
            customers.cancel()
            with suppress(asyncio.CancelledError):
                await customers

    served = FastAPI(lifespan=lifespan)
    served.include_router(router(lambda: opened[0]))
    return served


async def shopping(cache: AsyncCache[str], misses: float) -> None:
    """Look keys up until the end."""
    for number in itertools.count():
        new = random.random() < misses  # noqa: S311  no secret
        key = f"new:{random.getrandbits(64)}"  # pods have the same process ids and counters
        await cache.get_or_load(key if new else f"hot:{number % HOT}", load)
        await asyncio.sleep(PAUSE)


async def load(key: str) -> str:
    """Return what a database would."""
    return f"value of {key}"
