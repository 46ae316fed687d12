"""Who may be taken for the master, until when, and what is sent again to the next one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cacheclient import MISSING, AsyncCache, CacheOptions, L2Options
from cacheclient.missing import ABSENT
from cacheclient.remote import Address, Pipe, topology
from cacheclient.remote.replicas import Replicas
from tests.client.conftest import Named
from tests.conftest import Server, free_port, until

QUICK = CacheOptions(l2=L2Options(connect_timeout=0.5))
PATIENT = CacheOptions(l2=L2Options(timeout=1.0))
Opened = Callable[..., Awaitable[AsyncCache]]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> type[Named]:
    monkeypatch.setattr("cacheclient.shared.FixedTopology", Named)
    return Named


async def test_a_master_that_no_majority_confirms_is_asked_nothing_and_l1_keeps_silent(
    named: type[Named], own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace, options=QUICK)
    assert await cache.set("a", 1)
    await until(lambda: cache.stats().listener_connected)
    await in_l1(cache, "a")
    named.master = None  # the client stands on the small side of a partition, with the master
    await until(lambda: cache.peek("a") is ABSENT)
    assert await cache.get("a", MISSING) is MISSING
    assert not await cache.invalidate("b")
    asked = own_server.commands("get")
    assert await cache.get("a", MISSING) is MISSING
    assert own_server.commands("get") == asked, "a server was asked that may be deposed"
    named.master = Address("127.0.0.1", own_server.port)
    await in_l1(cache, "a")


async def test_a_master_is_left_when_the_majority_names_another_although_nobody_tells(
    named: type[Named], launch: Callable[..., Server], opened: Opened, namespace: str
) -> None:
    first, second = launch(), launch()
    cache = await opened(first.url, namespace, options=QUICK)
    assert await cache.set("a", 1)
    named.master = Address("127.0.0.1", second.port)
    await until(lambda: cache.stats().failovers == 1)
    assert await cache.set("b", 2)
    assert second.client.exists(f"{namespace}:v1:b")
    for server in (first, second):
        server.kill()


def test_one_fixed_server_stays_the_master_for_ever() -> None:
    assert topology.FixedTopology(Address("a", 1)).term == math.inf


async def test_what_was_set_is_invalidated_on_a_master_that_may_have_lost_it(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace, options=QUICK)
    await cache.set("a", "old")
    full = f"{namespace}:v1:a"
    before = own_server.client.get(full)
    await cache.set("a", "new")
    own_server.kill()
    own_server.start()
    own_server.client.set(full, before)  # what a promoted replica holds that missed the last write
    await until(lambda: own_server.client.get(full)[:1] == b"T")
    assert await cache.get("a", MISSING) is MISSING


async def test_what_was_set_outlives_a_failover_that_did_not_lose_it(
    own_server: Server, opened: Opened, namespace: str
) -> None:
    cache = await opened(own_server.url, namespace, options=QUICK)
    await cache.set("kept", "new")
    await cache.set("lost", "old")
    client = own_server.client
    replicated = {name: client.get(name) for name in client.scan_iter(f"{namespace}:*")}
    await cache.set("lost", "new")
    own_server.kill()
    own_server.start()
    client.mset(replicated)
    await until(lambda: client.get(f"{namespace}:v1:lost")[:1] == b"T")
    await until(lambda: "kept" not in cache._invalidation.journal)
    assert await cache.get("kept") == "new"


async def test_what_was_set_outlives_a_broken_connection(own_server: Server, opened: Opened, namespace: str) -> None:
    cache = await opened(own_server.url, namespace, options=QUICK)
    assert await cache.set("a", 1)
    await until(lambda: cache.stats().listener_connected)
    own_server.client.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: cache.stats().gaps == 1 and cache.stats().listener_connected)
    assert await cache.set("b", 2)
    assert await cache.get("a") == 1


async def test_durable_means_on_every_replica(launch: Callable[..., Server], opened: Opened, namespace: str) -> None:
    master, *replicas = (launch("", "--repl-diskless-sync-delay", "0") for _ in range(3))
    cache = await opened(master.url, namespace, options=PATIENT)
    assert not await cache.invalidate("a", durable=True), "there is no replica"
    assert master.commands("wait") == 0, "nobody is waited for, and no other write behind that"
    for replica in replicas:
        replica.client.replicaof("127.0.0.1", master.port)
    await until(lambda: len(master.client.execute_command("ROLE")[2]) == 2)
    deadline = time.monotonic() + 10
    while not await cache.invalidate("a", durable=True):  # a replica is told of before it has answered
        assert time.monotonic() < deadline, master.client.info("replication")
    assert all(replica.client.exists(f"{namespace}:v1:a") for replica in replicas)
    with replicas[0].frozen():  # on the far side of a partition, where it may become the next master
        assert not await cache.invalidate("b", durable=True)
        assert await cache.invalidate("b")
    replicas[0].kill()
    await until(lambda: len(master.client.execute_command("ROLE")[2]) == 1)
    assert await cache.invalidate("c", durable=True), "a replica that is gone is not waited for"
    for server in (master, replicas[1]):
        server.kill()


async def test_a_replica_that_hangs_holds_up_no_other_writes(
    launch: Callable[..., Server], opened: Opened, namespace: str
) -> None:
    master, replica = (launch("", "--repl-diskless-sync-delay", "0") for _ in range(2))
    replica.client.replicaof("127.0.0.1", master.port)
    await until(lambda: len(master.client.execute_command("ROLE")[2]) == 1)
    cache = await opened(master.url, namespace, options=CacheOptions(l2=L2Options(timeout=2.0)))
    with replica.frozen():
        durable = [asyncio.create_task(cache.invalidate(f"k{n}", durable=True)) for n in range(8)]
        await until(lambda: master.client.info("clients")["blocked_clients"])
        assert await cache.set("a", 1), "a write waits for one WAIT at most"
        assert not any(await asyncio.gather(*durable))
        assert cache.stats().gaps == 0, "the connection was kept"
    assert master.commands("wait") <= 3, "who wrote meanwhile shared one answer"
    for server in (master, replica):
        server.kill()


async def test_replicas_are_never_waited_for_without_end() -> None:
    asked: list[tuple[Any, ...]] = []

    async def call(*command: Any) -> Any:
        asked.append(command)
        return [b"master", 0, [[b"127.0.0.1", b"1", b"0"]]] if command == ("ROLE",) else 0

    assert not await Replicas().have_all(cast("Pipe", SimpleNamespace(call=call)), 0.0004)
    assert asked == [("ROLE",), ("WAIT", 1, 1)], "0 would mean for ever"


async def test_a_proxy_that_answers_oddly_is_asked_again_until_it_does_not(
    named: type[Named], own_server: Server, opened: Opened, namespace: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(4096):
            writer.write(b"%0\r\n" if b"HELLO" in asked else b":7\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port := free_port()):
        cache = await opened(f"redis://127.0.0.1:{port}", namespace, options=QUICK)
        await until(lambda: cache.stats().connection_errors >= 2)
        named.master = Address("127.0.0.1", own_server.port)
        await until(lambda: cache.stats().listener_connected)
    assert await cache.set("a", 1)


async def in_l1(cache: AsyncCache, key: str) -> None:
    """Read ``key`` until L1 answers: what was pushed lately may have dropped it once more."""
    async with asyncio.timeout(10):
        while cache.peek(key) is ABSENT:
            await cache.get(key)
            await asyncio.sleep(0.005)
