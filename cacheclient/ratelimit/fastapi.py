"""A rate limit as a FastAPI dependency.

::

    limiter = cache.rate_limiter("search", Limit(100, per=60))
    install(app)

    @app.get("/search", dependencies=[Depends(rate_limited(limiter, user_id))])
    async def search() -> ...

Responses carry RateLimit-Policy and RateLimit; a refused request is answered 429 with Retry-After and, after
``install``, a problem document (without it FastAPI's own form of an error).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from cacheclient.ratelimit.decision import Decision
from cacheclient.ratelimit.headers import PROBLEM_JSON, headers, problem
from cacheclient.ratelimit.limiter import AsyncRateLimiter

__all__ = ["RefusedError", "client_address", "install", "rate_limited"]


class RefusedError(HTTPException):
    """A request over its limit.

    Attributes:
        decision: why, and when it would pass.
        document: the problem document.
    """

    def __init__(self, name: str, decision: Decision) -> None:
        self.decision = decision
        self.document = problem(name, decision)
        super().__init__(self.document["status"], self.document["title"], headers(name, decision))


def client_address(request: Request) -> str:
    """Return the address of the client: a subject for callers that nobody knows.

    Behind a proxy it is the proxy's, so all share one limit, unless the server trusts the proxy's Forwarded headers.
    """
    return request.client.host if request.client else "unknown"


def rate_limited(
    limiter: AsyncRateLimiter | Callable[[], AsyncRateLimiter],
    subject: Callable[..., Any] = client_address,
    *,
    cost: int = 1,
) -> Callable[..., Awaitable[Decision]]:
    """Return a dependency that counts a hit for each request, and refuses those over the limit.

    Args:
        limiter: or a function that returns it, where it is made later than the routes.
        subject: whose hit it is: itself a dependency, so it may need a token, a header, a session, and returns a str.
        cost: how many hits a request counts as.
    """

    async def dependency(response: Response, who: str = Depends(subject)) -> Decision:
        used = limiter if isinstance(limiter, AsyncRateLimiter) else limiter()
        decision = await used.hit(who, cost)
        if not decision.allowed:
            raise RefusedError(used.name, decision)
        for field, value in headers(used.name, decision).items():
            response.headers.append(field, value)  # lists, by the draft: a route may be under several limits
        return decision

    return dependency


def install(app: FastAPI) -> None:
    """Have ``app`` answer refused requests with a problem document (RFC 9457)."""

    async def refused(_: Request, error: Exception) -> Response:
        refusal = cast("RefusedError", error)
        return JSONResponse(refusal.document, refusal.status_code, refusal.headers, PROBLEM_JSON)

    app.add_exception_handler(RefusedError, refused)
