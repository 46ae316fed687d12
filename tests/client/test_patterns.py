"""Invalidation by pattern: what matches is forgotten in every tier, loads in flight included, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import MISSING, AsyncCache, CacheOptions, ConfigurationError, L2Options, entry
from cacheclient.journal import Journal
from cacheclient.keys import Glob, escape
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.remote import RedisStore
from tests.client.conftest import Hand, Source
from tests.client.racing import Patch, Race, Scene, in_l1, proofs
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]
PATIENT = CacheOptions(l2=L2Options(timeout=5))  # a busy machine does not lose writes here

# Keys and patterns over few characters, so that they meet often; "é" is two bytes, which Redis compares one by one.
_ids = st.text("ab-^]*\\é", min_size=1, max_size=5)
_classes = st.tuples(
    st.sampled_from(["", "^"]), st.lists(st.sampled_from(["a", "b", "a-b", "b-a", "*", "\\]", "^"]), max_size=3)
).map(lambda parts: f"[{parts[0]}{''.join(parts[1])}]")
_globs = st.lists(
    st.one_of(st.sampled_from(["*", "?", "a", "b", "-", "]", "^", "é", "\\*", "\\\\"]), _classes),
    min_size=1,
    max_size=5,
).map("".join)


@given(pattern=_globs, keys=st.lists(_ids, min_size=1, max_size=8, unique=True))
def test_globs_match_what_redis_matches(shared_server: Server, pattern: str, keys: list[str]) -> None:
    client = shared_server.client
    with client.pipeline() as pipe:
        pipe.delete("globs")
        pipe.sadd("globs", *keys)
        pipe.sscan("globs", 0, match=pattern, count=1000)
        matched = {member.decode() for member in pipe.execute()[-1][1]}
    glob = Glob(pattern)
    assert {key for key in keys if glob.matches(key)} == matched
    if glob.literal is not None:
        assert matched == {glob.literal} & set(keys)


def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    """As all of these tests must be: with plain backtracking this one would not end."""
    assert not Glob("*a" * 200 + "b").matches("a" * 500)
    assert Glob("*a" * 200 + "*").matches("a" * 500)


@given(_ids)
def test_an_escaped_key_is_a_glob_for_itself(key: str) -> None:
    assert Glob(escape(key)).literal == key


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("", "of 1 to"),
        ("a" * 3000, "of 1 to"),
        ("a\\", "backslash"),
        ("[ab", "not closed"),
        ("[^", "not closed"),
        ("[a-]", "not closed"),  # Redis reads a range from a to ]
        ("[é]", "ASCII"),
    ],
)
async def test_patterns_that_cannot_work_are_refused(opened: Open, namespace: str, pattern: str, says: str) -> None:
    cache = await opened("memory://", namespace)
    with pytest.raises(ConfigurationError, match=says):
        await cache.invalidate_pattern(pattern)


async def test_a_pattern_is_confined_to_its_namespace_and_version(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache = await opened(shared_server.url, namespace)
    others = [await opened(shared_server.url, namespace, version=2), await opened(shared_server.url, f"{namespace}x")]
    for one in (cache, *others):
        for key in ("user:1:a", "user:1:b", "user:2:a"):
            await one.set(key, key)
    assert await cache.count("user:1:*") == 2
    assert await cache.invalidate_pattern("user:1:*") == 2
    assert await cache.get_many(["user:1:a", "user:1:b", "user:2:a"]) == {"user:2:a": "user:2:a"}
    assert await cache.count() == await cache.invalidate_pattern("*") == 1  # tombstones are no entries
    assert await cache.get("user:2:a", MISSING) is MISSING
    for other in others:
        assert len(await other.get_many(["user:1:a", "user:1:b", "user:2:a"])) == 3


async def test_a_pattern_may_cover_every_namespace(opened: Open, shared_server: Server, namespace: str) -> None:
    own = await opened(shared_server.url, namespace, options=PATIENT)
    version = await opened(shared_server.url, namespace, version=12, options=PATIENT)
    other = await opened(shared_server.url, f"{namespace}x", options=PATIENT)
    for one in (own, version, other):
        await one.set_many({f"{namespace}:user:1": 1, "user:2": 2}, tags=[f"v1:{namespace}:user:1"])
    client = shared_server.client
    foreign = f"{namespace}:v1x:{namespace}:user:1"  # looks like an entry, and is none
    client.set(foreign, "x")
    marker = client.get(f"{namespace}:tag:v1:{namespace}:user:1")
    told: list[int] = []
    assert await own.invalidate_pattern(f"{namespace}:user:*", all_namespaces=True, progress=told.append) == 3
    assert told[-1] == 3
    assert told == sorted(told)
    for one in (own, version, other):
        assert await one.get_many([f"{namespace}:user:1", "user:2"]) == {"user:2": 2}
    assert client.get(foreign) == b"x"
    assert client.get(f"{namespace}:tag:v1:{namespace}:user:1") == marker


async def test_a_pattern_everywhere_owes_the_own_part_only(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a1", "old")
    hand.store.data["other:v1:a1"] = entry.lease(b"12345678")
    hand.store.away = True
    assert await cache.invalidate_pattern("a*", all_namespaces=True) is None
    hand.store.away = False
    await until(lambda: hand.store.data["hand:v1:a1"][:1] == entry.TOMBSTONE, 1)
    assert hand.store.data["other:v1:a1"][:1] == entry.LEASE


async def test_a_version_is_dropped_and_no_other(opened: Open, shared_server: Server, namespace: str) -> None:
    old = await opened(shared_server.url, namespace, version=1, options=PATIENT)
    new = await opened(shared_server.url, namespace, version=11, options=PATIENT)
    for cache in (old, new):
        await cache.set_many({f"k{number}": number for number in range(700)})
    await in_l1(old, "k1")
    told: list[int] = []
    assert await new.drop_version(1, progress=told.append) == 700
    assert told[-1] == 700
    assert len(told) > 1
    await until(lambda: old.peek("k1") is ABSENT, 1)
    assert await old.get_many(["k1", "k2"]) == {}
    assert len(await new.get_many(["k1", "k2"])) == 2
    assert await new.drop_version(1) == 0
    source = Source("late")
    load = asyncio.create_task(new.get_or_load("loading", source.held))
    await source.reading.wait()
    assert await new.drop_version(11) == 701  # the lease, too
    assert await new.get("k1", MISSING) is MISSING
    source.may_end.set()
    assert await load == "late"
    assert await new.get("loading", MISSING) is MISSING


@pytest.mark.parametrize("version", [0, 3, -1, True, "1", None])
async def test_a_version_of_others_is_not_dropped(opened: Open, namespace: str, version: Any) -> None:
    cache = await opened("memory://", namespace, version=2)
    with pytest.raises(ConfigurationError, match=r"version=.*: a whole number from 1 to 2"):
        await cache.drop_version(version)


async def test_a_version_that_cannot_be_dropped_to_the_end_says_so(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1)
    hand.store.away = True
    assert await cache.drop_version(1) is None


async def test_progress_is_told_as_it_is_made(opened: Open, own_server: Server, namespace: str) -> None:
    cache = await opened(own_server.url, namespace)
    await cache.set_many({f"k{n}": n for n in range(1500)})
    told: list[int] = []
    assert await cache.invalidate_pattern("k*", progress=told.append) == 1500
    assert len(told) > 2
    assert told == sorted(told)
    assert told[-1] == 1500
    assert own_server.commands("keys") == 0


async def test_a_pattern_reaches_the_l1_of_another_process(opened: Open, shared_server: Server, namespace: str) -> None:
    reader, writer = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    await until(lambda: reader.stats().listener_connected)
    await writer.set_many({"a1": 1, "a2": 2, "b1": 3})
    await until(lambda: reader.stats().invalidations["key/remote"] >= 3)
    for key in ("a1", "a2", "b1"):
        await in_l1(reader, key)
    await writer.invalidate_pattern("a?")
    await until(lambda: reader.peek("a1") is reader.peek("a2") is ABSENT, reader.options.sync.max_staleness)
    await until(lambda: reader.peek("b1") == 3)  # the gate may be closed for a moment on a busy machine


async def test_a_pattern_without_redis_empties_l1(opened: Open, namespace: str) -> None:
    cache = await opened("memory://", namespace)
    await cache.set_many({"a1": 1, "b1": 2})
    assert await cache.invalidate_pattern("a*") == 0  # there is no second tier to count in
    assert await cache.get_many(["a1", "b1"]) == {"b1": 2}


async def test_a_failing_progress_callback_leaves_the_pattern_owed(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a1", "old")

    def fail(_: int) -> None:
        raise RuntimeError("no progress")

    with pytest.raises(RuntimeError):
        await cache.invalidate_pattern("a*", progress=fail)
    assert await cache.get("a1", MISSING) is MISSING


async def test_a_key_that_is_gone_when_it_is_buried_stays_gone(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache, gone = await opened(shared_server.url, namespace), f"{namespace}:v1:gone"
    await cache.set("here", 1)
    store = cache._parts.shared.store
    assert isinstance(store, RedisStore)
    assert await store.script("bury", (f"{namespace}:v1:here", gone), b"12345678", 60_000) == 1
    assert await cache.get("here", MISSING) is MISSING
    assert not shared_server.client.exists(gone)


async def test_a_load_in_flight_is_void(opened: Open, shared_server: Server, namespace: str) -> None:
    reader, writer = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    source = Source()
    load = asyncio.create_task(reader.get_or_load("a1", source.held))
    await source.reading.wait()
    source.value = "new"
    assert await writer.invalidate_pattern("a*") == 0  # there is a lease, no entry
    source.may_end.set()
    assert await load == "old"
    assert await writer.get("a1", MISSING) is MISSING
    assert await reader.get_or_load("a1", source.load) == "new"


# -- races, each also without its defence -----------------------------------------------------------------------------


async def a_pattern_does_not_get_through(scene: Scene) -> None:
    hand = scene.hand
    cache, other = await hand.cache(), await hand.cache()
    await cache.set("a1", "old")
    hand.store.away = True
    assert await cache.invalidate_pattern("a*") is None
    hand.store.away = False
    await scene.until(lambda: hand.store.data["hand:v1:a1"][:1] == entry.TOMBSTONE)
    assert await other.get("a1", MISSING) is MISSING


async def an_own_read_follows_a_pattern_that_did_not_get_through(scene: Scene) -> None:
    hand = scene.hand
    cache, source = await hand.cache(), Source("new")
    await cache.set("a1", "old")
    await cache.set("b1", "kept")
    lost = hand.store.hold("bury_matching", executed=False)
    lost.lost = True
    lost.go.set()
    assert await cache.invalidate_pattern("a*") is None
    again = hand.store.hold("bury_matching", executed=False)  # it is owed all the time
    assert await cache.get("b1") == "kept"
    assert await cache.get("a1", MISSING) is MISSING
    assert await cache.get_or_load("a1", source.load) == "new"
    again.go.set()


async def a_read_fills_l1_while_an_own_pattern_is_on_its_way(scene: Scene) -> None:
    hand = scene.hand
    cache = await hand.cache()
    await cache.set("a1", "old")
    on_its_way = hand.store.hold("bury_matching", executed=False)
    invalidation = asyncio.create_task(cache.invalidate_pattern("a*"))
    await on_its_way.reached.wait()
    assert await cache.get("a1") == "old"  # not invalidated yet
    on_its_way.go.set()
    await invalidation
    assert await cache.get("a1", MISSING) is MISSING


def nothing_is_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "owe", lambda *_: None)


def debts_do_not_hide_the_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "__contains__", lambda *_: False)


def l1_keeps_what_matches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Local, "drop_matching", lambda *_: None)


RACES: Final[dict[Race, Patch]] = {
    a_pattern_does_not_get_through: nothing_is_owed,
    an_own_read_follows_a_pattern_that_did_not_get_through: debts_do_not_hide_the_key,
    a_read_fills_l1_while_an_own_pattern_is_on_its_way: l1_keeps_what_matches,
}


test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
