"""How often each client may ask: a limit that all pods share (see ``cacheclient.ratelimit``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import Request

from cacheclient.api.problems import Problem
from cacheclient.cache import AsyncCache
from cacheclient.gcra import Limit
from cacheclient.ratelimit import AsyncRateLimiter, headers
from cacheclient.ratelimit.fastapi import client_address

DEFAULT: Final = Limit(600, per=60, burst=100)  # of one address
NAME: Final = "api"
Client = Callable[[Request], str]


class Rates:
    """The limit of one API; None: none. While Redis is away each process limits by itself."""

    def __init__(
        self, cache: Callable[[], AsyncCache[Any]], limit: Limit | None, client: Client = client_address
    ) -> None:
        self._cache = cache
        self._limit = limit
        self._client = client
        self._limiter: tuple[AsyncCache[Any], AsyncRateLimiter] | None = None

    async def count(self, request: Request) -> dict[str, str]:
        """Count a request, and return the header fields that say what is left.

        Raises:
            Problem: 429 if the client has had its share.
            ClosedError: if the cache is not open.
        """
        if self._limit is None:
            return {}
        decision = await self._of(self._cache(), self._limit).hit(self._client(request))
        fields = headers(NAME, decision)
        if decision.allowed:
            return fields
        raise Problem(
            429, "too_many_requests", f"{decision.limit}; again in {decision.retry_after:.1f} s", headers=fields
        )

    def _of(self, cache: AsyncCache[Any], limit: Limit) -> AsyncRateLimiter:
        """Return the limiter, one for as long as the cache is the same: it remembers who is over the limit."""
        if self._limiter is None or self._limiter[0] is not cache:
            self._limiter = (cache, cache.rate_limiter(NAME, limit, outage="local"))
        return self._limiter[1]
