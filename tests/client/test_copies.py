"""``l1.copy``: what one caller does to its value, no other sees."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache, Cache, CacheOptions, L1Options
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand
from tests.client.racing import Patch, Race, Scene, in_l1, proofs
from tests.conftest import Server

COPIES = CacheOptions(l1=L1Options(jitter=0, copy=True))


async def a_hit_is_changed_by_its_caller(scene: Scene) -> None:
    cache = await scene.hand.cache(options=COPIES)
    await cache.set("a", [1])
    await in_l1(cache)
    (await cache.get("a")).append(2)
    assert await cache.get("a") == [1]


async def a_value_is_changed_by_one_of_two_who_read_it_together(scene: Scene) -> None:
    cache = await scene.hand.cache(options=COPIES)
    await cache.set("a", [1])
    first, second = await asyncio.gather(cache.get("a"), cache.get("a"))
    first.append(2)
    assert second == [1]


async def a_value_is_changed_by_one_of_two_who_wait_for_its_load(scene: Scene) -> None:
    cache = await scene.hand.cache(options=COPIES)

    async def load(_: str) -> list[int]:
        await asyncio.sleep(0)
        return [1]

    first, second = await asyncio.gather(cache.get_or_load("a", load), cache.get_or_load("a", load))
    first.append(2)
    assert second == [1]


def values_are_shared(patch: pytest.MonkeyPatch) -> None:
    original = AsyncCache.__init__

    def made(self: AsyncCache[Any], *args: Any, **kwargs: Any) -> None:
        original(self, *args, **{**kwargs, "options": CacheOptions(l1=L1Options(jitter=0))})

    patch.setattr(AsyncCache, "__init__", made)


RACES: dict[Race, Patch] = {
    a_hit_is_changed_by_its_caller: values_are_shared,
    a_value_is_changed_by_one_of_two_who_read_it_together: values_are_shared,
    a_value_is_changed_by_one_of_two_who_wait_for_its_load: values_are_shared,
}

test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)


async def test_what_is_no_value_needs_no_copy(hand: Hand) -> None:
    cache = await hand.cache(options=COPIES)

    async def load(_: str) -> Any:
        return MISSING

    assert await cache.get_or_load("a", load, negative_ttl=60) is MISSING
    assert await cache.get_or_load("a", load, negative_ttl=60) is MISSING
    assert cache.peek("a") is MISSING
    assert cache.peek("b") is ABSENT


async def test_an_entry_with_its_provenance_is_a_copy_too(hand: Hand) -> None:
    cache = await hand.cache(options=COPIES)
    await cache.set("a", [1])
    for _ in range(2):  # from L2, then from L1
        entry = await cache.get_entry("a")
        assert entry is not None
        entry.value.append(2)
    assert await cache.get("a") == [1]


def test_threads_get_copies_as_well(shared_server: Server, namespace: str) -> None:
    for url in ("memory://", shared_server.url):
        with Cache.from_url(url, namespace=namespace, options=COPIES) as cache:
            cache.set("a", {"n": [1]})
            for _ in range(3):
                cache.get("a")["n"].append(2)
            assert cache.get("a") == {"n": [1]}
