"""The API as an application of its own, as the bundle deploys it.

::

    granian --interface asgi --factory cacheclient.api:app
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.exceptions import HTTPException

from cacheclient.api import audit
from cacheclient.api.guard import identify
from cacheclient.api.operations import operations
from cacheclient.api.problems import Problem, problem_of, unexpected
from cacheclient.api.routes import router
from cacheclient.api.settings import administrators, limit
from cacheclient.cache import AsyncCache
from cacheclient.environment import environment
from cacheclient.errors import CacheError, ClosedError
from cacheclient.metrics import register
from cacheclient.savings import Prices, report


def app() -> FastAPI:
    """Return the API as an application of its own, configured by the environment (``contract.Env``).

    Raises:
        ConfigurationError: if the environment cannot be used.
    """
    settings, admins, rate, prices = environment(), administrators(), limit(), Prices.from_env()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    opened: list[AsyncCache[Any]] = []
    began = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with _audit_to_stdout():
            async with AsyncCache.from_url(**settings) as cache:
                collector = register(cache, registry=registry)
                opened.append(cache)
                yield
                opened.clear()
                registry.unregister(collector)

    def cache() -> AsyncCache[Any]:
        if not opened:
            raise ClosedError("the cache is not open")
        return opened[0]

    def savings() -> dict[str, Any]:
        return report(cache().stats(), prices, time.monotonic() - began)

    api = FastAPI(
        title="cachestack",
        summary="Statistics, invalidation and pre-warming of a two-tier cache",
        lifespan=lifespan,
        docs_url=None,  # its page runs scripts of a foreign host
        redoc_url=None,
        redirect_slashes=False,
    )
    problems(api)
    api.include_router(router(cache, admins, limit=rate, sections={"savings": savings}))
    api.include_router(operations(cache, registry))
    return api


def problems(api: FastAPI) -> None:
    """Have every error of an application answered as a problem: unknown paths and methods, too."""

    async def answer(request: Request, error: Exception) -> Response:
        return (problem_of(error) or unexpected()).response(identify(request))

    for kind in (HTTPException, RequestValidationError, Problem, CacheError, Exception):
        api.add_exception_handler(kind, answer)


@contextlib.contextmanager
def _audit_to_stdout() -> Iterator[None]:
    """Write the audit log, one JSON object a line, to where containers write their logs."""
    log, handler = logging.getLogger(audit.LOGGER), logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
