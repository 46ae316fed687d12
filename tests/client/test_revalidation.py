"""After a gap L1 is compared with L2, not thrown away: what is asked, in which order, and what answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pytest

from cacheclient import MISSING, AsyncCache, entry
from cacheclient.held import Item
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.remote import Take
from cacheclient.tags import Tags
from tests.client.conftest import Hand
from tests.client.racing import Patch, Race, Scene, heard, in_l1, proofs, settled
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]


class Asked:
    """What a cache asks of its store: batches of write ids, and values."""

    def __init__(self, hand: Hand, patch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[str]] = []
        self.values: list[str] = []
        fetch, write_ids = hand.store.fetch, hand.store.write_ids

        def fetch_values(keys: Sequence[str], take: Take) -> None:
            self.values.extend(keys)
            fetch(keys, take)

        async def read_ids(keys: list[str]) -> list[bytes | None]:
            self.batches.append([key.removeprefix("hand:v1:") for key in keys])
            return await write_ids(keys)

        patch.setattr(hand.store, "fetch", fetch_values)
        patch.setattr(hand.store, "write_ids", read_ids)


async def filled(hand: Hand, *keys: str) -> AsyncCache:
    """Return a cache that has ``keys`` in L1."""
    cache = await hand.cache()
    await cache.set_many({key: key for key in keys})
    for key in keys:
        await in_l1(cache, key)
    return cache


async def test_what_l2_still_holds_answers_again_and_no_value_is_read(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"k{number}" for number in range(300)]
    cache = await filled(hand, *keys)
    asked = Asked(hand, monkeypatch)
    hand.push(cache)
    assert cache.stats().l1.suspects == 300
    assert [cache.peek(key) for key in keys] == [ABSENT] * 300
    await settled(cache)
    assert [cache.peek(key) for key in keys] == keys
    assert cache.stats().revalidated == {"trusted": 300}
    assert [len(batch) for batch in asked.batches] == [128, 128, 44]
    assert asked.values == [cache.space.marker("")]  # of the namespace's tag, once


async def test_the_most_used_entries_come_first(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.revalidation._BATCH", 2)
    cache = await filled(hand, "a", "b", "c", "d")
    for key, uses in {"a": 0, "b": 3, "c": 1, "d": 2}.items():
        cache._parts.local.table[key].frequency = uses
    asked = Asked(hand, monkeypatch)
    hand.push(cache)
    await settled(cache)
    assert asked.batches == [["b", "d"], ["c", "a"]]


async def test_what_l2_holds_no_more_is_dropped(hand: Hand) -> None:
    cache = await filled(hand, "same", "other", "buried", "gone")
    other = await hand.cache()
    await other.set("other", 2)
    await other.invalidate("buried")
    del hand.store.data["hand:v1:gone"]
    hand.push(cache)
    await settled(cache)
    assert set(cache._parts.local.table) == {"same"}
    assert cache.stats().revalidated == {"trusted": 1, "dropped": 3}


async def test_who_reads_a_suspect_entry_gets_it_from_l2_and_it_keeps_its_place(hand: Hand) -> None:
    cache = await filled(hand, "a", "b")
    item = cache._parts.local.table["a"]
    item.frequency = 2
    compared = hand.store.hold("write_ids", executed=True)
    hand.push(cache)
    await compared.reached.wait()
    before = cache.stats()
    assert await cache.get("a") == "a"
    after = cache.stats() - before
    assert (after.l1.misses, after.l2.hits, after.l1.evictions) == (1, 1, {})
    assert cache.peek("a") == "a"
    assert cache._parts.local.table["a"] is item
    assert item.frequency == 3
    compared.go.set()
    await settled(cache)
    assert [cache.peek("a"), cache.peek("b")] == ["a", "b"]


async def test_while_l2_is_away_entries_stay_suspect_and_are_asked_for_again(hand: Hand) -> None:
    cache = await filled(hand, "a")
    hand.store.away = True
    hand.push(cache)
    await asyncio.sleep(0.02)
    assert cache.peek("a") is ABSENT
    assert cache.stats().l1.suspects == 1
    hand.store.away = False
    await settled(cache)
    assert cache.peek("a") == "a"


async def test_what_this_process_owes_to_redis_is_not_trusted(hand: Hand) -> None:
    cache = await filled(hand, "a", "b")
    cache._parts.revalidation.distrust(lambda item: item.key == "a")
    hand.push(cache)
    await settled(cache)
    assert [cache.peek("a"), cache.peek("b")] == [ABSENT, "b"]


async def test_an_invalidation_that_a_failover_undid_is_seen_as_l2_shows_it_until_it_is_repeated(hand: Hand) -> None:
    reader, writer = await filled(hand, "a"), await hand.cache()
    replicated = hand.store.copy()
    await writer.invalidate("a")  # acknowledged; neither the push nor the replica got it
    hand.store.restore(replicated)
    hand.push(reader)
    await settled(reader)
    assert reader.peek("a") == await writer.get("a") == "a"  # L1 adds nothing to what was lost
    writer._invalidation.journal.replay()
    await until(lambda: hand.store.data["hand:v1:a"][:1] == entry.TOMBSTONE, 2)
    hand.push(reader, "a")
    assert await reader.get("a", MISSING) is MISSING


async def test_a_closed_cache_leaves_no_comparison_behind(hand: Hand) -> None:
    cache = await filled(hand, "a")
    compared = hand.store.hold("write_ids", executed=True)
    hand.push(cache)
    await compared.reached.wait()
    await cache.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "cacheclient-revalidation"]


async def test_a_listener_that_lost_its_connection_keeps_l1(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache = await opened(shared_server.url, namespace)
    await heard(cache)
    keys = [f"k{number}" for number in range(200)]
    await cache.set_many(dict.fromkeys(keys, 1))
    await until(lambda: cache.stats().invalidations["key/remote"] >= 200)
    for key in keys:
        await in_l1(cache, key)
    before = cache.stats()
    for client in shared_server.client.client_list():
        if client["name"] == f"cachestack:{namespace}" and "t" in client["flags"]:
            shared_server.client.client_kill_filter(_id=client["id"])
    await until(lambda: cache.stats().gaps > before.gaps and cache.stats().listener_connected)
    await settled(cache)
    assert [cache.peek(key) for key in keys] == [1] * 200
    after = cache.stats() - before
    assert after.revalidated == {"trusted": 200}
    assert after.l2.hits == 0


async def test_a_flush_of_redis_makes_everything_suspect_and_then_drops_it(opened: Open, own_server: Server) -> None:
    cache = await opened(own_server.url, "flushed")
    await heard(cache)
    await cache.set("a", 1)
    await in_l1(cache)
    own_server.client.flushall()
    await until(lambda: cache.peek("a") is ABSENT)
    await until(lambda: cache.stats().revalidated["dropped"] == 1)
    assert await cache.get("a", MISSING) is MISSING


# -- races -----------------------------------------------------------------------------------------------------------


async def a_change_is_missed_while_nothing_is_told(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old")
    await in_l1(reader)
    await writer.set("a", "new")  # and its push is lost
    scene.hand.push(reader)
    assert reader.peek("a") is ABSENT
    assert await reader.get("a") == "new"


async def a_push_arrives_while_its_entry_is_compared(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old")
    await in_l1(reader)
    compared = scene.hand.store.hold("write_ids", executed=True)
    scene.hand.push(reader)
    await compared.reached.wait()
    await writer.invalidate("a")
    scene.hand.push(reader, "a")
    compared.go.set()
    await settled(reader)
    assert reader.peek("a") is ABSENT


async def another_gap_opens_while_an_entry_is_compared(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old")
    await in_l1(reader)
    compared = scene.hand.store.hold("write_ids", executed=True)
    scene.hand.push(reader)
    await compared.reached.wait()
    await writer.invalidate("a")  # and its push is lost
    again = scene.hand.store.hold("write_ids", executed=False)
    scene.hand.push(reader)
    compared.go.set()
    comparing = reader._parts.revalidation._task
    await until(lambda: again.reached.is_set() or comparing is None or comparing.done(), 2)
    assert reader.peek("a") is ABSENT
    again.go.set()


async def a_tag_changes_while_nothing_is_told(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old", tags=["t"])
    await in_l1(reader)
    await writer.invalidate_tag("t")  # and its push is lost
    scene.hand.push(reader)
    await settled(reader)
    assert reader.peek("a") is ABSENT


async def a_tag_changes_while_an_entry_is_compared(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old", tags=["t"])
    await in_l1(reader)
    asked = scene.hand.store.hold("fetch", executed=True)
    scene.hand.push(reader)
    await asked.reached.wait()
    await writer.invalidate_tag("t")
    reader._parts.hearing.told([reader.space.marker("t")])
    asked.go.set()
    await settled(reader)
    assert reader.peek("a") is ABSENT


def nothing_becomes_suspect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Local, "suspect", lambda *_: None)


def suspects_are_trusted_past_their_fence(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Local, item: Item, _fence: object, guards: Any) -> bool:
        self._renew(item, item.ends, guards or ())
        self.table[item.key] = item
        return True

    def remove(self: Local, item: Item) -> None:  # else what is dropped has no value that could be trusted
        self._forget(item)
        self._queues.gone(item)

    patch.setattr(Local, "settle", settle)
    patch.setattr(Local, "_remove", remove)


def tags_always_stand(patch: pytest.MonkeyPatch) -> None:
    async def stand_all(_: Tags, sets: Sequence[object]) -> list[bool]:
        return [True] * len(sets)

    patch.setattr(Tags, "stand_all", stand_all)
    tags_are_not_watched(patch)


def tags_are_not_watched(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tags, "guards", lambda *_: ())


RACES: Final[dict[Race, Patch]] = {
    a_change_is_missed_while_nothing_is_told: nothing_becomes_suspect,
    a_push_arrives_while_its_entry_is_compared: suspects_are_trusted_past_their_fence,
    another_gap_opens_while_an_entry_is_compared: suspects_are_trusted_past_their_fence,
    a_tag_changes_while_nothing_is_told: tags_always_stand,
    a_tag_changes_while_an_entry_is_compared: tags_are_not_watched,
}

test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
