"""Records and logs that pods share: the same rules in this process and on every server; and asking for pre-warms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cacheclient import AsyncCache, ConfigurationError, UnavailableError
from cacheclient.contract import Channel, Record
from cacheclient.events import Event, Priority, decode
from cacheclient.remote import LocalRecords, Records, RedisRecords
from cacheclient.testing import FakeClock, Fleet
from tests.client.conftest import store_on
from tests.conftest import BINARIES, Server, until

KEY = "ns:job:1"
Open = Callable[..., Awaitable[AsyncCache]]


@pytest.fixture(scope="module", params=["memory", *BINARIES])
def backend(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Server | None:
    return None if request.param == "memory" else launch(request.param)


@pytest.fixture
async def records(backend: Server | None) -> AsyncIterator[Records]:
    if backend is None:
        yield LocalRecords()
        return
    backend.client.flushall()
    async with store_on(backend) as store:
        yield RedisRecords(store)


async def test_the_first_who_creates_a_record_has_it_and_the_others_see_it(records: Records) -> None:
    assert await records.read(KEY) is None
    assert await records.create(KEY, b"mine", 60) is None
    assert await records.create(KEY, b"yours", 60) == b"mine"
    assert await records.create(KEY, b"mine", 60) is None  # the reply to the first request may have been lost
    await records.put(KEY, b"done", 60)
    assert await records.read(KEY) == b"done"
    await records.remove(KEY)
    assert await records.create(KEY, b"yours", 60) is None


async def test_a_record_ends_with_its_time(records: Records, backend: Server | None) -> None:
    await records.put(KEY, b"x", 60)
    if backend is not None:
        assert 59_000 < int(backend.client.pttl(KEY)) <= 60_000
        return
    clock = FakeClock()
    local = LocalRecords(clock)
    await local.put(KEY, b"x", 60)
    clock.advance(59.9)
    assert await local.create(KEY, b"y", 60) == b"x"
    clock.advance(0.2)
    assert await local.read(KEY) is None
    assert await local.create(KEY, b"y", 60) is None


async def test_a_log_keeps_about_its_length(records: Records, backend: Server | None) -> None:
    for number in range(250):
        await records.append("ns:audit", {"what": "invalidate", "n": str(number)}, 100)
    if isinstance(records, LocalRecords):
        kept = [fields for _, fields in records.logs["ns:audit"]]
    else:
        assert backend is not None
        kept = [{k.decode(): v.decode() for k, v in f.items()} for _, f in backend.client.xrange("ns:audit")]
    assert 100 <= len(kept) < 250  # Redis trims in blocks
    assert kept[-1] == {"what": "invalidate", "n": "249"}


async def test_what_redis_does_not_acknowledge_is_raised(own_server: Server) -> None:
    async with store_on(own_server, within=0.2) as store:
        records = RedisRecords(store)
        await records.put(KEY, b"x", 60)
        own_server.kill()
        with pytest.raises(UnavailableError):
            await records.create(KEY, b"y", 60)
        with pytest.raises(UnavailableError):
            await records.append("ns:audit", {"a": "b"}, 10)


async def test_a_cache_keeps_its_records_beside_its_entries(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache = await opened(shared_server.url, namespace, version=3)
    key = cache.space.record(Record.JOB, "7")
    assert key == f"{namespace}:job:7"  # of no version: pods of two releases share them
    await cache.records.put(key, b"x", 60)
    await cache.clear()
    assert shared_server.client.get(key) == b"x"


# -- asking for pre-warms ---------------------------------------------------------------------------------------------


async def test_every_process_that_registered_hears_of_a_wanted_prewarm(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    asking, other, elsewhere = [await opened(shared_server.url, name) for name in (namespace, namespace, "elsewhere")]
    heard: dict[str, list[Event]] = {"asking": [], "other": [], "elsewhere": []}
    for name, cache in {"asking": asking, "other": other, "elsewhere": elsewhere}.items():
        cache.on_prewarm(heard[name].append)
    await until(lambda: all(cache.stats().listener_connected for cache in (other, elsewhere)))
    asking.request_prewarm("hot", pattern="user:*", priority=Priority.HIGH)
    await until(lambda: heard["asking"] and heard["other"])
    (event,) = heard["other"]
    assert (event.plan, event.priority, event.key_pattern) == ("hot", "high", f"{namespace}:v1:user:*")
    assert heard["asking"] == [event]  # the asking process is told once, though it hears its own event, too
    assert not heard["elsewhere"]


async def test_the_event_has_the_required_fields_and_the_plan() -> None:
    fleet = Fleet()
    said: list[Any] = []

    class Ear:
        def changed(self, key: str) -> None:
            pass

        def message(self, data: bytes) -> None:
            said.append(decode(data))

    async with fleet.cache("profile") as cache:
        fleet.store.audience.append(Ear())
        cache.request_prewarm()
        with pytest.raises(ConfigurationError, match="bracket is not closed"):
            cache.request_prewarm("hot", pattern="[a")
    (event,) = said
    assert (event.event_type, event.key_pattern, event.plan) == ("prewarm", "profile:v1:*", "")
    assert fleet.store.log[-1].key == Channel.PREWARM
