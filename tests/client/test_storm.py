"""Storms of pushes: when L1 is switched off, and when it comes back."""

from __future__ import annotations

import pytest

from cacheclient import CacheOptions, L1Options, SyncOptions
from cacheclient.missing import ABSENT
from cacheclient.storm import PushGuard
from tests.client.conftest import Hand
from tests.client.racing import in_l1


def test_a_storm_is_more_than_the_limit_within_a_second() -> None:
    guard = PushGuard(100)
    assert not guard.count(100, 10.0)
    assert not guard.count(100, 11.0)  # in another second
    assert not guard.storm
    assert guard.count(1, 11.5)
    assert guard.storm


def test_it_ends_after_five_seconds_of_at_most_half_the_limit() -> None:
    guard = PushGuard(100)
    guard.count(101, 10.0)
    for second in range(11, 20):  # never over the limit, but over half of it
        assert not guard.count(51, second)
    for second in range(20, 24):
        assert not guard.count(50, second)
        assert guard.storm
    assert guard.count(0, 24.0)  # the last bad second was 19
    assert not guard.storm
    assert not guard.count(51, 25.0)  # which would have prolonged a storm, but does not begin one
    assert not guard.storm


def test_without_a_limit_there_is_none() -> None:
    guard = PushGuard(0)
    assert not guard.count(10**9, 1.0)
    assert not guard.storm


async def test_l1_is_off_during_a_storm_and_comes_back_by_itself(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    options = CacheOptions(l1=L1Options(jitter=0), sync=SyncOptions(max_pushes=3))
    cache, other = await hand.cache(options=options), await hand.cache()
    await cache.set("a", 1)
    await in_l1(cache)
    hand.push(cache, "w", "x", "y", "z")
    assert cache.peek("a") is ABSENT
    assert await cache.get("a") == 1
    assert cache.peek("a") is ABSENT, "a fill during the storm"
    assert (cache.stats().l1_off, cache.stats().storms, cache.stats().l1.entries) == (True, 1, 0)
    assert "L1 of hand:v1: is off" in caplog.text
    hand.clock.advance(5)
    cache._parts.hearing.told([])  # the listener's next sign of life
    assert not cache.stats().l1_off
    assert "is on again" in caplog.text
    await in_l1(cache)
    await in_l1(other)
    assert not other.stats().l1_off


async def test_a_fill_that_began_before_a_storm_is_not_stored_after_it(hand: Hand) -> None:
    cache = await hand.cache(options=CacheOptions(sync=SyncOptions(max_pushes=3)))
    await cache.set("a", 1)
    reply = hand.store.hold("fetch", executed=True)
    fence = cache._parts.local.begin("a")
    hand.push(cache, "w", "x", "y", "z")
    hand.clock.advance(5)
    cache._parts.hearing.told([])
    assert cache._parts.local._fences.get("a") is not fence
    reply.go.set()


async def test_pushes_still_end_waits_and_tags_during_a_storm(hand: Hand) -> None:
    cache = await hand.cache(options=CacheOptions(sync=SyncOptions(max_pushes=1)))
    await cache.set("a", 1, tags=["t"])
    await cache.get("a")
    hand.push(cache, "x", "y")
    assert cache._parts.tags._known.keys() == {"", "t"}
    cache._parts.hearing.told([cache.space.marker("t")])
    assert cache._parts.tags._known.keys() == {""}
