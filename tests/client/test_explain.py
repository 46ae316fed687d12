"""What explain says of a key in each state, and that it neither counts nor changes anything."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache, Cache, CacheOptions, ConfigurationError, FailsafeOptions, L2Options
from cacheclient.codec import Compressed, MsgpackCodec, codec_name
from cacheclient.errors import UnavailableError
from tests.client.conftest import Hand, Source
from tests.client.test_tags import in_l1
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache[Any]]]
PATIENT = CacheOptions(l2=L2Options(timeout=5))


def test_codecs_have_names() -> None:
    assert codec_name(1) == "msgpack"
    assert codec_name(2 | 4 | 8) == "json+compressed+encrypted"
    assert codec_name(17) == "own (17)"


async def test_a_key_that_nobody_has(opened: Open, shared_server: Server, namespace: str) -> None:
    cache = await opened(shared_server.url, namespace, options=PATIENT)
    told = await cache.explain("a")
    assert (told.answer, told.l1.status, told.l2.status) == ("miss", "absent", "absent")
    assert told.redis_key == f"{namespace}:v1:a"
    assert not told.owed
    assert not told.refreshing
    assert told.flight is None
    assert str(told).splitlines()[0] == f"{namespace}:v1:a: a miss"


async def test_a_value_in_both_tiers_and_how_it_ends(opened: Open, shared_server: Server, namespace: str) -> None:
    cache = await opened(shared_server.url, namespace, options=PATIENT)
    await cache.set("a", "x", ttl=60, tags=["t", "u"])
    told = await cache.explain("a")
    assert (told.answer, told.l1.status, told.l2.status) == ("l2", "absent", "value")
    await in_l1(cache, "a")
    told = await cache.explain("a")
    entry = await cache.get_entry("a")
    assert entry is not None
    assert (told.answer, told.l1.status, told.l2.status) == ("l1", "value", "value")
    assert told.gate_open
    assert entry.write_id == told.l1.write_id == told.l2.write_id
    assert entry.tags == told.l1.tags == ("t", "u")
    assert [tag.name for tag in told.l2.tags] == ["(namespace)", "t", "u"]
    assert all(tag.valid for tag in told.l2.tags)
    assert entry.codec == told.l2.codec == "msgpack"
    assert entry.size == told.l1.size == told.l2.size == shared_server.client.strlen(f"{namespace}:v1:a")
    assert 50 < entry.remaining <= 60
    assert told.l2.remaining is not None
    assert told.l2.expires is not None
    assert 50 < told.l2.remaining <= told.l2.expires + 1 <= 61
    assert json.loads(json.dumps(told.to_dict()))["l2"]["tags"][1] == {"name": "t", "valid": True}
    for fact in ("L1 answers", "L1  value", "L2  value", "tag t: valid", "msgpack", "to live", "bytes"):
        assert fact in str(told)

    await cache.invalidate_tag("t")
    told = await cache.explain("a")
    assert (told.answer, told.l2.status) == ("miss", "tag changed")
    assert told.l1.status in ("tag changed", "absent")
    assert [tag.valid for tag in told.l2.tags] == [True, False, True]
    assert "tag t: changed" in str(told)

    await cache.invalidate("a")
    told = await cache.explain("a")
    assert (told.answer, told.l1.status, told.l2.status) == ("miss", "absent", "tombstone")
    assert len(told.l2.write_id) == 16


async def test_it_counts_and_changes_nothing(opened: Open, shared_server: Server, namespace: str) -> None:
    cache = await opened(shared_server.url, namespace, options=PATIENT)
    await until(lambda: cache.stats().listener_connected)
    await cache.set("a", 1, tags=["t"])
    shared_server.client.set(f"{namespace}:v1:garbage", b"VVVV")
    await until(lambda: cache.stats().invalidations["key/remote"] >= 2)
    before, known = cache.stats(), dict(cache._parts.tags._known)
    stored = shared_server.client.get(f"{namespace}:v1:a")
    for key in ("a", "b", "garbage"):
        await cache.explain(key)
    after = cache.stats()
    for snapshot in (before, after):
        snapshot.listener_connected = True
    assert dataclasses.asdict(after) == dataclasses.asdict(before)
    assert cache._parts.tags._known == known
    assert not cache._parts.local.table
    assert shared_server.client.get(f"{namespace}:v1:a") == stored


async def test_a_load_in_flight_and_its_lease(opened: Open, shared_server: Server, namespace: str) -> None:
    one, other, source = (
        await opened(shared_server.url, namespace, options=PATIENT),
        await opened(shared_server.url, namespace, options=PATIENT),
        Source(),
    )
    load = asyncio.create_task(one.get_or_load("a", source.held))
    await source.reading.wait()
    told, elsewhere = await one.explain("a"), await other.explain("a")
    assert told.l2.status == elsewhere.l2.status == "lease"
    assert told.flight is not None
    assert elsewhere.flight is None
    assert "a load has been in flight here" in str(told)
    source.may_end.set()
    await load
    assert (await one.explain("a")).flight is None


async def test_stale_kept_negative_and_unreadable_entries(opened: Open, shared_server: Server, namespace: str) -> None:
    options = CacheOptions(l2=L2Options(timeout=5), failsafe=FailsafeOptions(window=60))
    cache = await opened(shared_server.url, namespace, options=options)

    async def fails(_: str) -> Any:
        raise LookupError

    async def nothing(_: str) -> Any:
        return MISSING

    await cache.set("a", 1, ttl=0.02)
    while (told := await cache.explain("a")).l2.status != "stale":
        assert told.l2.status == "value"
    assert told.answer == "miss"
    assert told.l2.remaining is not None
    assert told.l2.remaining <= 0
    assert "past its time" in str(told)
    assert await cache.get_or_load("a", fails) == 1
    told = await cache.explain("a")
    assert told.l2.kept
    assert (told.l2.status, told.answer) == ("value", "l2")

    await cache.get_or_load("n", nothing, negative_ttl=60)
    told = await cache.explain("n")
    assert told.l2.negative
    assert "the source has nothing" in str(told)

    other = await opened(shared_server.url, namespace, codec=Compressed(MsgpackCodec()))
    assert (await other.explain("a")).l2.status == "unreadable"
    await other.set("c", 1)
    entry = await other.get_entry("c")
    assert entry is not None
    assert entry.codec == "msgpack+compressed"
    shared_server.client.set(f"{namespace}:v1:a:claimed", "V")
    shared_server.client.set(f"{namespace}:refresh:v1:a", "L12345678")
    assert (await cache.explain("a")).refreshing


async def test_redis_away_is_a_part_of_the_answer(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1)
    assert await cache.get("a") == 1
    hand.store.away = True
    assert not await cache.invalidate("b")
    told = await cache.explain("b")
    assert (told.answer, told.l2.status, told.owed) == ("miss", "unavailable", True)
    assert "the store is away" in told.l2.problem
    assert "has not got through yet" in str(told)
    told = await cache.explain("a")
    assert (told.answer, told.l1.status) == ("l1", "value")
    cache._parts.shared.gate.until = 0
    told = await cache.explain("a")
    assert (told.answer, told.gate_open) == ("miss", False)
    assert "the gate is closed" in str(told)
    with pytest.raises(UnavailableError):
        await hand.store.inspect(["x"])


async def test_suspect_and_expired_entries(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1, ttl=100)
    assert await cache.get("a") == 1
    cache._parts.local.suspect()
    told = await cache.explain("a")
    assert (told.answer, told.l1.status) == ("l2", "suspect")
    hand.clock.now += 200
    told = await cache.explain("a")
    assert (told.answer, told.l1.status) == ("miss", "expired")


async def test_without_redis_there_is_no_second_tier(namespace: str) -> None:
    async with AsyncCache.from_url("memory://", namespace=namespace) as cache:
        await cache.set("a", 1)
        told = await cache.explain("a")
        assert (told.answer, told.l1.status, told.l2.status) == ("l1", "value", "none")
        with pytest.raises(ConfigurationError, match=r"^key="):
            await cache.explain("")


def test_threads_ask_the_same(shared_server: Server, namespace: str) -> None:
    with Cache.from_url(shared_server.url, namespace=namespace, options=PATIENT) as cache:
        cache.set("a", 1)
        assert cache.explain("a").l2.status == "value"
