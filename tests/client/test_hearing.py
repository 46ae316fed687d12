"""What a cache does with events: how soon, by their priority, and who hears of a prewarm."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cacheclient import AsyncCache
from cacheclient.events import Event
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand
from tests.client.racing import in_l1
from tests.conftest import until


def said(pattern: str, **more: Any) -> bytes:
    """Return what a system that is no cache would publish."""
    fields = {"event_type": "invalidate", "key_pattern": pattern, "timestamp": 1.5, "source_pod": "x"}
    return json.dumps({**fields, "priority": "normal", **more}).encode()


async def filled(hand: Hand, *keys: str) -> AsyncCache:
    cache = await hand.cache()
    await cache.set_many(dict.fromkeys(keys, 1))
    for key in keys:
        await in_l1(cache, key)
    return cache


class Passes:
    """Counts the passes over all of L1."""

    def __init__(self, cache: AsyncCache, patch: pytest.MonkeyPatch) -> None:
        self.made = 0
        original = cache._parts.local.drop_matching

        def drop_matching(*matches: Any) -> None:
            self.made += 1
            original(*matches)

        patch.setattr(cache._parts.local, "drop_matching", drop_matching)


async def test_a_pattern_of_high_priority_is_applied_at_once(hand: Hand) -> None:
    cache = await filled(hand, "a1", "b1")
    cache._parts.hearing.heard(said("hand:v1:a*", priority="high"))
    assert [cache.peek("a1"), cache.peek("b1")] == [ABSENT, 1]


async def test_patterns_of_normal_priority_share_one_pass_at_the_end_of_the_tick(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await filled(hand, "a1", "b1", "c1")
    passes = Passes(cache, monkeypatch)
    for pattern in ("hand:v1:a*", "hand:v1:b*", "hand:v1:a*"):
        cache._parts.hearing.heard(said(pattern))
    assert passes.made == 0
    await asyncio.sleep(0)
    assert passes.made == 1
    assert [cache.peek(key) for key in ("a1", "b1", "c1")] == [ABSENT, ABSENT, 1]


async def test_patterns_of_low_priority_are_gathered_until_a_more_urgent_one_comes_or_time_is_up(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await filled(hand, "a1", "b1", "c1")
    passes = Passes(cache, monkeypatch)
    cache._parts.hearing.heard(said("hand:v1:a*", priority="low"))
    await asyncio.sleep(0.01)
    assert cache.peek("a1") == 1
    cache._parts.hearing.heard(said("hand:v1:b*", priority="high"))
    assert passes.made == 1
    assert [cache.peek(key) for key in ("a1", "b1", "c1")] == [ABSENT, ABSENT, 1]
    cache._parts.hearing.heard(said("hand:v1:c*", priority="low"))
    await until(lambda: cache.peek("c1") is ABSENT)
    assert passes.made == 2


async def test_patterns_that_wait_are_bounded(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.hearing._MAX_WAITING", 3)
    cache = await filled(hand, "a1")
    passes = Passes(cache, monkeypatch)
    for number in range(4):
        cache._parts.hearing.heard(said(f"hand:v1:a{number}*", priority="low"))
    assert passes.made == 1
    assert not cache._parts.hearing._waiting


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
async def test_one_key_is_dropped_at_once_whatever_the_priority(hand: Hand, priority: str) -> None:
    cache = await filled(hand, "a1")
    cache._parts.hearing.heard(said("hand:v1:a1", priority=priority))
    assert cache.peek("a1") is ABSENT


async def test_prewarm_events_reach_who_asked_for_them(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    cache = await filled(hand, "a")
    heard: list[Event] = []

    def fails(_: Event) -> None:
        raise ValueError("no such plan")

    cache.on_prewarm(fails)
    cache.on_prewarm(heard.append)
    for pattern in ("hand:v1:a*", "hand:*", "*", "hand:v2:a", "other:v1:a"):
        cache._parts.hearing.heard(said(pattern, event_type="prewarm"))
    assert [event.key_pattern for event in heard] == ["hand:v1:a*", "hand:*", "*"]
    assert caplog.text.count("ValueError: no such plan") == 3
    assert cache.peek("a") == 1
    assert cache.stats().events == {"prewarm": 5}


async def test_events_are_counted_by_type_and_so_is_what_is_none(hand: Hand) -> None:
    cache = await hand.cache()
    for data in (
        said("hand:v1:a"),
        said("hand:v1:a", event_type="update"),
        said("hand:v1:a", event_type="explode"),
        said("hand:v1:[a"),
        said("hand:v1:a", event_type=3),
        b"junk",
        b"[]",
    ):
        cache._parts.hearing.heard(data)
    assert cache.stats().events == {"invalidate": 2, "update": 1, "unknown": 1, "malformed": 4}


async def test_a_closed_cache_applies_nothing_any_more(hand: Hand) -> None:
    cache = await filled(hand, "a1")
    cache._parts.hearing.heard(said("hand:v1:a*", priority="low"))
    cache._parts.hearing.heard(said("hand:v1:a*"))
    await cache.close()
    assert (cache._parts.hearing._soon, cache._parts.hearing._later) == (None, None)
