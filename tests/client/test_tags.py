"""Tags: one write makes any number of entries invalid, in every process, and no race lets one of them back in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from cacheclient import MISSING, AsyncCache, ConfigurationError
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.loads import Loads
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.reading import Reader
from cacheclient.tags import Tags
from tests.client.conftest import Hand, Source
from tests.client.racing import Patch, Race, Scene, in_l1, proofs
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]


@pytest.mark.parametrize("tier", ["memory", "redis"])
async def test_a_tag_takes_its_entries_along_and_no_others(
    opened: Open, shared_server: Server, namespace: str, tier: str
) -> None:
    cache = await opened("memory://" if tier == "memory" else shared_server.url, namespace)
    for number in range(20):
        await cache.set(f"u{number}", number, tags=["users", f"group:{number % 2}"])
    await cache.set("plain", "x")
    assert await cache.invalidate_tag("group:1")
    found = await cache.get_many([*(f"u{n}" for n in range(20)), "plain"])
    assert found == {**{f"u{n}": n for n in range(0, 20, 2)}, "plain": "x"}
    assert await cache.invalidate_tag("users")
    assert await cache.get_many([*(f"u{n}" for n in range(20)), "plain"]) == {"plain": "x"}
    assert await cache.invalidate_tag("nobody-has-it")
    assert await cache.get("plain") == "x"


async def test_entries_with_the_same_tags_share_what_is_kept_of_them(opened: Open, namespace: str) -> None:
    cache = await opened("memory://", namespace)
    for key, tags in (("a", ["t"]), ("b", ["t"]), ("c", ["u"])):
        await cache.set(key, 1, tags=tags)
    a, b, c = (cache._parts.local.table[key].tags for key in "abc")
    assert a is b
    assert [name for name, _ in c] == ["", "u"]


async def test_an_invalidated_value_is_loaded_again_and_kept_under_the_new_token(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache, source = await opened(shared_server.url, namespace), Source()
    assert await cache.get_or_load("a", source.load, tags=["t"]) == "old"
    source.value = "new"
    await cache.invalidate_tag("t")
    assert await cache.get_or_load("a", source.load, tags=["t"]) == "new"
    assert await cache.get_or_load("a", source.load, tags=["t"]) == "new"
    assert source.calls == 2


async def test_a_tag_reaches_the_l1_of_another_process(opened: Open, shared_server: Server, namespace: str) -> None:
    reader, writer = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    await until(lambda: reader.stats().listener_connected)
    await writer.set("tagged", 1, tags=["t"])
    await writer.set("other", 2, tags=["s"])
    await in_l1(reader, "tagged")
    await in_l1(reader, "other")
    await writer.invalidate_tag("t")
    await until(lambda: reader.peek("tagged") is ABSENT, reader.options.sync.max_staleness)
    await until(lambda: reader.peek("other") == 2)  # the gate may be closed for a moment on a busy machine
    assert await reader.get("tagged", MISSING) is MISSING


async def test_clear_empties_the_namespace_in_every_process_and_version(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    first, second = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    newer, foreign = (
        await opened(shared_server.url, namespace, version=2),
        await opened(shared_server.url, f"{namespace}x"),
    )
    await until(lambda: second.stats().listener_connected)
    for cache in (first, newer, foreign):
        await cache.set("a", 1)
    await first.set("b", 2, tags=["t"])
    await in_l1(second, "a")
    assert await first.clear()
    await until(lambda: second.peek("a") is ABSENT, second.options.sync.max_staleness)
    assert await second.get_many(["a", "b"]) == await first.get_many(["a", "b"]) == {}
    assert await newer.get("a", MISSING) is MISSING
    assert await foreign.get("a") == 1


@pytest.mark.parametrize("loss", ["deleted", "expired"])
async def test_a_marker_that_is_lost_is_a_miss(opened: Open, shared_server: Server, namespace: str, loss: str) -> None:
    cache, source = await opened(shared_server.url, namespace), Source()
    await cache.set("a", "set", tags=["t"])
    marker = KeySpace(namespace).marker("t")
    if loss == "deleted":  # as an eviction does
        shared_server.client.delete(marker)
    else:
        shared_server.client.pexpire(marker, 1)
        await until(lambda: not shared_server.client.exists(marker))
    await until(lambda: "t" not in cache._parts.tags._known)
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", source.load, tags=["t"]) == "old"
    assert await cache.get("a") == "old"


async def test_a_marker_outlives_what_carries_its_tag(opened: Open, shared_server: Server, namespace: str) -> None:
    cache, marker = await opened(shared_server.url, namespace), KeySpace(namespace).marker("t")
    await cache.set("short", 1, ttl=10, tags=["t"])
    await cache.set("long", 1, ttl=1000, tags=["t"])
    await cache.set("short", 2, ttl=10, tags=["t"])
    assert shared_server.client.ttl(marker) >= 1000
    assert await cache.get("short") == 2


async def test_the_marker_of_a_namespace_is_never_evicted(opened: Open, shared_server: Server, namespace: str) -> None:
    cache, marker = await opened(shared_server.url, namespace), KeySpace(namespace).marker("")
    for change in (cache.set("a", 1), cache.clear(), cache.set("a", 2)):
        await change
        assert shared_server.client.ttl(marker) == -1, "volatile-lfu evicts only what has an expiry"


async def test_writes_under_a_known_tag_do_not_disturb_it(opened: Open, own_server: Server, namespace: str) -> None:
    """Each change of a marker, of its expiry too, is pushed to all and ends L1 entries."""
    writer, reader = await opened(own_server.url, namespace), await opened(own_server.url, namespace)
    await until(lambda: reader.stats().listener_connected)
    await writer.set("a", 1, tags=["t"])
    await in_l1(reader, "a")
    pushes = reader.stats().invalidations["tag/remote"]
    for number in range(20):
        await writer.set(f"b{number}", number, tags=["t"])
    await until(lambda: reader.stats().invalidations["key/remote"] >= 20)
    assert reader.stats().invalidations["tag/remote"] == pushes
    assert own_server.commands("pexpire") == 0
    await until(lambda: reader.peek("a") == 1)


async def test_tokens_are_remembered_although_reads_overlap_without_end(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1, tags=["t"])
    hand.push(cache)
    tagged = cache._parts.serializer.load(hand.store.data["hand:v1:a"], "hand:v1:a").tags  # type: ignore[union-attr]
    first = hand.store.hold("fetch", executed=True)
    one = asyncio.create_task(cache._parts.tags.stand(tagged[1:]))
    await first.reached.wait()
    second = hand.store.hold("fetch", executed=True)
    two = asyncio.create_task(cache._parts.tags.stand(tagged[1:]))
    await second.reached.wait()
    first.go.set()
    assert await one
    assert "t" in cache._parts.tags._known
    second.go.set()
    assert await two
    assert not cache._parts.tags._fences


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ("users", "not one str"),
        ([""], "1 to 255"),
        (["a\n"], "printable"),
        (["x" * 256], "1 to 255"),
        ([7], "str"),
        ([str(n) for n in range(17)], "at most 16"),
    ],
)
async def test_tags_that_cannot_work_are_refused(opened: Open, namespace: str, tags: Any, says: str) -> None:
    cache, source = await opened("memory://", namespace), Source()
    with pytest.raises(ConfigurationError, match=says):
        await cache.set("a", 1, tags=tags)
    with pytest.raises(ConfigurationError, match=says):
        await cache.get_or_load("a", source.load, tags=tags)
    assert source.calls == 0


# -- races, each also without its defence -----------------------------------------------------------------------------


async def a_tag_is_invalidated_during_a_load(scene: Scene) -> None:
    hand = scene.hand
    reader, writer, source = await hand.cache(), await hand.cache(), Source()
    load = asyncio.create_task(reader.get_or_load("a", source.held, tags=["t"]))
    await source.reading.wait()
    source.value = "new"
    await writer.invalidate_tag("t")
    source.may_end.set()
    assert await load == "old"  # its caller began before
    assert await writer.get("a", MISSING) is MISSING
    assert await writer.get_or_load("a", source.load, tags=["t"]) == "new"


async def a_tag_is_invalidated_while_redis_is_away(scene: Scene) -> None:
    hand = scene.hand
    cache, source = await hand.cache(), Source()
    await cache.set("a", "old", tags=["t"])
    lost = hand.store.hold("remark", executed=False)
    lost.lost = True
    lost.go.set()
    source.value = "new"
    assert not await cache.invalidate_tag("t")
    again = hand.store.hold("remark", executed=False)  # it is owed all the time
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", source.load, tags=["t"]) == "new"
    again.go.set()


async def a_tag_is_invalidated_in_this_process(scene: Scene) -> None:
    hand = scene.hand
    cache = await hand.cache()
    await cache.set("a", "old", tags=["t"])
    hand.push(cache)
    assert await cache.get("a") == "old"
    assert cache.peek("a") == "old"
    await cache.invalidate_tag("t")  # no push is needed
    assert cache.peek("a") is ABSENT


async def a_cleared_entry_is_on_its_way_to_l1(scene: Scene) -> None:
    hand = scene.hand
    cache = await hand.cache()
    await cache.set("a", "old", tags=["t"])
    await cache.set("b", "old")
    hand.push(cache)
    await cache.get("b")  # the namespace's own token is known now
    entry_reply = hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(cache.get("a"))
    await entry_reply.reached.wait()
    marker_reply = hand.store.hold("fetch", executed=True)
    entry_reply.go.set()
    await marker_reply.reached.wait()
    await cache.clear()
    marker_reply.go.set()
    await read
    assert cache.peek("a") is ABSENT


async def an_owed_tag_is_paid(scene: Scene) -> None:
    hand = scene.hand
    cache, other = await hand.cache(), await hand.cache()
    await cache.set("a", "old", tags=["t"])
    before = hand.store.data["hand:tag:t"]
    hand.store.away = True
    assert not await cache.invalidate_tag("t")
    hand.store.away = False
    await scene.until(lambda: hand.store.data["hand:tag:t"] != before)
    assert await other.get("a", MISSING) is MISSING


async def read_that_waits_for_a_token(hand: Hand) -> tuple[AsyncCache, asyncio.Future[Any]]:
    """Return a cache, and its read of an entry whose tag Redis is asked for, and does not answer."""
    cache = await hand.cache()
    await cache.set("a", "old", tags=["t"])
    await cache.set("b", "old")
    hand.push(cache)
    await cache.get("b")  # the namespace's own token is known now
    entry_reply = hand.store.hold("fetch", executed=True)
    read = cache._parts.reader.read("a")
    await entry_reply.reached.wait()
    marker_reply = hand.store.hold("fetch", executed=True)
    entry_reply.go.set()
    await marker_reply.reached.wait()
    return cache, read


async def a_read_has_its_answer_when_its_cache_has_closed(scene: Scene) -> None:
    cache, read = await read_that_waits_for_a_token(scene.hand)
    await cache._parts.reader.close()
    assert read.done()
    assert read.result() == (None, False)


async def a_cache_closes_although_a_read_waits_for_redis(scene: Scene) -> None:
    cache, _ = await read_that_waits_for_a_token(scene.hand)
    async with asyncio.timeout(scene.patience):
        await cache._parts.reader.close()


def closing_waits_for_nobody(patch: pytest.MonkeyPatch) -> None:
    async def close(self: Reader) -> None:
        for task in self._settling:
            task.cancel()

    patch.setattr(Reader, "close", close)


def closing_cancels_nobody(patch: pytest.MonkeyPatch) -> None:
    async def close(self: Reader) -> None:
        await asyncio.shield(asyncio.gather(*self._settling))

    patch.setattr(Reader, "close", close)


def tokens_are_read_after_the_load(patch: pytest.MonkeyPatch) -> None:
    async def store_loaded(
        self: Loads, job: Any, expected: bytes, value: Any, seconds: float, _: Any, fence: Any
    ) -> Any:
        tagged = await self._tags_of(job)
        assert tagged is not None
        self._tags.forget()
        tagged = await self._tags_of(job)
        assert tagged is not None
        return await original(self, job, expected, value, seconds, tagged, fence)

    original = Loads._store_loaded
    patch.setattr(Loads, "_store_loaded", store_loaded)


def debts_do_not_hide_the_tag(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "owes_tag", lambda *_: False)


def changes_end_no_l1_entries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tags, "changed", lambda *_: None)


def clearing_forgets_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Local, "flush", lambda *_: None)  # the fences stand
    patch.setattr(Tags, "changed", lambda *_: None)  # and so does the token, which would keep it out of L1 alone


def nothing_is_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "owe", lambda *_: None)


RACES: Final[dict[Race, Patch]] = {
    a_tag_is_invalidated_during_a_load: tokens_are_read_after_the_load,
    a_tag_is_invalidated_while_redis_is_away: debts_do_not_hide_the_tag,
    a_tag_is_invalidated_in_this_process: changes_end_no_l1_entries,
    a_cleared_entry_is_on_its_way_to_l1: clearing_forgets_nothing,
    an_owed_tag_is_paid: nothing_is_owed,
    a_read_has_its_answer_when_its_cache_has_closed: closing_waits_for_nobody,
    a_cache_closes_although_a_read_waits_for_redis: closing_cancels_nobody,
}


test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
