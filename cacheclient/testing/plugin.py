"""Fixtures for applications: pytest loads them by itself where cachestack is installed (entry point ``pytest11``).

Everything else of ``cacheclient`` is imported when a fixture is used, so a test run that uses none pays nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cacheclient import AsyncCache, Cache
    from cacheclient.testing import Fleet

try:  # its own decorator works in its strict mode, too
    from pytest_asyncio import fixture as _async_fixture
except ImportError:  # anyio takes plain fixtures
    _async_fixture = pytest.fixture  # type: ignore[assignment]


@pytest.fixture
def cache_fleet() -> Iterator[Fleet]:
    """A fake Redis whose clock stands still; every cache that is made during the test uses it, whatever its URL."""
    from cacheclient.testing import Fleet  # noqa: PLC0415

    fleet = Fleet()
    with fleet.installed():
        yield fleet


@_async_fixture
async def async_cache(cache_fleet: Fleet) -> AsyncIterator[AsyncCache[Any]]:
    """An open AsyncCache of ``cache_fleet``, namespace ``test``. Needs pytest-asyncio or anyio."""
    async with cache_fleet.cache() as cache:
        yield cache


@pytest.fixture
def sync_cache(cache_fleet: Fleet) -> Iterator[Cache[Any]]:
    """An open Cache (for threads) of ``cache_fleet``, namespace ``test``."""
    with cache_fleet.threads() as cache:
        yield cache


@pytest.fixture
def cache_memory() -> Iterator[None]:
    """Have every cache that is made during the test do without Redis, as with the URL ``memory://``."""
    from cacheclient.testing import memory  # noqa: PLC0415

    with memory():
        yield


@pytest.fixture
def cache_no_waits() -> Iterator[None]:
    """Turn jitter, early refresh, default expiry and waiting off in every cache that is made during the test."""
    from cacheclient.testing import no_waits  # noqa: PLC0415

    with no_waits():
        yield


@pytest.fixture
def no_redis(cache_fleet: Fleet) -> Fleet:
    """Redis is away from the start, for every cache that is made during the test; ``recover()`` ends that."""
    cache_fleet.outage()
    return cache_fleet


@pytest.fixture
def cache_chaos() -> Iterator[Callable[..., Any]]:
    """A function: caches made from now on meet ``Chaos(**settings)``; it returns the counter of what was done."""
    from cacheclient.testing import Chaos  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Chaos(**settings).installed())
