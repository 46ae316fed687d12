"""``failsafe.offline``: L1 goes on answering for a while when Redis is away, and says so."""

from __future__ import annotations

from cacheclient import MISSING, AsyncCache, CacheOptions, FailsafeOptions, L1Options
from cacheclient.contract import Tier
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand, Source
from tests.client.racing import in_l1


def offline(seconds: float, **l1: bool) -> CacheOptions:
    return CacheOptions(l1=L1Options(jitter=0, **l1), failsafe=FailsafeOptions(offline=seconds))  # type: ignore[arg-type]


async def filled(hand: Hand, seconds: float, **l1: bool) -> AsyncCache:
    cache = await hand.cache(options=offline(seconds, **l1))
    await cache.set("a", "old")
    await in_l1(cache)
    return cache


async def test_l1_answers_while_redis_is_away_marked_stale_and_for_so_long_only(hand: Hand) -> None:
    cache, source = await filled(hand, 10), Source("new")
    hand.fleet.outage()
    hand.clock.advance(9.9)
    assert cache.peek("a") is ABSENT  # the gate is shut for everything that asks for proof
    assert await cache.get("a") == "old"
    assert await cache.get_or_load("a", source.load) == "old"
    entry = await cache.get_entry("a")
    assert entry is not None
    assert (entry.value, entry.tier, entry.stale) == ("old", Tier.L1, "offline")
    assert cache.stats().stale_served == {"offline": 3}
    assert cache.stats().l2.misses == 0
    hand.clock.advance(0.1)
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", source.load) == "new"
    assert cache.stats().stale_served == {"offline": 3}


async def test_by_default_it_does_not(hand: Hand) -> None:
    cache = await filled(hand, 0)
    hand.fleet.outage()
    assert await cache.get("a", MISSING) is MISSING
    assert not cache.stats().stale_served


async def test_what_redis_answers_goes_first_even_if_nothing_is_told(hand: Hand) -> None:
    cache, other = await filled(hand, 10), await hand.cache()
    await other.set("a", "new")
    hand.fleet.line(cache).cut()  # the listener alone
    assert await cache.get("a") == "new"
    await other.invalidate("a")
    assert await cache.get("a", MISSING) is MISSING
    assert not cache.stats().stale_served


async def test_what_this_process_invalidated_is_not_served(hand: Hand) -> None:
    cache = await filled(hand, 10)
    await cache.set("b", "old", tags=["t"])
    await in_l1(cache, "b")
    hand.fleet.outage()
    await cache.invalidate("a")
    await cache.invalidate_tag("t")
    assert [await cache.get(key, MISSING) for key in ("a", "b")] == [MISSING, MISSING]


async def test_a_suspect_entry_is_not_served(hand: Hand) -> None:
    cache = await filled(hand, 10)
    hand.store.away = True
    hand.push(cache)  # any may have changed, and L2 does not say
    hand.fleet.outage()
    assert await cache.get("a", MISSING) is MISSING


async def test_an_entry_ends_when_its_own_time_is_over(hand: Hand) -> None:
    cache = await hand.cache(options=offline(1000))
    await cache.set("a", "old", ttl=5)
    await in_l1(cache)
    hand.fleet.outage()
    hand.clock.advance(5)
    assert await cache.get("a", MISSING) is MISSING


async def test_copies_are_made_of_what_is_served_offline(hand: Hand) -> None:
    cache = await hand.cache(options=offline(10, copy=True))
    await cache.set("a", [1])
    await in_l1(cache)
    hand.fleet.outage()
    (await cache.get("a")).append(2)
    assert await cache.get("a") == [1]
