"""The cache's HTTP API: mount the router into an application, or run ``app`` by itself as the bundle does.

``GET /cache/stats`` is open to whoever can reach the port. ``POST /cache/invalidate`` is for administrators: a bearer
token, compared in constant time; without a configured token it is refused for everybody.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict, Field

from cacheclient.cache import AsyncCache
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.metrics import register
from cacheclient.remote import read_secret

_BEARER: Final = HTTPBearer(auto_error=False)  # a global, because FastAPI looks annotations up in the module


class Invalidation(BaseModel):
    """What to invalidate: one key, in every pod."""

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, Field(min_length=1, max_length=512, description="the id, without namespace and version")]


def router(cache: Callable[[], AsyncCache[Any]], admin_token: str | None) -> APIRouter:
    """Return the routes for ``cache`` (called at each request, so that it may be opened later)."""
    routes = APIRouter(prefix="/cache", tags=["cache"])

    def administrator(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        token = given.credentials if given else ""
        if not admin_token or not hmac.compare_digest(token.encode(), admin_token.encode()):
            raise HTTPException(status.HTTP_401_UNAUTHORIZED, "administrators only: a bearer token is needed")

    @routes.get("/stats")
    def stats() -> dict[str, Any]:
        """Return hit rates and sizes of this process's cache."""
        return cache().stats().to_dict()

    @routes.post("/invalidate", dependencies=[Depends(administrator)])
    async def invalidate(what: Invalidation) -> dict[str, Any]:
        """Make every pod forget a key."""
        try:
            acknowledged = await cache().invalidate(what.key)
        except ConfigurationError as error:
            raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, str(error)) from error
        return {"key": what.key, "acknowledged": acknowledged}

    return routes


def app() -> FastAPI:
    """Return the API as an application of its own, configured by the environment (``contract.Env``).

    Raises:
        ConfigurationError: if the environment cannot be used.
    """
    token_file = os.environ.get(Env.ADMIN_TOKEN_FILE)
    admin_token = read_secret(token_file) if token_file else None
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    opened: list[AsyncCache[Any]] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncCache.from_env() as cache:
            collector = register(cache, registry=registry)
            opened.append(cache)
            yield
            opened.clear()
            registry.unregister(collector)

    api = FastAPI(title="cachestack", summary="Statistics and invalidation of a two-tier cache", lifespan=lifespan)
    api.include_router(router(lambda: opened[0], admin_token))

    @api.get("/healthz", tags=["operations"])
    def healthz() -> dict[str, bool]:
        """Say that the process serves; Redis away is no reason to restart it, so that is told, not failed."""
        return {"ok": True, "redis": not opened[0].stats().circuit_open}

    @api.get("/metrics", tags=["operations"])
    def metrics(request: Request) -> Response:
        """Return the counters in the format that the scraper asks for."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return api
