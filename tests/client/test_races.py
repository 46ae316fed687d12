"""What a reader, a writer and the network may do to each other, each race in one order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from cacheclient import MISSING, CacheOptions, LockOptions, entry
from cacheclient.clock import Gate
from cacheclient.flights import Flights
from cacheclient.invalidation import Invalidation
from cacheclient.journal import Journal
from cacheclient.listener import Listener
from cacheclient.loads import Loads
from cacheclient.local import Local
from cacheclient.remote import Address, Connection, RedisStore
from cacheclient.scripts import Script, script
from tests.client.conftest import RACE
from tests.client.racing import Patch, Race, Scene, heard, in_l1, proofs
from tests.conftest import until

# -- the second tier ---------------------------------------------------------------------------------------------------


async def an_old_load_ends_after_an_invalidation(scene: Scene) -> None:
    reader, writer, source = await scene.cache(), await scene.cache(), scene.source
    load = asyncio.create_task(reader.get_or_load("a", source.held))
    await source.reading.wait()
    source.value = "new"
    await writer.invalidate("a")
    source.may_end.set()
    assert await load == "old"  # its caller began before the write
    assert await writer.get("a", MISSING) is MISSING
    assert await reader.get_or_load("a", source.load) == "new"


async def an_old_load_ends_after_a_set(scene: Scene) -> None:
    reader, writer, source = await scene.cache(), await scene.cache(), scene.source
    load = asyncio.create_task(reader.get_or_load("a", source.held))
    await source.reading.wait()
    await writer.set("a", "new")
    source.may_end.set()
    await load
    assert await reader.get("a") == await writer.get("a") == "new"


async def a_lease_expires_during_its_load(scene: Scene) -> None:
    slow, quick, source = await scene.cache(), await scene.cache(), scene.source
    load = asyncio.create_task(slow.get_or_load("a", source.held))
    await source.reading.wait()
    scene.server.client.pexpire(scene.key(), 1)
    await until(lambda: scene.server.client.get(scene.key()) is None)
    source.value = "new"
    assert await quick.get_or_load("a", source.load) == "new"
    source.may_end.set()
    await load
    assert await quick.get("a") == await slow.get("a") == "new"


async def the_holder_of_a_lease_dies(scene: Scene) -> None:
    lock = LockOptions(load_timeout=0.3, lease=0.3, wait=30)
    dead = await scene.cache(options=CacheOptions(lock=lock))
    granted = await dead._parts.shared.store.lease(scene.key(), b"deadlock", 0.3, dead._parts.serializer.readable)
    assert granted.granted
    heir = await scene.cache(options=CacheOptions(lock=lock))
    assert await asyncio.wait_for(heir.get_or_load("a", scene.source.load), scene.patience) == "old"
    assert await heir.get("a") == "old"


async def a_lease_is_granted_after_its_caller_gave_up(scene: Scene) -> None:
    server = scene.launch()
    cache, other = await scene.cache(server.url), await scene.cache(server.url)
    await cache.get_or_load("warm", scene.source.load)
    with server.frozen():
        assert await cache.get_or_load("a", scene.source.load) == "old"  # loaded without an answer from Redis
    await asyncio.wait_for(other.get_or_load("a", scene.source.load), scene.patience)
    assert await other.get("a") == "old"
    server.kill()


async def a_key_that_redis_does_not_hold_is_invalidated(scene: Scene) -> None:
    other, writer = await scene.cache(), await scene.cache()
    await heard(other)
    await writer.invalidate("a")
    await scene.until(lambda: other.stats().invalidations["key/remote"])  # a load of it may be in flight there


# -- the first tier ----------------------------------------------------------------------------------------------------


async def a_read_answers_after_the_push_of_an_invalidation(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old")
    reply = scene.hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(reader.get("a"))
    await reply.reached.wait()
    await writer.invalidate("a")
    scene.hand.push(reader, "a")
    reply.go.set()
    assert await read == "old"
    assert await reader.get("a", MISSING) is MISSING


async def a_read_answers_after_a_flush(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    await writer.set("a", "old")
    reply = scene.hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(reader.get("a"))
    await reply.reached.wait()
    await writer.invalidate("a")
    scene.hand.push(reader)
    reply.go.set()
    await read
    assert await reader.get("a", MISSING) is MISSING


async def a_read_answers_after_an_own_invalidation(scene: Scene) -> None:
    cache = await scene.hand.cache()
    await cache.set("a", "old")
    reply = scene.hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(cache.get("a"))
    await reply.reached.wait()
    await cache.invalidate("a")
    reply.go.set()
    await read
    assert await cache.get("a", MISSING) is MISSING


async def a_read_fills_l1_while_an_own_invalidation_is_on_its_way(scene: Scene) -> None:
    cache = await scene.hand.cache()
    await cache.set("a", "old")
    on_its_way = scene.hand.store.hold("bury", executed=False)
    invalidation = asyncio.create_task(cache.invalidate("a"))
    await on_its_way.reached.wait()
    assert await cache.get("a") == "old"  # not invalidated yet
    on_its_way.go.set()
    await invalidation
    assert await cache.get("a", MISSING) is MISSING


async def an_own_set_on_its_way_meets_a_read(scene: Scene) -> None:
    cache = await scene.hand.cache()
    await cache.set("a", "old")
    on_its_way = scene.hand.store.hold("put", executed=False)
    write = asyncio.create_task(cache.set("a", "new"))
    await on_its_way.reached.wait()
    assert await cache.get("a") == "old"
    on_its_way.go.set()
    await write
    assert await cache.get("a") == "new"


# -- flights -----------------------------------------------------------------------------------------------------------


async def a_caller_comes_after_an_own_invalidation(scene: Scene) -> None:
    cache, source = await scene.hand.cache(), scene.source
    first = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    source.value = "new"
    await cache.invalidate("a")
    second = asyncio.create_task(cache.get_or_load("a", source.load))
    await asyncio.sleep(0)
    source.may_end.set()
    assert await second == "new"
    assert await first == "old"


async def a_caller_comes_long_after_a_foreign_invalidation(scene: Scene) -> None:
    cache, source = await scene.hand.cache(), scene.source
    first = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    source.value = "new"
    scene.hand.store.data["hand:v1:a"] = entry.tombstone(b"12345678")
    scene.hand.push(cache, "a")
    scene.hand.clock.now += 2
    second = asyncio.create_task(cache.get_or_load("a", source.load))
    await until(lambda: source.calls == 2 or cache.stats().coalesced["process"])
    source.may_end.set()
    assert await second == "new"
    assert await first == "old"


async def a_caller_comes_while_nothing_proves_freshness(scene: Scene) -> None:
    cache, source = await scene.hand.cache(), scene.source
    first = asyncio.create_task(cache.get_or_load("a", source.held))
    await source.reading.wait()
    source.value = "new"
    scene.hand.store.data["hand:v1:a"] = entry.tombstone(b"12345678")  # and the push is lost
    cache._parts.shared.gate.until = scene.hand.clock.now
    scene.hand.clock.now += 2
    second = asyncio.create_task(cache.get_or_load("a", source.load))
    await until(lambda: source.calls == 2 or cache.stats().coalesced["process"])
    source.may_end.set()
    assert await second == "new"
    assert await first == "old"


# -- the network -------------------------------------------------------------------------------------------------------


async def a_push_is_lost_while_the_listener_reconnects(scene: Scene) -> None:
    reader, writer = await scene.cache(), await scene.cache()
    await heard(reader)
    await writer.set("a", "old")
    await in_l1(reader)
    data = writer._parts.serializer.seal("new", writer._parts.serializer.encode("new", "a"), 60)[0]
    gaps = reader.stats().gaps
    with scene.server.client.pipeline(transaction=True) as together:  # nobody hears of the write
        for client in scene.server.client.client_list():
            if client["name"] == f"cachestack:{scene.namespace}" and "t" in client["flags"]:
                together.client_kill_filter(_id=client["id"])
        together.set(scene.key(), data, px=60_000)
        together.execute()
    await until(lambda: reader.stats().gaps > gaps)
    await heard(reader)
    assert await reader.get("a") == "new"


async def the_tracking_connection_is_half_open(scene: Scene) -> None:
    proxy = await scene.proxied(scene.server.port)
    reader, writer = await scene.cache(proxy.url), await scene.cache()
    await heard(reader)
    await writer.set("a", "old")
    await in_l1(reader)
    for passage in proxy.tracking():
        passage.flowing.clear()
    await writer.set("a", "new")
    deadline = time.monotonic() + RACE.sync.max_staleness + 0.2
    while await reader.get("a") != "new":
        assert time.monotonic() < deadline, "served past the bound"
        await asyncio.sleep(0.01)


async def another_server_answers_at_the_same_address(scene: Scene) -> None:
    old, new = scene.launch(), scene.launch()
    proxy = await scene.proxied(old.port)
    reader, writer = await scene.cache(proxy.url), await scene.cache(new.url)
    await heard(reader)
    proxy.target = new.port
    for passage in list(proxy.passages):
        if not passage.tracking:  # the listener's connection to the old server lives on
            passage.cut()
    await until(lambda: reader._parts.shared.link is not None and reader._parts.shared.link._epoch == 2)
    await heard(reader)
    await writer.set("a", "old")
    await in_l1(reader)
    await writer.set("a", "new")
    deadline = time.monotonic() + RACE.sync.max_staleness + 0.5
    while await reader.get("a") != "new":
        assert time.monotonic() < deadline, "L1 trusts a server that is not the master"
        await asyncio.sleep(0.01)
    for server in (old, new):
        server.kill()


# -- the journal -------------------------------------------------------------------------------------------------------


async def an_invalidation_does_not_get_through(scene: Scene) -> None:
    cache, other = await scene.hand.cache(), await scene.hand.cache()
    await cache.set("a", "old")
    scene.hand.store.away = True
    assert not await cache.invalidate("a")
    scene.hand.store.away = False
    await scene.until(lambda: scene.hand.store.data["hand:v1:a"][:1] == entry.TOMBSTONE)
    assert await other.get("a", MISSING) is MISSING


async def a_set_does_not_get_through(scene: Scene) -> None:
    cache, other = await scene.hand.cache(), await scene.hand.cache()
    await cache.set("a", "old")
    scene.hand.store.away = True
    assert not await cache.set("a", "new")
    scene.hand.store.away = False
    await scene.until(lambda: scene.hand.store.data["hand:v1:a"][:1] == entry.TOMBSTONE)
    assert await other.get("a", MISSING) is MISSING


async def an_own_read_follows_an_invalidation_that_did_not_get_through(scene: Scene) -> None:
    cache, source = await scene.hand.cache(), scene.source
    await cache.set("a", "old")
    lost = scene.hand.store.hold("bury", executed=False)
    lost.lost = True
    lost.go.set()
    source.value = "new"
    assert not await cache.invalidate("a")
    again = scene.hand.store.hold("bury", executed=False)  # it is owed all the time
    assert await cache.get("a", MISSING) is MISSING
    assert await cache.get_or_load("a", source.load) == "new"
    again.go.set()


async def the_caller_of_an_invalidation_is_cancelled(scene: Scene) -> None:
    cache = await scene.hand.cache()
    await cache.set("a", "old")
    lost = scene.hand.store.hold("bury", executed=False)
    call = asyncio.create_task(cache.invalidate("a"))
    await lost.reached.wait()
    call.cancel()
    await asyncio.wait([call])
    assert await cache.get("a", MISSING) is MISSING
    await scene.until(lambda: scene.hand.store.data["hand:v1:a"][:1] == entry.TOMBSTONE)


async def a_failover_undoes_an_invalidation(scene: Scene) -> None:
    old, new = scene.launch(), scene.launch()
    writer, reader = await scene.cache(old.url), await scene.cache(new.url)
    assert await reader.set("a", "old")  # what the replica has, and the tombstone never reached it
    assert await writer.invalidate("a")
    link = writer._parts.shared.link
    assert link is not None
    link._topology._address = Address("127.0.0.1", new.port)  # type: ignore[attr-defined]
    old.kill()
    deadline = time.monotonic() + scene.patience
    while await reader.get("a", MISSING) is not MISSING:
        assert time.monotonic() < deadline, "the old value is back for good"
        await asyncio.sleep(0.01)
    assert writer.stats().failovers == 1
    new.kill()


# -- each defence, taken away ------------------------------------------------------------------------------------------


def any_fill_is_stored(patch: pytest.MonkeyPatch) -> None:
    careless = Script("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1", "0" * 40)
    patch.setattr("cacheclient.remote.store.script", lambda name: careless if name == "fill" else script(name))


def leases_never_expire(patch: pytest.MonkeyPatch) -> None:
    text = script("lease").text.replace(", 'PX', ARGV[2])", ")")
    endless = Script(text, "0" * 40)
    patch.setattr("cacheclient.remote.store.script", lambda name: endless if name == "lease" else script(name))


def doubtful_leases_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Loads, "_release_later", lambda *_: None)


def invalidation_deletes(patch: pytest.MonkeyPatch) -> None:
    async def bury(self: RedisStore, key: str, *_: object, **__: object) -> bool:
        await self._link.current().writes.call("DEL", key)
        return False

    patch.setattr(RedisStore, "bury", bury)


def fences_do_not_fall(patch: pytest.MonkeyPatch) -> None:
    def commit(self: Local, key: str, _fence: object, *stored: Any) -> bool:
        self._fences.pop(key, None)
        return original(self, key, self.begin(key), *stored)

    original = Local.commit
    patch.setattr(Local, "commit", commit)


def own_writes_forget_only_before(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Invalidation, key: str) -> None:
        if len(seen) % 2 == 0:
            original(self, key)
        seen.append(key)

    original, seen = Invalidation.forget, ["set", "set"]
    patch.setattr(Invalidation, "forget", forget)


def flights_are_not_detached(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "detach", lambda *_: None)


def any_flight_may_be_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "_joinable", lambda *_: True)


def a_new_connection_doubts_nothing(patch: pytest.MonkeyPatch) -> None:
    def report_to(self: Listener, told: Callable[[list[str] | None], None], heard: Any) -> None:
        original(self, lambda keys: told(keys) if keys is not None else None, heard)

    original = Listener.report_to
    patch.setattr(Listener, "report_to", report_to)


def the_gate_stays_open(patch: pytest.MonkeyPatch) -> None:
    class Open(Gate):
        __slots__ = ()
        until = property(lambda _: float("inf"), lambda *_: None)

    patch.setattr("cacheclient.listener.Gate", Open)


def the_listener_stays_at_an_address(patch: pytest.MonkeyPatch) -> None:
    def follow(self: Listener, connection: Connection) -> None:
        if self._task is None:
            forever = asyncio.get_running_loop().create_future()
            pipes = [type("Pipe", (), {"closed": forever})() for _ in range(2)]
            original(self, Connection(connection.address, connection.epoch, pipes[0], pipes[1], 0))

    original = Listener.follow
    patch.setattr(Listener, "follow", follow)


def nothing_is_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "owe", lambda *_: None)


def debts_do_not_hide_the_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "__contains__", lambda *_: False)


def nothing_is_replayed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "replay", lambda *_: None)


RACES: Final[dict[Race, Patch]] = {
    an_old_load_ends_after_an_invalidation: any_fill_is_stored,
    an_old_load_ends_after_a_set: any_fill_is_stored,
    a_lease_expires_during_its_load: any_fill_is_stored,
    the_holder_of_a_lease_dies: leases_never_expire,
    a_lease_is_granted_after_its_caller_gave_up: doubtful_leases_are_kept,
    a_key_that_redis_does_not_hold_is_invalidated: invalidation_deletes,
    a_read_answers_after_the_push_of_an_invalidation: fences_do_not_fall,
    a_read_answers_after_a_flush: fences_do_not_fall,
    a_read_answers_after_an_own_invalidation: fences_do_not_fall,
    a_read_fills_l1_while_an_own_invalidation_is_on_its_way: own_writes_forget_only_before,
    an_own_set_on_its_way_meets_a_read: own_writes_forget_only_before,
    a_caller_comes_after_an_own_invalidation: flights_are_not_detached,
    a_caller_comes_long_after_a_foreign_invalidation: any_flight_may_be_joined,
    a_caller_comes_while_nothing_proves_freshness: any_flight_may_be_joined,
    a_push_is_lost_while_the_listener_reconnects: a_new_connection_doubts_nothing,
    the_tracking_connection_is_half_open: the_gate_stays_open,
    another_server_answers_at_the_same_address: the_listener_stays_at_an_address,
    an_invalidation_does_not_get_through: nothing_is_owed,
    a_set_does_not_get_through: nothing_is_owed,
    an_own_read_follows_an_invalidation_that_did_not_get_through: debts_do_not_hide_the_key,
    the_caller_of_an_invalidation_is_cancelled: nothing_is_owed,
    a_failover_undoes_an_invalidation: nothing_is_replayed,
}


test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
