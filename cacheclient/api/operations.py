"""What the platform asks of a pod that serves the API: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict

from cacheclient.api.authentication import Administrators
from cacheclient.api.guard import Guard
from cacheclient.api.problems import documented, not_ready
from cacheclient.api.rates import Rates
from cacheclient.cache import AsyncCache
from cacheclient.errors import ClosedError


class Health(BaseModel):
    """Whether the process serves, and whether it has Redis."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ok": True, "redis": True}]})
    ok: bool
    redis: bool


def operations(
    cache: Callable[[], AsyncCache[Any]], registry: CollectorRegistry, ready: Callable[[], bool] = lambda: True
) -> APIRouter:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``.

    Redis away is told, not failed: a restart would not bring it back, and what is asked for meanwhile is sent later.

    Args:
        cache: called at each request; until it gives the open cache, the process is not ready.
        registry: whose metrics are shown.
        ready: whether the process may be sent traffic, such as after its critical pre-warm.
    """
    routes = APIRouter(
        tags=["operations"], route_class=Guard(cache, Administrators(), Rates(cache, None)).routes(admin=False)
    )

    @routes.get("/healthz")
    async def healthz() -> Health:
        """Say that the process serves."""
        return Health(ok=True, redis=_redis(cache))

    @routes.get("/readyz", responses=documented(not_ready()))
    async def readyz() -> Health:
        """Say whether the process may be sent traffic."""
        cache()
        if not ready():
            raise not_ready()
        return Health(ok=True, redis=_redis(cache))

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics(request: Request) -> Response:
        """Return the counters in the format that the scraper asks for."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return routes


def _redis(cache: Callable[[], AsyncCache[Any]]) -> bool:
    try:
        return not cache().stats().circuit_open
    except ClosedError:
        return False
