"""Methods and options of single calls, on both façades, without Redis and with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import attrs
import msgspec
import pytest

from cacheclient import (
    MISSING,
    AsyncCache,
    Cache,
    CacheOptions,
    CodecError,
    ConfigurationError,
    FailsafeOptions,
    L1Options,
    L2Options,
    LoadTimeoutError,
    LockOptions,
)
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand, Source
from tests.conftest import Server, until

OPTIONS = CacheOptions(
    l1=L1Options(jitter=0), l2=L2Options(timeout=5), lock=LockOptions(load_timeout=3, lease=4, wait=4)
)
Open = Callable[..., Awaitable["Face"]]


class Face:
    """One cache by the asynchronous surface; a Cache is called in threads, and its loaders are plain functions."""

    def __init__(self, cache: AsyncCache[Any] | Cache[Any]) -> None:
        self.cache = cache

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        bound = getattr(self.cache, method)
        if isinstance(self.cache, AsyncCache):
            return await bound(*args, **kwargs)
        return await asyncio.to_thread(bound, *args, **kwargs)

    def loader(self, value: Any) -> Callable[[str], Any]:
        def plain(_: str) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        async def loaded(key: str) -> Any:
            return plain(key)

        return loaded if isinstance(self.cache, AsyncCache) else plain


@pytest.fixture(params=["async-memory", "threads-memory", "async-redis", "threads-redis"])
async def face(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Open]:
    """Return a function that opens a cache: each façade, without Redis and with it."""
    surface, tier = request.param.split("-")
    url = "memory://" if tier == "memory" else request.getfixturevalue("shared_server").url
    faces: list[Face] = []

    async def open_face(**settings: Any) -> Face:
        kind: Any = AsyncCache if surface == "async" else Cache
        one = Face(kind.from_url(url, namespace=namespace, **{"options": OPTIONS, **settings}))
        await one("start")
        faces.append(one)
        return one

    yield open_face
    for one in faces:
        await one("close")


# -- delete, exists, touch --------------------------------------------------------------------------------------------


async def test_exists_and_delete_say_whether_there_was_a_value(face: Open) -> None:
    cache = await face()
    assert not await cache("exists", "a")
    assert not await cache("delete", "a")
    await cache("set", "a", None)
    assert await cache("exists", "a")
    assert await cache("delete", "a")
    assert not await cache("exists", "a")
    assert await cache("get", "a", MISSING) is MISSING


async def test_nothing_at_the_source_does_not_exist(face: Open) -> None:
    cache = await face()
    assert await cache("get_or_load", "a", cache.loader(MISSING), negative_ttl=60) is MISSING
    assert not await cache("exists", "a")


async def test_touch_gives_a_value_another_life(face: Open) -> None:
    cache = await face()
    assert not await cache("touch", "a", 60)
    await cache("set", "a", 1, ttl=0.4, tags=["t"])
    assert await cache("touch", "a", 60)
    await cache("set", "b", 1, ttl=60)
    assert await cache("touch", "b", 0.1)
    await cache("set", "c", 1, ttl=0.4)
    until_gone = asyncio.get_running_loop().time() + 10
    while await cache("get", "c", MISSING) is not MISSING or await cache("get", "b", MISSING) is not MISSING:
        assert asyncio.get_running_loop().time() < until_gone
        await asyncio.sleep(0.02)
    assert await cache("get", "a") == 1  # set before c, and for as long
    await cache("invalidate_tag", "t")  # the tags are still its own
    assert await cache("get", "a", MISSING) is MISSING
    assert not await cache("touch", "a", 60)


@pytest.mark.parametrize("ttl", [0, -1, "5", float("nan"), True])
async def test_touch_refuses_a_ttl_that_cannot_be(face: Open, ttl: Any) -> None:
    cache = await face()
    with pytest.raises(ConfigurationError, match=r"^ttl=.*0\.001 to 2592000"):
        await cache("touch", "a", ttl)


async def test_touch_keeps_age_and_tells_every_l1(opened: Any, shared_server: Server, namespace: str) -> None:
    one, other = (
        await opened(shared_server.url, namespace, options=OPTIONS),
        await opened(shared_server.url, namespace, options=OPTIONS),
    )
    await one.set("a", 1, ttl=500)
    before = await one.get_entry("a")
    await until(lambda: other.stats().listener_connected)
    while other.peek("a") is ABSENT:
        await other.get("a")
        await asyncio.sleep(0.005)
    assert await one.touch("a", 60)
    await until(lambda: other.peek("a") is ABSENT)  # it would have lived longer there
    after = await one.get_entry("a")
    assert after.age >= before.age
    assert after.write_id != before.write_id
    assert 59_000 < shared_server.client.pttl(f"{namespace}:v1:a") <= 60_000


async def test_touch_loses_against_an_invalidation(hand: Hand) -> None:
    cache, other = await hand.cache(), await hand.cache()
    await cache.set("a", "old")
    filling = hand.store.hold("fill", executed=False)
    touch = asyncio.create_task(cache.touch("a", 60))
    await filling.reached.wait()
    await other.invalidate("a")
    filling.go.set()
    assert not await touch
    assert await other.get("a", MISSING) is MISSING


async def test_a_life_cut_short_ends_in_the_own_l1_too(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1, ttl=600)
    assert await cache.get("a") == 1
    assert cache.peek("a") == 1
    assert await cache.touch("a", 5)  # its push has not arrived
    hand.clock.now += 6
    assert await cache.get("a", MISSING) is MISSING


async def test_touch_without_redis_is_refused_quietly(hand: Hand) -> None:
    cache = await hand.cache()
    await cache.set("a", 1)
    hand.store.away = True
    assert not await cache.touch("a", 60)


# -- set_many ---------------------------------------------------------------------------------------------------------


async def test_set_many_stores_nothing_if_a_key_cannot_be(face: Open) -> None:
    cache = await face()
    with pytest.raises(ConfigurationError, match=r"^key="):
        await cache("set_many", {"a": 1, "": 2})
    assert await cache("get_many", ["a"]) == {}


async def test_set_many_stores_what_can_be_encoded_and_raises_for_the_rest(face: Open) -> None:
    cache = await face()
    with pytest.raises(CodecError, match="object"):
        await cache("set_many", {"a": 1, "b": object(), "c": 3}, ttl=60, tags=["t"])
    assert await cache("get_many", ["a", "b", "c"]) == {"a": 1, "c": 3}
    await cache("invalidate_tag", "t")
    assert await cache("get_many", ["a", "c"]) == {}


# -- fresh ------------------------------------------------------------------------------------------------------------


async def test_fresh_loads_whatever_is_there(face: Open) -> None:
    cache = await face()
    await cache("set", "a", "old")
    assert await cache("get", "a") == "old"
    assert await cache("get_or_load", "a", cache.loader("new"), fresh=True) == "new"
    assert await cache("get", "a") == "new"
    assert await cache("get_or_load", "b", cache.loader("first"), fresh=True) == "first"
    assert await cache("get", "b") == "first"


async def test_a_fresh_load_that_fails_raises_and_leaves_the_value(face: Open) -> None:
    cache = await face()
    await cache("set", "a", "old")
    with pytest.raises(LookupError, match="no row"):
        await cache("get_or_load", "a", cache.loader(LookupError("no row")), fresh=True)
    assert await cache("get", "a") == "old"


async def test_a_fresh_load_that_finds_nothing_takes_the_value_away(face: Open) -> None:
    cache = await face()
    await cache("set", "a", "old")
    assert await cache("get_or_load", "a", cache.loader(MISSING), fresh=True) is MISSING
    assert await cache("get", "a", MISSING) is MISSING


async def test_a_fresh_load_joins_no_earlier_one(hand: Hand) -> None:
    cache, source = await hand.cache(), Source("old")
    earlier = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    source.value = "new"
    assert await cache.get_or_load("a", source.load, fresh=True) == "new"
    source.may_end.set()
    assert await earlier == "old"
    assert await cache.get("a") == "new"  # the earlier fill came too late


async def test_a_fresh_load_is_not_kept_if_its_key_was_invalidated_meanwhile(hand: Hand) -> None:
    cache, other, source = await hand.cache(), await hand.cache(), Source("old")
    await cache.set("a", "older")
    fresh = asyncio.create_task(cache.get_or_load("a", source.held, fresh=True))
    await source.reading.wait()
    await other.invalidate("a")
    source.may_end.set()
    assert await fresh == "old"
    assert await other.get("a", MISSING) is MISSING


async def test_a_fresh_load_needs_no_redis(hand: Hand) -> None:
    cache, source = await hand.cache(), Source("new")
    await cache.set("a", "old")
    hand.store.away = True
    assert await cache.get_or_load("a", source.load, fresh=True) == "new"


# -- load_timeout and stale -------------------------------------------------------------------------------------------


async def test_a_call_may_give_its_loader_less_time(face: Open) -> None:
    cache = await face()
    held = asyncio.Event()

    async def hangs(_: str) -> Any:
        await held.wait()

    def slow(_: str) -> Any:
        asyncio.run(asyncio.wait_for(hangs(""), 0.5))

    load = hangs if isinstance(cache.cache, AsyncCache) else slow
    with pytest.raises(LoadTimeoutError, match=r"'a' took more than 0\.05 s"):
        await cache("get_or_load", "a", load, load_timeout=0.05)
    assert await cache("get_or_load", "a", cache.loader("quick")) == "quick"


async def test_a_lease_lives_as_long_as_its_load_may_take(opened: Any, shared_server: Server, namespace: str) -> None:
    cache, source = await opened(shared_server.url, namespace, options=OPTIONS), Source()
    load = asyncio.create_task(cache.get_or_load("a", source.held, load_timeout=100))
    await source.reading.wait()
    assert 90_000 < shared_server.client.pttl(f"{namespace}:v1:a") <= 100_000
    source.may_end.set()
    await load


@pytest.mark.parametrize(
    ("option", "value"),
    [("load_timeout", 0), ("load_timeout", 3601), ("load_timeout", "1"), ("stale", -1), ("stale", True),
     ("negative_ttl", 0), ("stale", 10**9)],
)  # fmt: skip
async def test_options_that_cannot_be_are_refused_by_name(face: Open, option: str, value: Any) -> None:
    cache = await face()
    with pytest.raises(ConfigurationError, match=rf"^{option}=.*: seconds, from"):
        await cache("get_or_load", "a", cache.loader(1), **{option: value})


async def test_a_call_says_how_old_a_value_it_takes(opened: Any, shared_server: Server, namespace: str) -> None:
    cache = await opened(shared_server.url, namespace, options=CacheOptions(failsafe=FailsafeOptions(window=0)))
    await cache.set("a", "old", ttl=0.05, stale=60)

    async def fails(_: str) -> str:
        raise LookupError("no row")

    await until(lambda: 0 < shared_server.client.pttl(f"{namespace}:v1:a") < 59_940)  # past its time, and kept
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", fails, stale=60) == "old"
    entry = await cache.get_entry("a")
    assert entry.stale == "load_failed"  # kept for a while, for all
    with pytest.raises(LookupError):
        await cache.get_or_load("b", fails, stale=60)


async def test_a_call_may_refuse_stale_values(opened: Any, shared_server: Server, namespace: str) -> None:
    options = CacheOptions(failsafe=FailsafeOptions(window=60, revalidate=True))
    cache, source = await opened(shared_server.url, namespace, options=options), Source("new")
    await cache.set("a", "old", ttl=0.05)
    await until(lambda: 0 < shared_server.client.pttl(f"{namespace}:v1:a") < 59_940)
    assert await cache.get_or_load("a", source.load, stale=0) == "new"


# -- types ------------------------------------------------------------------------------------------------------------


class Struct(msgspec.Struct):
    size: int


@dataclass
class Data:
    size: int


@attrs.define
class Attrs:
    size: int


class Typed(TypedDict):
    size: int


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("kind", "good", "bad", "says"),
    [
        (Struct, Struct(1), Struct("x"), r"expected Struct, got Struct: Expected `int`, got `str` - at `\$.size`"),  # type: ignore[arg-type]
        (Struct, Struct(1), Data(1), "expected Struct, got Data$"),
        (Data, Data(1), {"size": 1}, "expected Data, got dict$"),
        (Attrs, Attrs(1), Attrs("x"), r"expected Attrs, got Attrs: Expected `int`, got `str`"),  # type: ignore[arg-type]
        (Typed, {"size": 1}, {"size": None}, "expected Typed, got dict: Expected `int`, got `(null|None)`"),
        (list[Struct], [Struct(1)], [1], r"expected list\[.*Struct\], got list: Expected `object`, got `int`"),
        (int | None, None, "1", r"expected int \| None, got str$"),
        (str, "x", b"x", "expected str, got bytes$"),
        (float, 1.5, "1.5", "expected float, got str$"),
    ],
)
async def test_values_are_of_the_declared_type(
    face: Open, codec: str, kind: Any, good: Any, bad: Any, says: str
) -> None:
    cache = await face(type=kind, codec=codec)
    await cache("set", "a", good)
    assert await cache("get", "a") == good
    with pytest.raises(CodecError, match=says):
        await cache("set", "a", bad)
    with pytest.raises(CodecError, match=says):
        await cache("get_or_load", "b", cache.loader(bad))
    assert await cache("get", "a") == good
    assert await cache("get", "b", MISSING) is MISSING


@pytest.mark.parametrize(
    ("kind", "codec", "says"),
    [(int, "raw", "bytes only"), (int, "xml", r"codec='xml'"), (set[Struct] | set[int], "json", r"^type=")],
)
def test_a_type_that_no_codec_can_have_is_refused(kind: Any, codec: str, says: str) -> None:
    for surface in (AsyncCache, Cache):
        with pytest.raises(ConfigurationError, match=says):
            surface.from_url("memory://", namespace="a", type=kind, codec=codec)


def test_a_setting_that_is_not_one_is_named() -> None:
    for surface in (AsyncCache, Cache):
        with pytest.raises(ConfigurationError, match=r"^colour: no such setting; codec, options, "):
            surface.from_url("memory://", namespace="a", colour="red")  # type: ignore[call-overload]
