"""How long own invalidations take to be heard of: by hand, and over a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from cacheclient import AsyncCache, LockTimeoutError
from cacheclient.propagation import _MOST, Propagation
from cacheclient.stats import Histogram
from cacheclient.testing import FakeClock
from tests.conftest import Server, until


def timed() -> tuple[Propagation, Histogram, FakeClock]:
    histogram, clock = Histogram(), FakeClock()
    return Propagation(histogram, clock), histogram, clock


def test_an_invalidation_is_timed_until_its_push() -> None:
    propagation, histogram, clock = timed()
    propagation.asked("a")
    clock.advance(0.003)
    propagation.told(["somebody-elses", "a"])
    assert (histogram.count, histogram.total) == (1, pytest.approx(0.003))
    propagation.told(["a"])
    assert histogram.count == 1, "the push of somebody else's write is not timed"


def test_the_first_of_two_invalidations_of_a_key_is_timed() -> None:
    propagation, histogram, clock = timed()
    propagation.asked("a")
    clock.advance(0.5)
    propagation.asked("a")
    propagation.told(["a"])
    assert histogram.total == pytest.approx(0.5)


def test_a_gap_ends_what_is_under_way() -> None:
    propagation, histogram, _ = timed()
    propagation.asked("a")
    propagation.gap()
    propagation.told(["a"])
    assert histogram.count == 0


def test_what_is_under_way_is_bounded() -> None:
    propagation, _, _ = timed()
    for number in range(2 * _MOST):
        propagation.asked(str(number))
    assert len(propagation.waiting) == _MOST


async def test_a_real_redis_tells_of_every_own_invalidation(shared_server: Server) -> None:
    async with AsyncCache.from_url(shared_server.url, namespace="heard") as cache:
        await until(lambda: cache.stats().listener_connected)
        await asyncio.gather(*(cache.invalidate(f"user:{number}") for number in range(20)))
        await until(lambda: cache.stats().propagation.count == 20)
        assert cache.stats().propagation.total > 0


async def test_without_redis_nothing_waits_for_a_push() -> None:
    async with AsyncCache.from_url("memory://", namespace="heard") as cache:
        await cache.invalidate("user:1")
        assert cache._parts.hearing.propagation.waiting == {}


async def test_locks_are_counted_by_what_became_of_them(shared_server: Server) -> None:
    async with AsyncCache.from_url(shared_server.url, namespace="locks") as cache:
        async with cache.lock("one"):
            with pytest.raises(LockTimeoutError):
                await cache.lock("one", wait=0).acquire()
        assert cache.stats().locks == {"acquired": 1, "timeout": 1}
