"""What every cache that is asked has to offer, and our own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from cacheclient import AsyncCache

Load = Callable[[], Awaitable[str]]
TTL: Final = 60.0
SHORT: Final = 1.0  # a lifetime that ends during the questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One process' view of a cache. ``read`` loads what is missing. None: the library has no such call."""

    read: Callable[[str, Load, float], Awaitable[Any]]
    forget: Callable[[str], Awaitable[Any]]
    read_or_stale: Callable[[str, Load, float], Awaitable[Any]] | None = None
    read_tagged: Callable[[str, Load, str], Awaitable[Any]] | None = None
    forget_tag: Callable[[str], Awaitable[Any]] | None = None
    forget_pattern: Callable[[str], Awaitable[Any]] | None = None


Make = Callable[[str], AbstractAsyncContextManager[Candidate]]


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Candidate]:
    """Our own cache."""
    async with AsyncCache.from_url(url, namespace="features") as cache:
        yield Candidate(
            read=lambda key, load, ttl: cache.get_or_load(key, lambda _: load(), ttl=ttl),
            forget=cache.invalidate,
            read_or_stale=lambda key, load, ttl: cache.get_or_load(key, lambda _: load(), ttl=ttl, stale=TTL),
            read_tagged=lambda key, load, tag: cache.get_or_load(key, lambda _: load(), ttl=TTL, tags=[tag]),
            forget_tag=cache.invalidate_tag,
            forget_pattern=cache.invalidate_pattern,
        )
