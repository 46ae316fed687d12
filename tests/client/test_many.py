"""Many loads in one call: one loader call for all that is missing, and to each key its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache, LoadTimeoutError, LockOptions
from cacheclient.batch import Batch
from tests.client.conftest import RACE, Hand, Source
from tests.conftest import PATIENCE, Server, until

Open = Callable[..., Awaitable[AsyncCache]]
HASTY = replace(RACE, lock=LockOptions(load_timeout=0.1, lease=0.2, wait=1))


class ManySource:
    """The database: knows some keys, fails on some, and remembers what it was asked."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.calls: list[list[str]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.cancelled = 0

    async def load(self, keys: Sequence[str]) -> Mapping[str, Any]:
        self.calls.append(list(keys))
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return {key: self.values[key] for key in keys if key in self.values}


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest, opened: Open, shared_server: Server, namespace: str) -> AsyncCache:
    return await opened("memory://" if request.param == "memory" else shared_server.url, namespace)


async def test_all_that_is_missing_is_loaded_in_one_call(cache: AsyncCache) -> None:
    source = ManySource(**{f"k{n}": n for n in range(20)})
    await cache.set_many({"k0": "kept", "k1": None})
    wanted = [f"k{n}" for n in range(20)]
    expected = {**source.values, "k0": "kept", "k1": None}
    assert await cache.get_or_load_many(wanted * 2, source.load) == expected
    assert [sorted(call) for call in source.calls] == [sorted(wanted[2:])]
    assert await cache.get_or_load_many(wanted, source.load) == expected
    assert await cache.get_many(wanted) == expected
    assert len(source.calls) == 1


async def test_loads_leave_together_when_every_key_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.batch._QUIET", 3600)
    source = ManySource(a=1, b=2, c=3)
    batch, answered = Batch(source.load), asyncio.Event()  # the nodes of a Redis Cluster answer one after the other
    loads = asyncio.create_task(batch.gather([*((k, partial(batch.load, k)) for k in "abc"), ("d", answered.wait)]))
    await until(lambda: len(batch._waiting) == 3)
    assert source.calls == [], "d may have to be loaded, too"
    answered.set()
    assert (await asyncio.wait_for(loads, PATIENCE))[:3] == [1, 2, 3]
    assert source.calls == [["a", "b", "c"]]


async def test_loads_wait_for_a_key_that_stays_undecided_a_moment_only() -> None:
    source = ManySource(a=1, b=2)
    batch = Batch(source.load)

    async def later() -> int:
        await until(lambda: source.calls)
        return int(await batch.load("b"))

    found = batch.gather([("a", partial(batch.load, "a")), ("b", later)])
    assert await asyncio.wait_for(found, PATIENCE) == [1, 2]
    assert source.calls == [["a"], ["b"]]


async def test_refreshes_behind_what_was_returned_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.batch._QUIET", 0.2)
    source = ManySource(a=1, b=2)
    batch = Batch(source.load)
    assert await batch.gather([(key, partial(asyncio.sleep, 0, "old")) for key in "ab"]) == ["old", "old"]
    first = asyncio.create_task(batch.load("a"))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(batch.load("b"), PATIENCE) == 2
    assert await first == 1
    assert source.calls == [["a", "b"]]


async def test_nothing_missing_calls_no_loader(cache: AsyncCache) -> None:
    source = ManySource()
    await cache.set("a", 1)
    assert await cache.get_or_load_many(["a"], source.load) == {"a": 1}
    assert await cache.get_or_load_many([], source.load) == {}
    assert source.calls == []


async def test_an_error_of_one_key_is_that_keys_alone(cache: AsyncCache) -> None:
    source = ManySource(a=1, b=ValueError("b is broken"), c=3)
    found = await cache.get_or_load_many(["a", "b", "c"], source.load)
    assert (found["a"], found["c"]) == (1, 3)
    assert str(found["b"]) == "b is broken"
    assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "c": 3}  # an error is not cached
    source.values["b"] = 2
    assert await cache.get_or_load_many(["a", "b", "c"], source.load) == {"a": 1, "b": 2, "c": 3}
    assert source.calls[1:] == [["b"]]


async def test_what_the_loader_leaves_out_is_missing(cache: AsyncCache) -> None:
    source = ManySource(a=1)
    assert await cache.get_or_load_many(["a", "b"], source.load) == {"a": 1, "b": MISSING}
    await cache.get_or_load_many(["a", "b"], source.load, negative_ttl=60)
    assert source.calls[1:] == [["b"]]  # not remembered the first time
    assert await cache.get_or_load_many(["b"], source.load, negative_ttl=60) == {"b": MISSING}
    assert len(source.calls) == 2


async def test_an_error_of_the_loader_is_every_missing_keys(cache: AsyncCache) -> None:
    await cache.set("a", 1)

    async def fail(_: Sequence[str]) -> Mapping[str, Any]:
        raise LookupError("no database")

    found = await cache.get_or_load_many(["a", "b", "c"], fail)
    assert found["a"] == 1
    assert isinstance(found["b"], LookupError)
    assert isinstance(found["c"], LookupError)


async def test_a_loader_that_returns_no_mapping_is_an_error_at_once(cache: AsyncCache) -> None:
    async def none(_: Sequence[str]) -> Any:
        return None

    found = await asyncio.wait_for(cache.get_or_load_many(["a", "b"], none), 2)
    assert all(isinstance(found[key], AttributeError) for key in "ab")


async def test_a_hung_loader_is_cancelled_at_the_time_limit(opened: Open, namespace: str) -> None:
    cache, source = await opened("memory://", namespace, options=HASTY), ManySource(a=1, b=2)
    source.may_end.clear()
    found = await cache.get_or_load_many(["a", "b"], source.load)
    assert all(isinstance(found[key], LoadTimeoutError) for key in "ab")
    await until(lambda: source.cancelled == 1)
    source.may_end.set()
    assert await cache.get_or_load_many(["a", "b"], source.load) == {"a": 1, "b": 2}


async def test_cancelling_a_caller_leaves_the_load_to_others(cache: AsyncCache) -> None:
    source = ManySource(a=1, b=2)
    source.may_end.clear()
    first = asyncio.create_task(cache.get_or_load_many(["a", "b"], source.load))
    await until(lambda: source.calls)
    second = asyncio.create_task(cache.get_or_load_many(["b"], source.load))
    await until(lambda: cache.stats().coalesced["process"] or len(source.calls) > 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.may_end.set()
    assert await second == {"b": 2}
    assert len(source.calls) == 1


async def test_a_key_that_another_caller_loads_is_not_loaded_again(cache: AsyncCache) -> None:
    single, source = Source("single"), ManySource(a="many", b="many")
    load = asyncio.create_task(cache.get_or_load("a", single.held))
    await single.reading.wait()
    both = asyncio.create_task(cache.get_or_load_many(["a", "b"], source.load))
    await until(lambda: source.calls)
    single.may_end.set()
    assert await both == {"a": "single", "b": "many"}
    assert await load == "single"
    assert source.calls == [["b"]]


async def test_two_processes_load_each_key_once(opened: Open, shared_server: Server, namespace: str) -> None:
    caches = [await opened(shared_server.url, namespace) for _ in range(2)]
    source = ManySource(**{f"k{n}": n for n in range(20)})
    found = await asyncio.gather(*(cache.get_or_load_many(source.values, source.load) for cache in caches))
    assert found == [source.values] * 2
    asked = [key for call in source.calls for key in call]
    assert sorted(asked) == sorted(source.values)


async def test_loaded_keys_carry_their_tags(cache: AsyncCache) -> None:
    source = ManySource(a=1, b=2)
    await cache.get_or_load_many(["a", "b"], source.load, tags=["t"])
    await cache.invalidate_tag("t")
    assert await cache.get_many(["a", "b"]) == {}


async def test_set_many_stores_all_or_says_so(cache: AsyncCache) -> None:
    assert await cache.set_many({f"k{n}": n for n in range(30)}, ttl=60, tags=["t"])
    assert await cache.get_many([f"k{n}" for n in range(30)]) == {f"k{n}": n for n in range(30)}
    assert await cache.set_many({})
    await cache.invalidate_tag("t")
    assert await cache.get_many([f"k{n}" for n in range(30)]) == {}


async def test_a_set_of_many_that_redis_lost_in_part_is_not_acknowledged(hand: Hand) -> None:
    cache = await hand.cache()
    lost = hand.store.hold("put", executed=False)
    lost.lost = True
    lost.go.set()
    assert not await cache.set_many({"a": 1, "b": 2})
    assert await cache.get_many(["a", "b"]) == {"b": 2}


async def test_without_batching_each_key_is_a_call_of_its_own(
    opened: Open, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one call is made is the batch's doing, and the test above would see it gone."""

    async def alone(self: Batch, key: str) -> Any:
        return (await self._load_many([key]))[key]

    monkeypatch.setattr(Batch, "load", alone)
    cache, source = await opened("memory://", namespace), ManySource(a=1, b=2)
    assert await cache.get_or_load_many(["a", "b"], source.load) == {"a": 1, "b": 2}
    assert len(source.calls) == 2
