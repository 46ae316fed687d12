"""Events on the three channels: what is published, what is heeded, and what is not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache
from cacheclient.contract import Channel
from cacheclient.events import Event, EventType, Priority, channel_of, decode, encode
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand
from tests.client.test_tags import in_l1
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]
REQUIRED = {"event_type", "key_pattern", "timestamp", "source_pod", "priority"}


class Ear:
    """A plain subscriber to every channel, as a system that is not a cache would be."""

    def __init__(self, server: Server) -> None:
        self._pubsub = server.client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(*Channel)
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def about(self, namespace: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what was said so far of a namespace: channel and event."""
        while (message := self._pubsub.get_message()) is not None:
            self.heard.append((message["channel"].decode(), json.loads(message["data"])))
        return [(channel, event) for channel, event in self.heard if event["key_pattern"].startswith(f"{namespace}:")]

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def ear(shared_server: Server) -> Iterator[Ear]:
    ear = Ear(shared_server)
    yield ear
    ear.close()


def event(pattern: str, kind: str = "invalidate", **more: Any) -> str:
    """Return what a foreign system would publish."""
    fields = {"event_type": kind, "key_pattern": pattern, "timestamp": 1.5, "source_pod": "x", "priority": "low"}
    return json.dumps({**fields, **more})


async def with_l1(opened: Open, server: Server, namespace: str, *keys: str) -> AsyncCache:
    """Return a cache that listens and has ``keys`` in L1."""
    cache = await opened(server.url, namespace)
    await until(lambda: cache.stats().listener_connected)
    await cache.set_many(dict.fromkeys(keys, 1))
    await until(lambda: cache.stats().invalidations["key/remote"] >= len(keys))
    for key in keys:
        await in_l1(cache, key)
    return cache


async def test_every_write_and_invalidation_is_announced(
    opened: Open, shared_server: Server, namespace: str, ear: Ear
) -> None:
    cache, began = await opened(shared_server.url, namespace), time.time()
    await cache.set("a?", 1)
    await cache.invalidate("a*")
    await cache.invalidate_pattern("b:*")
    await until(lambda: len(ear.about(namespace)) == 4)
    said = ear.about(namespace)
    assert [(channel, one["key_pattern"], one["priority"]) for channel, one in said] == [
        (Channel.UPDATE, f"{namespace}:v1:a\\?", "normal"),
        (Channel.INVALIDATE, f"{namespace}:v1:a\\*", "normal"),  # the key a*, not what begins with a
        (Channel.INVALIDATE, f"{namespace}:v1:b:*", "low"),  # before the search: for warm-ups
        (Channel.INVALIDATE, f"{namespace}:v1:b:*", "high"),  # after it: for L1
    ]
    for channel, one in said:
        assert set(one) >= REQUIRED
        assert channel.endswith(one["event_type"])
        assert began - 1 <= one["timestamp"] <= time.time() + 1
        assert one["source_pod"]
        assert one["version"] == 1


async def test_a_load_announces_nothing(opened: Open, shared_server: Server, namespace: str, ear: Ear) -> None:
    cache = await opened(shared_server.url, namespace)

    async def load(key: str) -> str:
        return key

    await cache.get_or_load("a", load)
    await cache.set("b", 1)
    await until(lambda: ear.about(namespace))
    assert [one["key_pattern"] for _, one in ear.about(namespace)] == [f"{namespace}:v1:b"]


@pytest.mark.parametrize(
    ("kind", "pattern", "kept"),
    [
        ("invalidate", "{}:v1:a1", {"a2", "b1"}),
        ("invalidate", "{}:v1:a*", {"b1"}),
        ("invalidate", "{}:*", set()),
        ("update", "{}:v1:b1", {"a1", "a2"}),
    ],
)
async def test_events_of_others_are_applied_to_l1(
    opened: Open, shared_server: Server, namespace: str, kind: str, pattern: str, kept: set[str]
) -> None:
    keys = {"a1", "a2", "b1"}
    cache = await with_l1(opened, shared_server, namespace, *keys)
    text = event(pattern.format(namespace), kind, unknown={"field": 1})
    shared_server.client.publish(getattr(Channel, kind.upper()), text)
    await until(lambda: cache.stats().invalidations["event/remote"] == 1)
    await until(lambda: {key for key in keys if cache.peek(key) is not ABSENT} == kept)
    assert len(await cache.get_many(keys)) == 3  # an event says nothing of L2


async def test_events_that_concern_somebody_else_are_passed_over(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    cache = await with_l1(opened, shared_server, namespace, "a")
    own = cache._invalidation.id
    for kind, text in (
        ("invalidate", event(f"{namespace}:v2:a")),
        ("invalidate", event(f"{namespace}x:v1:*")),
        ("invalidate", event(f"{namespace}:v1:a", id=own)),
        ("prewarm", event(f"{namespace}:v1:*", "prewarm")),
        ("invalidate", "junk, which comes last and is counted"),
    ):
        shared_server.client.publish(getattr(Channel, kind.upper()), text)
    await until(lambda: cache.stats().events["malformed"])
    await until(lambda: cache.peek("a") == 1)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        event("{}:v1:a", "explode").encode(),
        event("{}:v1:a", priority="urgent").encode(),
        event("{}:v1:a", timestamp="yesterday").encode(),
        event("{}:v1:[a").encode(),
        event("").encode(),
        json.dumps({"event_type": "invalidate", "key_pattern": "{}:v1:a"}).encode(),
    ],
)
async def test_junk_is_counted_and_passed_over(
    opened: Open, shared_server: Server, namespace: str, junk: bytes
) -> None:
    cache = await with_l1(opened, shared_server, namespace, "a")
    shared_server.client.publish(Channel.INVALIDATE, junk.replace(b"{}", namespace.encode()))
    await until(lambda: sum(cache.stats().events[kind] for kind in ("malformed", "unknown")) == 1)
    await until(lambda: cache.peek("a") == 1)
    assert cache.stats().gaps == 0


async def test_a_backward_range_ends_no_listener(opened: Open, shared_server: Server, namespace: str) -> None:
    cache = await with_l1(opened, shared_server, namespace, "b", "d")
    shared_server.client.publish(Channel.INVALIDATE, event(f"{namespace}:v1:[c-a]"))
    await until(lambda: cache.peek("b") is ABSENT)
    await until(lambda: cache.peek("d") == 1)
    assert cache.stats().gaps == 0


async def test_without_the_right_to_subscribe_l1_still_works(
    opened: Open, own_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    own_server.ask("ACL", "SETUSER", "deaf", "on", ">word", "~*", "+@all", "resetchannels")
    cache = await opened(own_server.url, namespace, username="deaf", password="word")  # noqa: S106
    await until(lambda: cache.stats().listener_connected)
    assert cache.stats().errors["l1/other"] == len(Channel)
    assert "events of the fleet are not heard" in caplog.text
    other = await opened(own_server.url, namespace)
    await cache.set("a", 1)
    await until(lambda: cache.stats().invalidations["key/remote"])
    await in_l1(cache, "a")
    await other.set("a", 2)
    await until(lambda: cache.peek("a") is ABSENT)
    assert await cache.get("a") == 2
    assert cache.stats().gaps == 0  # no reconnecting in a circle


async def test_an_event_voids_a_fill_in_flight(hand: Hand) -> None:
    reader, writer = await hand.cache(), await hand.cache()
    await writer.set("a", "old")
    reply = hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(reader.get("a"))
    await reply.reached.wait()
    await writer.invalidate("a")
    reader._parts.hearing.heard(event("hand:v1:*", priority="normal").encode())
    reply.go.set()
    assert await read == "old"
    assert await reader.get("a", MISSING) is MISSING


@pytest.mark.parametrize("kind", EventType)
@pytest.mark.parametrize("priority", Priority)
def test_events_survive_their_encoding(kind: EventType, priority: Priority) -> None:
    said = Event(event_type=kind, key_pattern="n:v1:ä*", timestamp=12.5, source_pod="p", priority=priority)
    assert decode(encode(said)) == said
    assert set(json.loads(encode(said))) == REQUIRED
    assert channel_of(said).endswith(kind)
