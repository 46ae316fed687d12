"""The API as an application of its own, as the bundle deploys it.

::

    granian --interface asgi --factory cacheclient.api:app
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
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
from cacheclient.api.jobs import Warm
from cacheclient.api.operations import operations
from cacheclient.api.problems import Problem, problem_of, unexpected
from cacheclient.api.routes import router
from cacheclient.api.settings import administrators, limit
from cacheclient.cache import AsyncCache
from cacheclient.contract import Env
from cacheclient.environment import environment
from cacheclient.errors import CacheError, ClosedError
from cacheclient.metrics import register
from cacheclient.savings import Prices, report
from cacheclient.warming import Report, Warmer, read_plans


class Served:
    """What one process serves: the cache while it is open, what it counts, and its warm-ups if there is a plan file.

    Raises:
        ConfigurationError: if the environment cannot be used.
    """

    def __init__(self) -> None:
        self._settings = environment()
        self._prices = Prices.from_env()
        plan_file = os.environ.get(Env.PLAN_FILE)
        self._plans = read_plans(plan_file) if plan_file else None
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._cache: AsyncCache[Any] | None = None
        self._warmer: Warmer | None = None
        self._began = time.monotonic()

    @contextlib.asynccontextmanager
    async def opened(self, _: FastAPI) -> AsyncIterator[None]:
        """Serve in the block."""
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_audit_to_stdout())
            stack.enter_context(_not_orphaned())
            self._cache = await stack.enter_async_context(AsyncCache.from_url(**self._settings))
            stack.callback(self.registry.unregister, register(self._cache, registry=self.registry))
            if self._plans is not None:
                sources = self._plans.sources(self._cache)
                warmer = Warmer(self._cache, sources, plans=self._plans.plans, follow=False)
                self._warmer = await stack.enter_async_context(warmer)
            yield
            self._cache = self._warmer = None

    def cache(self) -> AsyncCache[Any]:
        """Return the cache; raise ClosedError while it is not open."""
        if self._cache is None:
            raise ClosedError("the cache is not open")
        return self._cache

    @property
    def warm(self) -> Warm | None:
        """What runs a plan in this process; None without a plan file."""
        return None if self._plans is None else self._run

    async def _run(self, plan: str) -> Report:
        if self._warmer is None:
            raise ClosedError("the cache is not open")
        return await self._warmer.run(plan)

    def savings(self) -> dict[str, Any]:
        """Return what the cache has saved since the start of the process."""
        return report(self.cache().stats(), self._prices, time.monotonic() - self._began)


def app() -> FastAPI:
    """Return the API as an application of its own, configured by the environment (``contract.Env``).

    Raises:
        ConfigurationError: if the environment cannot be used.
    """
    served = Served()
    api = FastAPI(
        title="cachestack",
        summary="Statistics, invalidation and pre-warming of a two-tier cache",
        lifespan=served.opened,
        docs_url=None,  # its page runs scripts of a foreign host
        redoc_url=None,
        redirect_slashes=False,
    )
    problems(api)
    sections = {"savings": served.savings}
    api.include_router(router(served.cache, administrators(), warm=served.warm, limit=limit(), sections=sections))
    api.include_router(operations(served.cache, served.registry))
    return api


def problems(api: FastAPI) -> None:
    """Have every error of an application answered as a problem: unknown paths and methods, too."""

    async def answer(request: Request, error: Exception) -> Response:
        return (problem_of(error) or unexpected()).response(identify(request))

    for kind in (HTTPException, RequestValidationError, Problem, CacheError, Exception):
        api.add_exception_handler(kind, answer)


@contextlib.contextmanager
def _not_orphaned() -> Iterator[None]:
    """End this worker when the server's main process is gone: killed, that cannot tell, and the port stayed taken."""
    if (parent := multiprocessing.parent_process()) is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        os.kill(os.getpid(), signal.SIGTERM)  # what the main process would have sent: requests are answered first

    loop.add_reader(parent.sentinel, end)
    try:
        yield
    finally:
        loop.remove_reader(parent.sentinel)


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
