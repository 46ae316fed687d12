"""The service: reports on users, read through the cache, or from the database at every request to show the difference.

::

    FINGERPRINT_DSN=... CACHE_URL=... granian --interface asgi --factory examples.fingerprint.service.app:app
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Body, Depends, FastAPI, HTTPException, Path, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from cacheclient import MISSING, AsyncCache, Limit, Missing
from cacheclient.api import router
from cacheclient.batch import ManyLoader
from cacheclient.metrics import register
from cacheclient.ratelimit.fastapi import install, rate_limited
from cacheclient.warming import Item, Warmer
from examples.fingerprint.service.database import Database
from examples.fingerprint.service.postgres import DSN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

CACHED: Final = "FINGERPRINT_CACHED"  # 0: ask the database at every request
WARM_USERS: Final = (
    "FINGERPRINT_WARM_USERS"  # how many of the most popular users are loaded before the service is ready
)
_User = Annotated[int, Path(ge=0, lt=2**31)]


class Popular:
    """The source of the warm-up: the reports that are asked for most. Users are numbered by their popularity."""

    name = "popular reports"
    priority = 1
    plans: Collection[str] = ("critical", "hot")
    timeout = 30.0

    def __init__(self, database: Database, users: int) -> None:
        self._database = database
        self._users = users
        self.load_many: ManyLoader[Any] | None = self._load_many

    async def items(self, after: int | None) -> AsyncIterator[Item]:
        """Give the keys; they are loaded as misses are."""
        for user in range(0 if after is None else after + 1, self._users):
            yield Item(key=str(user), at=user)

    def share(self, at: int | None) -> float:
        """Return how far ``at`` is."""
        return 0.0 if at is None else (at + 1) / self._users

    async def _load_many(self, keys: Sequence[str]) -> dict[str, bytes | Missing]:
        """Load reports, as many at a time as there are connections."""
        return dict(zip(keys, await asyncio.gather(*(_loaded(self._database, key) for key in keys)), strict=True))


async def _loaded(database: Database, key: str) -> bytes | Missing:
    found = await database.report(int(key))
    return MISSING if found is None else found


def app() -> FastAPI:
    """Return the service, as the environment describes it."""
    database = Database(os.environ[DSN])
    cache: AsyncCache[bytes] = AsyncCache.from_env(type=bytes)
    cached = os.environ.get(CACHED, "1") == "1"
    warmer = Warmer(cache, [Popular(database, int(os.environ.get(WARM_USERS, "0")))])
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    register(cache, registry=registry)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, cache, warmer:
            if cached:
                await warmer.at_start("critical", deadline=120)
            yield

    service = FastAPI(title="fingerprint", lifespan=lifespan)
    install(service)
    changes = cache.rate_limiter("changes", Limit(100, per=1))

    async def load(key: str) -> bytes | Missing:
        return await _loaded(database, key)

    @service.get("/reports/{user}", response_class=Response)
    async def report(user: _User) -> Response:
        key = str(user)
        found = await (cache.get_or_load(key, load, negative_ttl=60) if cached else load(key))
        if isinstance(found, Missing):
            raise HTTPException(404, "no such user")
        return Response(found, media_type="application/json")

    @service.put("/users/{user}/screen", dependencies=[Depends(rate_limited(changes))])
    async def change(user: _User, screen: Annotated[int, Body(ge=0, le=100_000)]) -> dict[str, Any]:
        version = await database.change(user, screen)
        if version is None:
            raise HTTPException(404, "no such user")
        return {"version": version, "acknowledged": await cache.invalidate(str(user))}  # after the commit

    @service.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"state": warmer.state}

    @service.get("/metrics")
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    # Last: routes are tried in order, and these would cost every report 20 us.
    service.include_router(router(lambda: cache))
    return service
