"""Reads of one tick: what they share, and what none of them may do to the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache, entry
from cacheclient.codec import MsgpackCodec
from cacheclient.journal import Journal
from cacheclient.missing import ABSENT
from cacheclient.reads import Batch, Found
from tests.client.conftest import Hand
from tests.conftest import until


async def filled(hand: Hand, *keys: str, **kwargs: Any) -> AsyncCache:
    """Return a cache whose L2, but not L1, holds each key as its own value; the namespace's token is known."""
    cache = await hand.cache(**kwargs)
    for key in (*keys, "known"):
        await cache.set(key, key)
    await cache.get("known")
    return cache


def counted(cache: AsyncCache) -> tuple[int, int, int, int]:
    stats = cache.stats()
    return stats.l1.misses, stats.l2.hits, stats.l2.misses, stats.l2.lookup.count


async def test_reads_of_a_tick_ask_for_each_key_once_and_decode_it_once(hand: Hand) -> None:
    class Counting(MsgpackCodec):
        decoded = 0

        def decode(self, payload: bytes) -> Any:
            self.decoded += 1
            return super().decode(payload)

    codec = Counting()
    cache = await filled(hand, "a", "b", codec=codec)
    asked: list[list[str]] = []
    fetch = hand.store.fetch
    hand.store.fetch = lambda keys, take: (asked.append(list(keys)), fetch(keys, take))  # type: ignore[assignment]
    before, codec.decoded = counted(cache), 0
    assert await asyncio.gather(*(cache.get(key) for key in "abaac")) == ["a", "b", "a", "a", None]
    assert asked == [["hand:v1:a", "hand:v1:b", "hand:v1:c"]]
    assert codec.decoded == 2
    assert [now - then for now, then in zip(counted(cache), before, strict=True)] == [5, 4, 1, 5]


async def test_a_cancelled_caller_takes_nothing_from_those_who_wait_for_the_same(hand: Hand) -> None:
    cache = await filled(hand, "a")
    answer = hand.store.hold("fetch", executed=True)
    first, second, third = (asyncio.create_task(cache.get("a")) for _ in range(3))
    await answer.reached.wait()
    first.cancel()
    third.cancel()
    answer.go.set()
    assert await second == "a"
    assert [task.cancelled() for task in await settled(first, third)] == [True, True]
    assert cache.peek("a") == "a"


async def test_all_callers_may_be_cancelled_and_nothing_is_left(hand: Hand) -> None:
    cache = await filled(hand, "a")
    answer = hand.store.hold("fetch", executed=True)
    reads = [asyncio.create_task(cache.get("a")), asyncio.create_task(cache.get("of which nothing is stored"))]
    await answer.reached.wait()
    for read in reads:
        read.cancel()
    await settled(*reads)
    answer.go.set()
    await until(lambda: not cache._parts.local._fences)


async def test_an_entry_that_does_not_decode_is_a_miss_of_its_own(hand: Hand) -> None:
    cache = await filled(hand, *"abcdef")
    data = hand.store.data
    data["hand:v1:b"] = b"junk"
    data["hand:v1:c"] = data["hand:v1:c"][:-1]  # the payload is cut off
    data["hand:v1:d"] = entry.tombstone(b"12345678")
    found = await asyncio.gather(*(cache.get(key, MISSING) for key in "abcdef"))
    assert found == ["a", MISSING, MISSING, MISSING, "e", "f"]
    assert cache.stats().errors["l2/serialization"] == 2
    assert not cache._parts.local._fences


async def test_a_codec_that_fails_its_own_way_fails_no_other_read(hand: Hand) -> None:
    class Careless(MsgpackCodec):
        def decode(self, payload: bytes) -> Any:
            value = super().decode(payload)
            if value == "b":
                raise LookupError(value)
            return value

    cache = await filled(hand, *"abc", codec=Careless())
    assert await asyncio.gather(*(cache.get(key, MISSING) for key in "abc")) == ["a", MISSING, "c"]
    assert cache.stats().errors["l2/serialization"] == 1


async def test_a_drop_while_the_batch_is_on_its_way_voids_that_key_s_fill_alone(hand: Hand) -> None:
    cache = await filled(hand, *"abc")
    answer = hand.store.hold("fetch", executed=True)
    reads = asyncio.gather(*(cache.get(key) for key in "abc"))
    await answer.reached.wait()
    hand.push(cache, "b")
    answer.go.set()
    assert await reads == ["a", "b", "c"]  # they were asked for before the push
    assert [cache.peek(key) for key in "abc"] == ["a", ABSENT, "c"]


async def test_a_caller_after_an_invalidation_shares_no_read_that_began_before(hand: Hand) -> None:
    cache = await filled(hand, "a")
    answer = hand.store.hold("fetch", executed=True)
    before = asyncio.create_task(cache.get("a", MISSING))
    await answer.reached.wait()
    await cache.invalidate("a")
    assert await cache.get("a", MISSING) is MISSING
    answer.go.set()
    assert await before == "a"


async def test_a_read_planned_before_a_failed_invalidation_is_not_sent_after_it(hand: Hand) -> None:
    cache = await filled(hand, "a", "b")
    reads = [cache._parts.reader.read(key) for key in "ab"]
    cache._invalidation.journal.owe(next(iter(cache._invalidation.journal._recent))._replace(kind="key", name="a"))
    assert [(await read)[0] is not None for read in reads] == [False, True]


async def test_who_reads_what_redis_has_to_forget_is_told_once_and_not_asked_for(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Told:
        def __init__(self) -> None:
            self.found: list[Found] = []

        def done(self) -> bool:
            return False

        def set_result(self, found: Found, /) -> None:
            self.found.append(found)

    reader, batch = (await filled(hand, "a", "b"))._parts.reader, Batch()
    monkeypatch.setattr(Journal, "__len__", lambda _: 1)
    monkeypatch.setattr(Journal, "__contains__", lambda _, key: key == "a")
    first, second, third = Told(), Told(), Told()
    for key, one in (("a", first), ("a", second), ("b", third)):
        batch.add(f"hand:v1:{key}", one)
    assert reader.depart(batch) == ["hand:v1:b"]
    assert first.found == second.found == [(None, 0.0)]
    assert list(batch.everybody()) == [third], "whoever is told twice takes it for the answer to the next read"


async def test_only_entries_with_an_unknown_token_wait_for_it(hand: Hand) -> None:
    cache = await filled(hand, "a")
    await cache.set("b", "b", tags=["t"])
    await cache.set("c", "c", tags=["u"])
    for tag in "tu":
        cache._parts.tags.changed(tag)
    entries = hand.store.hold("fetch", executed=True)
    plain, *tagged = (asyncio.create_task(cache.get(key)) for key in "abc")
    await entries.reached.wait()
    tokens = hand.store.hold("fetch", executed=True)
    entries.go.set()
    assert await plain == "a"
    await tokens.reached.wait()
    assert not any(read.done() for read in tagged)
    tokens.go.set()
    assert await asyncio.gather(*tagged) == ["b", "c"]


async def test_closing_ends_reads_that_wait_for_a_token(hand: Hand) -> None:
    cache = await filled(hand)
    await cache.set("b", "b", tags=["t"])
    cache._parts.tags.changed("t")
    entries = hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(cache.get("b", MISSING))
    await entries.reached.wait()
    tokens = hand.store.hold("fetch", executed=True)
    entries.go.set()
    await tokens.reached.wait()
    await cache.close()
    assert await asyncio.wait_for(read, 5) is MISSING
    tokens.go.set()


async def settled(*tasks: asyncio.Task[Any]) -> tuple[asyncio.Task[Any], ...]:
    await asyncio.wait(tasks)
    return tasks
