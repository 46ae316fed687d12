"""Real servers that are away, frozen, full, locked or replaced: a cache is slower then, and says why, and recovers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from cacheclient import MISSING, AsyncCache, CacheOptions, ClosedError, L2Options, LockOptions, SyncOptions
from cacheclient.contract import ErrorType
from cacheclient.missing import ABSENT
from tests.client.conftest import RACE, Proxy, Source
from tests.conftest import Server, free_port, until

Opened = Callable[..., Awaitable[AsyncCache]]
QUICK: Final = CacheOptions(
    l2=L2Options(connect_timeout=0.3), lock=LockOptions(load_timeout=2, lease=2, wait=2),
    sync=SyncOptions(max_staleness=0.2),
)  # fmt: skip


async def value_of(key: str) -> str:
    return f"loaded {key}"


async def recovered(cache: AsyncCache, key: str = "probe") -> None:
    """Wait until writes get through again."""
    deadline = time.monotonic() + 10
    while not await cache.set(key, 1):
        assert time.monotonic() < deadline, "does not recover"
        await asyncio.sleep(0.02)


def names_of_tasks() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("cacheclient")}


async def test_a_cache_opens_without_redis_and_loads(
    opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await opened(f"redis://127.0.0.1:{free_port()}", namespace, options=QUICK)
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_many(["a", "b"]) == {}
    assert await cache.get_or_load("a", value_of) == "loaded a"
    assert not await cache.set("a", 1)
    assert not await cache.invalidate("a")
    stats = cache.stats()
    assert stats.circuit_open
    assert not stats.listener_connected
    assert stats.errors["l2/connection"]
    assert [r.getMessage() for r in caplog.records if "no Redis master: cannot connect to 127.0.0.1" in r.getMessage()]


async def test_a_frozen_redis_costs_its_time_limit_and_no_more(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace)
    await cache.set("a", "kept")
    await recovered(cache)
    with own_server.frozen():
        frozen = time.monotonic()
        slowest = 0.0
        while time.monotonic() - frozen < 2:
            began = time.monotonic()
            assert await cache.get_or_load("b", value_of) == "loaded b"
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)
        assert cache.peek("a") is ABSENT, "L1 answered past the bound"
    assert slowest < 0.6  # two limits of 50 ms and a busy machine
    await recovered(cache)
    assert await cache.get("a") == "kept"
    await until(lambda: cache.stats().listener_connected)


async def test_writes_that_a_frozen_redis_did_not_take_are_made_good(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache, other = await opened(own_server.url, namespace), await opened(own_server.url, namespace)
    for key in "ab":
        await cache.set(key, "old")
    with own_server.frozen():
        assert not await cache.set("a", "new")
        assert not await cache.invalidate("b")
        assert await cache.get("a", MISSING) is MISSING
    await until(lambda: not len(cache._invalidation.journal))
    assert await other.get_many("ab") == {}


async def test_a_paused_master_still_answers_reads(own_server: Server, opened: Opened, namespace: str) -> None:
    cache = await opened(own_server.url, namespace, options=QUICK)
    await cache.set("a", "old")
    own_server.ask("CLIENT", "PAUSE", "900", "WRITE")
    assert await cache.get("a") == "old"
    assert not await cache.invalidate("a")
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", value_of) == "loaded a"
    await recovered(cache)
    await until(lambda: not len(cache._invalidation.journal))


async def test_a_crash_is_followed_by_recovery_at_the_same_address(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace)
    await cache.get_or_load("a", value_of)
    own_server.kill()
    await until(lambda: cache.stats().circuit_open)
    assert cache.peek("a") is ABSENT
    assert await cache.get_or_load("a", value_of) == "loaded a"
    own_server.start()
    await recovered(cache)
    assert await cache.get_or_load("a", value_of) == "loaded a"  # the scripts are gone from the new process
    stats = cache.stats()
    assert not stats.circuit_open
    assert stats.outage.count == 1
    assert stats.failovers == 0
    await until(lambda: cache.stats().listener_connected)


async def test_a_wrong_password_is_named_once_and_does_not_spin(
    launch: Callable[..., Server], opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = launch("", "--requirepass", "right-one")
    url = f"redis://:wrong-one@127.0.0.1:{server.port}"
    cache = await opened(url, namespace, options=QUICK)
    before = cache.stats().connection_errors
    await asyncio.sleep(0.5)
    assert 1 <= cache.stats().connection_errors - before <= 10
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert text.count("WRONGPASS") == 1
    assert "wrong-one" not in text
    right = await opened(server.url, namespace, password="right-one")  # noqa: S106
    assert await right.set("a", 1)
    server.kill()


async def test_a_server_that_wants_a_password_says_so(
    launch: Callable[..., Server], opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = launch("", "--requirepass", "x")
    await opened(server.url, namespace, options=QUICK)
    await until(lambda: "NOAUTH" in "\n".join(record.getMessage() for record in caplog.records))
    server.kill()


async def test_a_user_without_the_right_to_track_gets_values_but_no_first_tier(
    own_server: Server, opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-client|tracking", "-client")
    own_server.ask("CONFIG", "RESETSTAT")
    cache = await opened(own_server.url, namespace, username="app", password="pw")  # noqa: S106
    assert await cache.set("a", 1)
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        assert await cache.get("a") == 1
        await asyncio.sleep(0.01)
    assert cache.stats().l1.hits == 0
    connections = own_server.client.info("stats")["total_connections_received"]
    assert connections < 20, "it spins"
    assert [r for r in caplog.records if "L1 is bypassed" in r.getMessage() and r.levelno == logging.WARNING]


async def test_a_full_server_refuses_writes_by_type_and_serves_reads(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace)
    await cache.set("a", "old")
    own_server.client.config_set("maxmemory", 1)
    assert not await cache.set("a", "new")
    assert await cache.get_or_load("b", value_of) == "loaded b"
    assert cache.stats().errors[f"l2/{ErrorType.OOM}"] >= 2
    own_server.client.config_set("maxmemory", 0)
    await until(lambda: not len(cache._invalidation.journal))
    assert await cache.get("a", MISSING) is MISSING


async def test_too_many_clients_is_named_and_overcome(
    own_server: Server, opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert own_server.client.ping()
    own_server.client.config_set("maxclients", 1)
    cache = await opened(own_server.url, namespace, options=QUICK)
    assert not await cache.set("a", 1)
    assert "max number of clients" in "\n".join(record.getMessage() for record in caplog.records)
    own_server.client.config_set("maxclients", 100)
    await recovered(cache)


async def test_a_master_that_became_a_replica_is_left(
    own_server: Server, opened: Opened, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await opened(own_server.url, namespace)
    await cache.set("a", 1)
    own_server.client.replicaof("127.0.0.1", free_port())
    assert not await cache.set("a", 2)
    assert cache.stats().errors["l2/readonly"] == 1
    await until(lambda: cache.stats().circuit_open)
    assert "is slave, not master" in "\n".join(record.getMessage() for record in caplog.records)
    assert cache.peek("a") is ABSENT
    own_server.client.replicaof("NO", "ONE")
    await recovered(cache)


async def test_a_failing_load_gives_its_lease_back_even_if_redis_is_slow(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache, other = await opened(own_server.url, namespace), await opened(own_server.url, namespace)
    reading = asyncio.Event()
    fail = asyncio.Event()

    async def failing(_: str) -> str:
        reading.set()
        await fail.wait()
        raise LookupError("no row")

    call = asyncio.create_task(cache.get_or_load("a", failing))
    await reading.wait()
    with own_server.frozen():
        fail.set()
        with pytest.raises(LookupError):
            await call
    assert await asyncio.wait_for(other.get_or_load("a", value_of), 3) == "loaded a"


async def test_a_burst_of_cold_keys_is_loaded_once_each(own_server: Server, opened: Opened, namespace: str) -> None:
    options = CacheOptions(l2=L2Options(timeout=5, connect_timeout=5))
    cache, loads = await opened(own_server.url, namespace, options=options), []

    async def load(key: str) -> str:
        loads.append(key)
        return key

    keys = [f"k{number}" for number in range(1500)]
    values = await asyncio.gather(*(cache.get_or_load(key, load) for key in keys * 2))
    assert values == keys * 2
    assert len(loads) == len(keys)
    assert cache.stats().errors == {}
    assert await cache.get_many(keys) == dict(zip(keys, keys, strict=True))
    assert own_server.commands("mget") < 100


async def test_many_callers_of_one_cold_key_take_few_commands(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    caches = [await opened(own_server.url, namespace) for _ in range(4)]
    await until(lambda: all(cache.stats().listener_connected for cache in caches))
    source = Source("v")
    calls = [asyncio.create_task(cache.get_or_load("hot", source.held)) for cache in caches for _ in range(50)]
    await source.reading.wait()
    await until(lambda: sum(cache.stats().coalesced["process"] for cache in caches) == 196)
    source.may_end.set()
    assert await asyncio.gather(*calls) == ["v"] * 200
    assert source.calls == 1
    assert own_server.commands("evalsha") + own_server.commands("mget") + own_server.commands("get") <= 60


async def test_cancelling_the_first_caller_cancels_no_other(
    shared_server: Server, opened: Opened, namespace: str
) -> None:
    cache, source = await opened(shared_server.url, namespace), Source("v")
    first = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    others = [asyncio.create_task(cache.get_or_load("a", source.held)) for _ in range(3)]
    await until(lambda: cache.stats().coalesced["process"] == 3)
    first.cancel()
    source.may_end.set()
    assert await asyncio.gather(*others) == ["v"] * 3
    assert first.cancelled()
    assert source.calls == 1


async def test_a_load_that_all_callers_left_is_finished_and_kept(
    shared_server: Server, opened: Opened, namespace: str
) -> None:
    cache, source = await opened(shared_server.url, namespace), Source("v")
    call = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    call.cancel()
    await asyncio.wait([call])
    source.may_end.set()
    await until(lambda: not cache._parts.flights._running)
    assert await cache.get("a") == "v"


async def test_a_load_that_fails_after_its_callers_left_is_silent(
    shared_server: Server, opened: Opened, namespace: str
) -> None:
    cache, reading = await opened(shared_server.url, namespace), asyncio.Event()

    async def failing(_: str) -> None:
        reading.set()
        await asyncio.sleep(0)
        raise LookupError

    call = asyncio.create_task(cache.get_or_load("a", failing))
    await reading.wait()
    call.cancel()
    await until(lambda: not cache._parts.flights._running)
    assert cache.stats().errors["l3/loader"] == 1


async def test_cancelled_reads_leave_no_fence(own_server: Server, opened: Opened, namespace: str) -> None:
    patient = CacheOptions(l2=L2Options(timeout=10, connect_timeout=10))  # the reads must not end by themselves
    cache = await opened(own_server.url, namespace, options=patient)
    await until(lambda: cache.stats().listener_connected)  # its coming flushes L1, fences and all
    with own_server.frozen():
        reads = [asyncio.create_task(cache.get(f"k{number}")) for number in range(50)]
        await until(lambda: len(cache._parts.local._fences) == 50)
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
    await until(lambda: not cache._parts.local._fences)  # when Redis answers


async def test_closing_while_everything_is_in_flight_leaves_nobody_waiting(own_server: Server, namespace: str) -> None:
    cache = AsyncCache.from_url(own_server.url, namespace=namespace, options=RACE)
    await cache.start()
    await recovered(cache)
    with own_server.frozen():
        calls = [
            asyncio.create_task(call)
            for number in range(20)
            for call in (cache.get(f"k{number}"), cache.set(f"k{number}", 1), cache.invalidate(f"k{number}"),
                         cache.get_or_load(f"k{number}", value_of))
        ]  # fmt: skip
        await asyncio.sleep(0)
        await asyncio.wait_for(cache.close(), 5)
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    for result in results:
        assert result in (None, False, True) or isinstance(result, (str, ClosedError)), result
    await until(lambda: not names_of_tasks())


async def test_closing_sends_what_is_owed(own_server: Server, namespace: str) -> None:
    cache = AsyncCache.from_url(own_server.url, namespace=namespace, options=RACE)
    async with cache:
        await cache.set("a", "old")
        with own_server.frozen():
            assert not await cache.invalidate("a")
        await until(lambda: not cache._parts.shared.link.current().writes._overdue)  # type: ignore[union-attr]
    assert own_server.client.get(f"{namespace}:v1:a")[:1] == b"T"  # type: ignore[index]


async def test_nothing_is_left_after_close(own_server: Server, namespace: str) -> None:
    threads = set(threading.enumerate())
    async with AsyncCache.from_url(own_server.url, namespace=namespace, options=RACE) as cache:
        await cache.get_or_load("a", value_of)
        await until(lambda: cache.stats().listener_connected)
        assert len(names_of_tasks()) == 5
    await until(lambda: not names_of_tasks())
    assert set(threading.enumerate()) == threads
    await until(lambda: len(own_server.client.client_list()) == 1)


async def test_a_start_that_is_cancelled_leaves_nothing(namespace: str) -> None:
    cache = AsyncCache.from_url(f"redis://127.0.0.1:{free_port()}", namespace=namespace)
    start = asyncio.create_task(cache.start())
    await until(names_of_tasks)
    start.cancel()
    await asyncio.wait([start])
    await until(lambda: not names_of_tasks())


def test_a_cache_that_was_never_closed_is_told(shared_server: Server, namespace: str) -> None:
    async def forget() -> None:
        await AsyncCache.from_url(shared_server.url, namespace=namespace).start()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(forget())
        gc.collect()
        told = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
        caught.clear()  # a warning holds on to its source, and with it to open connections
        gc.collect()
    assert any(f"'{namespace}:v1:' was never closed" in message for message in told)


async def test_a_connection_that_dies_is_replaced_and_counted(
    shared_server: Server, opened: Opened, proxied: Callable[[int], Awaitable[Proxy]], namespace: str
) -> None:
    proxy = await proxied(shared_server.port)
    cache = await opened(proxy.url, namespace)
    await until(lambda: cache.stats().listener_connected)
    for passage in proxy.tracking():
        passage.cut()
    await until(lambda: cache.stats().gaps == 1)
    await until(lambda: cache.stats().listener_connected)
    for passage in list(proxy.passages):
        passage.cut()
    await recovered(cache)
    await until(lambda: cache.stats().listener_connected)
    assert cache.stats().failovers == 0
