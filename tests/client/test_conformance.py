"""What AsyncCache and Cache both promise, over no Redis, the fake one, real servers and a Redis Cluster."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import msgspec
import pytest

from cacheclient import (
    MISSING,
    AsyncCache,
    AsyncRateLimiter,
    Cache,
    CacheOptions,
    ClosedError,
    CodecError,
    ConfigurationError,
    Entry,
    L1Options,
    L2Options,
    Limit,
    LoadTimeoutError,
    LockOptions,
    Stats,
    SyncOptions,
)
from cacheclient.testing import FakeClock, Fleet
from tests.client.redis_cluster import EACH_KIND, KINDS, RedisCluster
from tests.conftest import BINARIES, Server, until

OPTIONS: Final = CacheOptions(
    l1=L1Options(jitter=0),
    l2=L2Options(timeout=0.5),
    lock=LockOptions(load_timeout=3, lease=4, wait=4),
    sync=SyncOptions(max_staleness=0.5),
)
SERVERS: Final = [*BINARIES, *EACH_KIND]
# A stalled event loop loses its tenure over a cluster after less than this: a busy machine has stalled for 1.7 s.
CLUSTER_OPTIONS: Final = dataclasses.replace(
    OPTIONS, l2=L2Options(timeout=3.0, connect_timeout=10), sync=SyncOptions(max_staleness=15)
)
Load = Callable[[str], Any]


class Subject:
    """One cache under test, by the asynchronous surface; a Cache is called in threads of its own."""

    def __init__(self, cache: AsyncCache | Cache) -> None:
        self.cache = cache

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self.cache, name)
        if isinstance(self.cache, AsyncCache):
            return await method(*args, **kwargs)
        return await asyncio.to_thread(method, *args, **kwargs)

    async def start(self) -> None:
        await self._call("start")

    async def close(self) -> None:
        await self._call("close")

    async def get(self, key: str, default: Any = None) -> Any:
        return await self._call("get", key, default)

    async def get_many(self, keys: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = await self._call("get_many", keys)
        return found

    async def get_entry(self, key: str) -> Entry | None:
        entry: Entry | None = await self._call("get_entry", key)
        return entry

    async def set(self, key: str, value: Any, **kwargs: Any) -> bool:
        acknowledged: bool = await self._call("set", key, value, **kwargs)
        return acknowledged

    async def invalidate(self, key: str, **kwargs: Any) -> bool:
        acknowledged: bool = await self._call("invalidate", key, **kwargs)
        return acknowledged

    async def get_or_load(self, key: str, load: Load, **kwargs: Any) -> Any:
        if isinstance(self.cache, Cache):
            return await self._call("get_or_load", key, load, **kwargs)

        async def loaded(wanted: str) -> Any:
            return await asyncio.to_thread(load, wanted)

        return await self._call("get_or_load", key, loaded, **kwargs)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return any other method, to be awaited."""
        return partial(self._call, name)

    def stats(self) -> Stats:
        return self.cache.stats()


Make = Callable[..., Awaitable[Subject]]
Backend = Server | RedisCluster | Fleet | None


@pytest.fixture(scope="session", params=["memory", "fake", *SERVERS])
def backend(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Iterator[Backend]:
    """Each server in turn, and the fake one; None is ``memory://``."""
    if request.param in KINDS:
        cluster = RedisCluster(launch, request.param, replicas=False)
        yield cluster
        cluster.kill()
    elif request.param == "fake":
        fleet = Fleet(FakeClock(running=True))
        fleet.store.replicas = False
        yield fleet
    else:
        yield None if request.param == "memory" else launch(request.param)


@pytest.fixture
def server(backend: Backend) -> Server | RedisCluster:
    """Return the backend of a test that looks into a real server."""
    assert isinstance(backend, (Server, RedisCluster))
    return backend


def options(backend: Backend) -> CacheOptions:
    """Return the options of a backend's caches."""
    return CLUSTER_OPTIONS if isinstance(backend, RedisCluster) else OPTIONS


@pytest.fixture
def staleness(backend: Backend) -> float:
    """Return how many seconds later another cache may still read what was: the promise, and a half for the test."""
    return options(backend).sync.max_staleness + 0.5


@pytest.fixture
async def make(request: pytest.FixtureRequest, backend: Backend, namespace: str) -> AsyncIterator[Make]:
    """Return a function that opens a cache of the test's namespace; all are closed afterwards."""
    surface: type[AsyncCache | Cache] = request.param
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(40))  # a thread for each caller of a Cache

    async with AsyncExitStack() as stack:

        async def open_cache(**kwargs: Any) -> Subject:
            url = backend.url if isinstance(backend, (Server, RedisCluster)) else "memory://"
            settings: dict[str, Any] = {"namespace": namespace, "options": options(backend), **kwargs}
            if isinstance(backend, Fleet):
                subject = Subject((backend.cache if surface is AsyncCache else backend.threads)(**settings))
            else:
                subject = Subject(surface.from_url(url, **settings))
            await subject.start()
            stack.push_async_callback(subject.close)
            return subject

        yield open_cache


both = pytest.mark.parametrize("make", [AsyncCache, Cache], indirect=True)
two_tiers = pytest.mark.parametrize("backend", ["fake", *SERVERS], indirect=True, scope="session")
servers = pytest.mark.parametrize("backend", SERVERS, indirect=True, scope="session")
no_tier = pytest.mark.parametrize("backend", ["memory"], indirect=True, scope="session")  # refused before any is asked
newest = pytest.mark.parametrize("backend", ["valkey-9.1"], indirect=True, scope="session")
pytestmark = both


async def listening(*subjects: Subject) -> None:
    """Wait until pushes reach these caches, so that their L1 may answer."""
    await until(lambda: all(s.stats().listener_connected for s in subjects))


class Loader:
    """Gives the values it was told, counts its calls, and can be held."""

    def __init__(self, value: Any = "loaded") -> None:
        self.value = value
        self.calls = 0
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, key: str) -> Any:
        self.calls += 1
        value = self.value
        assert self.may_end.wait(10), f"the loader of {key} was never let go"
        if isinstance(value, Exception):
            raise value
        return value


async def test_what_was_set_is_got(make: Make) -> None:
    cache = await make()
    assert await cache.get("a") is None
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.set("a", {"x": [1, "två", b"3", None, 2.5]})
    assert await cache.get("a") == {"x": [1, "två", b"3", None, 2.5]}


async def test_none_is_a_value(make: Make) -> None:
    cache = await make()
    await cache.set("a", None)
    assert await cache.get("a", MISSING) is None
    assert await cache.get_many(["a", "b"]) == {"a": None}
    load = Loader()
    assert await cache.get_or_load("a", load) is None
    assert load.calls == 0


async def test_get_many_gives_what_is_there_once_each(make: Make) -> None:
    cache = await make()
    for number in range(300):
        await cache.set(f"k{number}", number)
    found = await cache.get_many([f"k{n}" for n in range(0, 600, 2)] * 2)
    assert found == {f"k{n}": n for n in range(0, 300, 2)}
    assert await cache.get_many([]) == {}


async def test_a_loaded_value_is_kept(make: Make) -> None:
    cache, load = await make(), Loader("v1")
    assert await cache.get_or_load("a", load) == "v1"
    load.value = "v2"
    assert await cache.get_or_load("a", load) == "v1"
    assert await cache.get("a") == "v1"
    assert load.calls == 1


async def test_a_loaded_none_is_kept(make: Make) -> None:
    cache, load = await make(), Loader(None)
    assert await cache.get_or_load("a", load) is None
    assert await cache.get_or_load("a", load) is None
    assert load.calls == 1


async def test_an_invalidated_value_is_gone(make: Make) -> None:
    cache, load = await make(), Loader("v1")
    await cache.get_or_load("a", load)
    assert await cache.invalidate("a")
    assert await cache.get("a", MISSING) is MISSING
    load.value = "v2"
    assert await cache.get_or_load("a", load) == "v2"
    assert await cache.get("a") == "v2"


async def test_the_entry_tells_its_tier_age_and_write(make: Make, backend: Backend) -> None:
    cache = await make()
    assert await cache.get_entry("a") is None
    await cache.set("a", 1)
    if backend is not None:
        entry = await cache.get_entry("a")
        assert entry is not None
        assert entry.tier == "l2"
        await listening(cache)

    async def from_l1() -> Entry | None:
        entry = await cache.get_entry("a")
        return entry if entry is not None and entry.tier == "l1" else None

    deadline = time.monotonic() + 5
    while (entry := await from_l1()) is None:
        assert time.monotonic() < deadline
    assert entry.value == 1
    assert 0 <= entry.age < 10
    assert len(bytes.fromhex(entry.write_id)) == 8


async def test_a_value_lives_no_longer_than_its_ttl(make: Make) -> None:
    cache = await make()
    began = time.monotonic()
    await cache.set("a", 1, ttl=0.15)
    assert await cache.get("a") == 1 or time.monotonic() - began > 0.13, "it is gone too early"
    deadline = time.monotonic() + 5
    while await cache.get("a", MISSING) is not MISSING:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert time.monotonic() - began > 0.13


async def test_a_loaded_value_lives_no_longer_than_its_ttl(make: Make) -> None:
    cache, load = await make(), Loader()
    await cache.get_or_load("a", load, ttl=0.1)
    deadline = time.monotonic() + 5
    while load.calls < 2:
        assert time.monotonic() < deadline
        await cache.get_or_load("a", load, ttl=0.1)
        await asyncio.sleep(0.01)


@no_tier
@pytest.mark.parametrize("ttl", [0, -1, True, "5", float("nan"), float("inf"), 10**9])
async def test_a_ttl_that_cannot_be_is_refused_by_name(make: Make, ttl: Any) -> None:
    cache = await make()
    for call in (cache.set("a", 1, ttl=ttl), cache.get_or_load("a", Loader(), ttl=ttl)):
        with pytest.raises(ConfigurationError, match=r"^ttl=.*0\.001 to 2592000"):
            await call


@no_tier
@pytest.mark.parametrize("key", ["", "a\n", "\x00", "x" * 513, "é" * 257, 5, None, b"a"])
async def test_a_key_that_cannot_be_is_refused_by_name(make: Make, key: Any) -> None:
    cache = await make()
    for call in (cache.get(key), cache.set(key, 1), cache.invalidate(key), cache.get_or_load(key, Loader())):
        with pytest.raises(ConfigurationError, match=r"^key="):
            await call


async def test_a_value_without_bytes_is_refused(make: Make) -> None:
    cache = await make()
    with pytest.raises(CodecError, match="object"):
        await cache.set("a", object())
    with pytest.raises(CodecError, match="object"):
        await cache.get_or_load("a", Loader(object()))
    load = Loader("fine")  # and the key is free again
    assert await asyncio.wait_for(cache.get_or_load("a", load), 2) == "fine"


async def test_one_flight_serves_all_callers(make: Make) -> None:
    cache, load = await make(), Loader("v")
    load.may_end.clear()
    calls = [asyncio.create_task(cache.get_or_load("a", load)) for _ in range(20)]
    await until(lambda: cache.stats().coalesced["process"] == 19)
    load.may_end.set()
    assert await asyncio.gather(*calls) == ["v"] * 20
    assert load.calls == 1


async def test_a_lookup_during_a_load_does_not_stop_it_from_being_kept(make: Make) -> None:
    cache, load = await make(), Loader("v")
    load.may_end.clear()
    first = asyncio.create_task(cache.get_or_load("a", load))
    await until(lambda: load.calls)
    assert await cache.get("a", MISSING) is MISSING
    load.may_end.set()
    await first
    assert await cache.get("a") == "v"


@two_tiers
async def test_two_caches_load_once(make: Make) -> None:
    one, two, load = await make(), await make(), Loader("v")
    await listening(one, two)
    load.may_end.clear()
    calls = [asyncio.create_task(cache.get_or_load("a", load)) for cache in (one, two) for _ in range(10)]
    await until(lambda: one.stats().leases["wait"] + two.stats().leases["wait"])
    load.may_end.set()
    assert await asyncio.gather(*calls) == ["v"] * 20
    assert load.calls == 1


async def test_a_loaders_error_reaches_the_caller_and_is_not_kept(make: Make) -> None:
    cache, load = await make(), Loader(LookupError("no row"))
    for calls in (1, 2):
        with pytest.raises(LookupError, match="no row"):
            await cache.get_or_load("a", load)
        assert load.calls == calls
    load.value = "now"
    assert await cache.get_or_load("a", load) == "now"
    assert cache.stats().errors["l3/loader"] == 2


async def test_a_load_that_takes_too_long_frees_its_key(make: Make) -> None:
    options = CacheOptions(lock=LockOptions(load_timeout=0.1, lease=30, wait=30))
    cache, slow = await make(options=options), Loader()
    slow.may_end.clear()
    try:
        with pytest.raises(LoadTimeoutError, match=r"'a' took more than 0\.1 s"):
            await cache.get_or_load("a", slow)
        assert await asyncio.wait_for(cache.get_or_load("a", Loader("quick")), 2) == "quick"
    finally:
        slow.may_end.set()


async def test_typed_values_come_back_as_their_type(make: Make) -> None:
    class Row(msgspec.Struct, frozen=True):
        name: str
        size: int

    for codec in ("msgpack", "json"):
        cache = await make(type=Row, codec=codec, version=len(codec))
        await cache.set("a", Row("x", 3))
        assert await cache.get("a") == Row("x", 3)
        assert await cache.get_or_load("b", Loader(Row("y", 4))) == Row("y", 4)
        assert await cache.get("b") == Row("y", 4)


async def test_versions_and_namespaces_do_not_see_each_other(make: Make) -> None:
    old, new, other = await make(), await make(version=2), await make(namespace="another")
    await old.set("a", "v1")
    assert await new.get("a", MISSING) is MISSING
    assert await other.get("a", MISSING) is MISSING
    await new.set("a", "v2")
    assert await old.get("a") == "v1"
    await new.invalidate("a")
    assert await old.get("a") == "v1"
    await other.invalidate("a")


@two_tiers
async def test_another_caches_write_is_seen_within_the_staleness_bound(make: Make, staleness: float) -> None:
    reader, writer = await make(), await make()
    await listening(reader)
    for number in range(5):
        if number % 2:
            await writer.set("a", number)
        else:
            await writer.invalidate("a")
        written = time.monotonic()
        expected = number if number % 2 else None
        while await reader.get("a") != expected:
            assert time.monotonic() - written < staleness
        await reader.get("a")


@newest
@pytest.mark.parametrize(
    "junk", [b"", b"junk", b"Lorem ipsum dolor", b"Topaz", b"V", b"V" + b"x" * 40, bytes(64), b"L" + bytes(8) + b"x"]
)
async def test_bytes_that_do_not_decode_are_a_counted_miss(
    make: Make, server: Server | RedisCluster, namespace: str, junk: bytes
) -> None:
    cache = await make()
    server.client.set(f"{namespace}:v1:a", junk)
    assert await cache.get("a", MISSING) is MISSING
    assert cache.stats().errors["l2/serialization"] == 1
    assert await asyncio.wait_for(cache.get_or_load("a", Loader("good")), 2) == "good"
    assert await cache.get("a") == "good"


@two_tiers
async def test_a_payload_of_another_type_is_replaced(make: Make) -> None:
    await (await make()).set("a", "not a number")
    cache = await make(type=int)
    assert await cache.get("a", MISSING) is MISSING
    assert await asyncio.wait_for(cache.get_or_load("a", Loader(7)), 2) == 7
    assert await cache.get("a") == 7


@newest
async def test_another_codecs_entry_is_a_miss_even_if_its_bytes_would_decode(make: Make) -> None:
    await (await make(codec="json")).set("a", 1)  # b"1", which is 49 in MessagePack
    cache = await make()
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", Loader(2)) == 2


@servers
async def test_a_key_of_another_redis_type_is_a_miss(make: Make, server: Server | RedisCluster, namespace: str) -> None:
    cache = await make()
    server.client.rpush(f"{namespace}:v1:a", "x")
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_many(["a", "b"]) == {}
    assert await cache.get_or_load("a", Loader("v")) == "v"
    assert await cache.set("a", "new")
    assert await cache.get("a") == "new"


@two_tiers
async def test_without_a_replica_a_durable_invalidation_says_so(make: Make) -> None:
    cache = await make()
    await cache.set("a", 1)
    assert not await cache.invalidate("a", durable=True)
    assert await cache.get("a", MISSING) is MISSING


async def test_several_are_set_at_once(make: Make) -> None:
    cache = await make()
    assert await cache.set_many({f"k{number}": number for number in range(300)})
    assert await cache.get_many([f"k{number}" for number in range(301)]) == {f"k{n}": n for n in range(300)}


async def test_what_is_missing_is_loaded_in_one_call_with_an_error_for_each_key(make: Make) -> None:
    cache, calls = await make(), []
    await cache.set("have", "set")
    error = LookupError("no row")

    def load_many(keys: Any) -> dict[str, Any]:
        calls.append(sorted(keys))
        return {"good": 1, "bad": error}

    async def load_many_async(keys: Any) -> dict[str, Any]:
        return load_many(keys)

    loader = load_many if isinstance(cache.cache, Cache) else load_many_async
    found = await cache.get_or_load_many(["have", "good", "bad", "none", "good"], loader)
    assert found == {"have": "set", "good": 1, "bad": error, "none": MISSING}
    assert calls == [["bad", "good", "none"]]
    assert await cache.get_many(["good", "bad", "none"]) == {"good": 1}


async def test_nothing_is_remembered_if_asked(make: Make) -> None:
    cache, load = await make(), Loader(MISSING)
    for _ in range(2):
        assert await cache.get_or_load("a", load, negative_ttl=60) is MISSING
    assert load.calls == 1
    assert await cache.get("a", "default") == "default"
    assert await cache.get_many(["a"]) == {}


async def test_a_tag_a_pattern_and_all_take_their_entries_along(make: Make) -> None:
    cache = await make()

    async def found() -> str:
        return "".join(sorted(await cache.get_many([*"abcd"])))

    for key, tags in (("a", ["x", "y"]), ("b", ["x"]), ("c", ["y"]), ("d", [])):
        await cache.set(key, key, tags=tags)
    assert await found() == "abcd"
    assert await cache.invalidate_tag("x")
    assert await found() == "cd"
    assert await cache.invalidate_pattern("[a-c]") is not None
    assert await found() == "d"
    await cache.get_or_load("a", Loader("again"), tags=["x"])
    assert await found() == "ad"
    assert await cache.clear()
    assert await found() == ""


@two_tiers
async def test_other_caches_forget_with_a_tag_a_pattern_and_all(make: Make, staleness: float) -> None:
    reader, writer = await make(), await make()
    await listening(reader)
    for forget in (("invalidate_tag", "t"), ("invalidate_pattern", "a*"), ("clear",)):
        await writer.set("a", 1, tags=["t"])
        await reader.get("a")
        await getattr(writer, forget[0])(*forget[1:])
        done = time.monotonic()
        while await reader.get("a") is not None:
            assert time.monotonic() - done < staleness, forget


async def test_one_holder_at_a_time_has_a_lock(make: Make) -> None:
    cache, order = (await make()).cache, []
    if isinstance(cache, Cache):

        def hold(number: int) -> None:
            with cache.lock("l", timeout=20) as lock:
                order.extend((number, lock.token))

        await asyncio.gather(*(asyncio.to_thread(hold, number) for number in range(3)))
    else:

        async def hold_async(number: int) -> None:
            async with cache.lock("l", timeout=20) as lock:
                order.extend((number, lock.token))

        await asyncio.gather(*(hold_async(number) for number in range(3)))
    assert sorted(order[::2]) == [0, 1, 2]
    assert order[1::2] == sorted(order[1::2])


@two_tiers
async def test_caches_share_a_rate_limit(make: Make) -> None:
    left = []
    for subject in (await make(), await make()):
        limiter = subject.cache.rate_limiter("search", Limit(4, per=3600))
        for _ in range(3):
            if isinstance(limiter, AsyncRateLimiter):
                left.append(await limiter.hit("ann"))
            else:
                left.append(await asyncio.to_thread(limiter.hit, "ann"))
    assert [d.allowed for d in left] == [True] * 4 + [False] * 2
    assert [d.remaining for d in left] == [3, 2, 1, 0, 0, 0]


async def test_the_surface_is_closed_before_and_after(make: Make) -> None:
    cache = await make()
    with pytest.raises(ClosedError):
        await cache.start()
    await cache.close()
    await cache.close()
    for call in (cache.get("a"), cache.get_many(["a"]), cache.set("a", 1), cache.invalidate("a"),
                 cache.get_entry("a"), cache.get_or_load("a", Loader())):  # fmt: skip
        with pytest.raises(ClosedError):
            await call


async def test_closing_ends_the_loads_in_flight_with_a_clear_error(make: Make) -> None:
    cache, load = await make(), Loader()
    load.may_end.clear()
    calls = [asyncio.create_task(cache.get_or_load("a", load)) for _ in range(5)]
    await until(lambda: load.calls and cache.stats().coalesced["process"] == 4)
    try:
        await cache.close()
        results = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        load.may_end.set()
    assert [type(result) for result in results] == [ClosedError] * 5
