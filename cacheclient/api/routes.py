"""The endpoints under ``/cache``: a router that any FastAPI application mounts.

::

    app.include_router(router(lambda: cache, Administrators(Tokens("/etc/cache/admin"))))

``GET /cache/stats`` is open to whoever can reach the port; all else is for administrators.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Path, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.convertors import PathConvertor, register_url_convertor

from cacheclient.api.authentication import Administrators
from cacheclient.api.bodies import (
    BODY_LIMIT,
    EXPLAINED,
    Figures,
    Invalidated,
    Invalidation,
    Job,
    KeyInvalidation,
    PatternInvalidation,
    Prewarm,
    TagInvalidation,
)
from cacheclient.api.guard import Guard
from cacheclient.api.jobs import Jobs, Warm
from cacheclient.api.problems import Problem, documented
from cacheclient.api.rates import DEFAULT, Client, Rates
from cacheclient.api.replay import MAX_KEY
from cacheclient.cache import AsyncCache
from cacheclient.errors import ConfigurationError
from cacheclient.explain import Explanation
from cacheclient.gcra import Limit
from cacheclient.keys import MAX_ID_BYTES
from cacheclient.ratelimit.fastapi import client_address

WAIT: Final = 30.0  # seconds that a request waits for its pre-warm
_BEARER: Final = HTTPBearer(auto_error=False, description="one of the tokens of administrators, or a JWT")
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=MAX_KEY, pattern="^[!-~]+$",
        description="send the same again with a retry: the request is carried out once",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]  # fmt: skip
_REFUSALS: Final = (400, 401, 403, 409, 413, 415, 422, 429, 503)  # of what changes something
_LOOKS: Final = (401, 403, 422, 429, 503)  # of what only looks
_LOCATION: Final = {"Location": {"description": "where the job is told of", "schema": {"type": "string"}}}


class _Key(PathConvertor):
    """Whatever follows, as ``path``, which ends at a line end: then there is no such path, instead of no such key."""

    regex = "(?s:.*)"


register_url_convertor("cachekey", _Key())


def router(
    cache: Callable[[], AsyncCache[Any]],
    administrators: Administrators | None = None,
    *,
    warm: Warm | None = None,
    limit: Limit | None = DEFAULT,
    client: Client = client_address,
    sections: Mapping[str, Callable[[], Any]] | None = None,
    body_limit: int = BODY_LIMIT,
    wait: float = WAIT,
) -> APIRouter:
    """Return the routes for ``cache``.

    Args:
        cache: called at each request, so that the cache may be opened later.
        administrators: who may change things; nobody by default.
        warm: runs a plan (critical, hot, full) and returns figures about it, such as ``Warmer.run``. Without it a
            pre-warm is announced to the fleet, for every process that registered with ``on_prewarm``.
        limit: how often each client may ask, in the fleet as a whole; None: as often as it likes.
        client: who the client of a request is; the address it came from, which behind a proxy is the proxy's.
        sections: more figures for ``/cache/stats``, by the name of their section.
        body_limit: bytes that a body may have.
        wait: seconds that a request with ``"async": false`` waits for its pre-warm, 0 to 30.

    Raises:
        ConfigurationError: if ``wait`` or ``body_limit`` cannot be.
    """
    if not 0 <= wait <= WAIT or body_limit < 1:  # an idempotency key is held for twice the longest wait
        raise ConfigurationError(
            f"wait={wait!r}: seconds, from 0 to {WAIT:g}; body_limit={body_limit!r}: bytes, from 1"
        )
    guard = Guard(cache, administrators or Administrators(), Rates(cache, limit, client), body_limit=body_limit)
    jobs = Jobs(cache, warm)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await jobs.close()

    routes = APIRouter(prefix="/cache", tags=["cache"], lifespan=lifespan)
    routes.include_router(_for_everybody(guard, cache, sections or {}))
    routes.include_router(_for_administrators(guard, cache))
    routes.include_router(_prewarms(guard, jobs, wait))
    return routes


def _for_everybody(
    guard: Guard, cache: Callable[[], AsyncCache[Any]], sections: Mapping[str, Callable[[], Any]]
) -> APIRouter:
    routes = APIRouter(route_class=guard.routes(admin=False))

    @routes.get("/stats", response_model=Figures, responses=documented(429, 503))
    async def stats() -> dict[str, Any]:
        """Return hit rates and sizes of this process's cache."""
        return cache().stats().to_dict() | {name: figures() for name, figures in sections.items()}

    return routes


def _for_administrators(guard: Guard, cache: Callable[[], AsyncCache[Any]]) -> APIRouter:
    routes = APIRouter(route_class=guard.routes(admin=True), dependencies=[Security(_BEARER)])

    @routes.post(
        "/invalidate", response_model=Invalidated, response_model_exclude_none=True,
        responses={
            202: {"model": Invalidated, "description": "Redis does not have it yet: it is sent until it does"},
            **documented(*_REFUSALS),
        },
    )  # fmt: skip
    async def invalidate(
        request: Request, response: Response, what: Annotated[Invalidation, Body()], _: _IdempotencyKey = None
    ) -> Invalidated:
        """Make every pod forget a key, a tag's entries, or all that match a pattern."""
        done = await _forget(cache(), what)
        request.state.action.target = " ".join(_target(done))
        request.state.action.keys = done.entries if done.key is None else 1
        response.status_code = 200 if done.acknowledged else 202
        return done

    @routes.get(
        "/explain/{key:cachekey}",
        response_model=Explanation,
        responses={200: {"content": {"application/json": {"example": EXPLAINED}}}, **documented(*_LOOKS)},
    )
    async def explain(
        key: Annotated[str, Path(min_length=1, max_length=MAX_ID_BYTES, examples=["user:42"])],
    ) -> Explanation:
        """Return what each tier holds of a key now, and what a lookup would find. Values are not shown."""
        return await cache().explain(key)

    return routes


def _prewarms(guard: Guard, jobs: Jobs, wait: float) -> APIRouter:
    routes = APIRouter(route_class=guard.routes(admin=True), dependencies=[Security(_BEARER)])

    @routes.post(
        "/prewarm", response_model=Job, status_code=202,
        responses={
            200: {"model": Job, "description": "it has ended, or was announced to the fleet"},
            202: {"headers": _LOCATION, "description": "it runs: ask for it at Location"},
            **documented(*_REFUSALS),
        },
    )  # fmt: skip
    async def prewarm(
        request: Request, response: Response, what: Annotated[Prewarm, Body()], _: _IdempotencyKey = None
    ) -> Job:
        """Have entries loaded before they are asked for."""
        request.state.action.target = what.type
        job = await jobs.start(what)
        if not what.async_:
            job = await jobs.finished(job, wait)
        response.headers["Location"] = str(request.url_for("prewarm_job", job_id=job.id).path)
        response.status_code = 202 if what.async_ or job.state == "running" else 200
        request.state.action.target = f"{what.type} job {job.id}"
        return job

    @routes.get("/prewarm/{job_id}", response_model=Job, responses=documented(404, *_LOOKS))
    async def prewarm_job(
        job_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["5f1c0c7e9a6b4f6f8f2a7f0f5f9b1a2c"])],
    ) -> Job:
        """Return how a pre-warm stands. It is told of for a day, by every pod."""
        job = await jobs.find(job_id)
        if job is None:
            raise Problem(404, "no_such_job", "there is no such job, or it was long ago")
        return job

    return routes


async def _forget(cache: AsyncCache[Any], what: KeyInvalidation | TagInvalidation | PatternInvalidation) -> Invalidated:
    if isinstance(what, KeyInvalidation):
        return Invalidated(key=what.key, acknowledged=await cache.invalidate(what.key, durable=what.durable))
    if isinstance(what, TagInvalidation):
        return Invalidated(tag=what.tag, acknowledged=await cache.invalidate_tag(what.tag))
    entries = await cache.invalidate_pattern(what.pattern)
    return Invalidated(pattern=what.pattern, acknowledged=entries is not None, entries=entries)


def _target(done: Invalidated) -> tuple[str, str]:
    """Return what was forgotten, as a kind and a name."""
    found = {"key": done.key, "tag": done.tag, "pattern": done.pattern}
    kind, name = next((kind, name) for kind, name in found.items() if name is not None)
    return kind, name or ""
