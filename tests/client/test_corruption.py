"""Bytes in Redis that nobody wrote so: they cost a load, are counted, and raise nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import MISSING, AsyncCache, CacheOptions, L1Options, L2Options, entry, events
from cacheclient.codec import JsonCodec, MsgpackCodec, RawCodec
from cacheclient.events import Event, EventType, Priority
from cacheclient.testing import Fleet

KEY: Final = "test:v1:a"
STEADY: Final = CacheOptions(l1=L1Options(max_entries=0), l2=L2Options(early_refresh=0))
# What the bytes of an entry stand for (see ``entry``), and what may become of one flipped bit there.
FIELDS: Final = {
    "state": (0, 1), "write id": (1, 9), "format": (9, 10), "codec": (10, 11), "flags": (11, 12), "written": (12, 20),
    "lifetime": (20, 28), "load time": (28, 32), "length of the tags": (32, 34), "tags": (34, 34 + 2 * 9 + 1),
}  # fmt: skip
HARMLESS: Final = frozenset({"write id", "load time"})  # the value is what it was
COUNTED: Final = frozenset({"state", "format", "codec"})
FAITHFUL: Final = HARMLESS | {"flags", "written", "lifetime"}  # if it is served, it is the value


class Row(msgspec.Struct, frozen=True):
    name: str
    size: int


ROW: Final = Row("a row of some length", 7)
FRESH: Final = Row("loaded", 1)


async def load(_: str) -> Row:
    return FRESH


async def judge(fleet: Fleet, cache: AsyncCache[Row], raw: bytes) -> tuple[Any, int]:
    """Put ``raw`` in place; return what a read gives and how many errors it counted. A load must always work."""
    fleet.store.data[KEY] = raw
    before = cache.stats().errors["l2/serialization"]
    found = await cache.get("a", MISSING)
    counted = cache.stats().errors["l2/serialization"] - before
    fleet.store.data[KEY] = raw
    loaded = await asyncio.wait_for(cache.get_or_load("a", load), 5)
    assert loaded == (found if isinstance(found, Row) else loaded)
    if found is MISSING and loaded is not MISSING:
        assert loaded == FRESH
        assert await cache.get("a") == FRESH, "it was not replaced"
    return found, counted


async def stored(fleet: Fleet, cache: AsyncCache[Row]) -> bytes:
    await cache.set("a", ROW, tags=["t"])
    return fleet.store.data[KEY]


def flips(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Every flip of one bit, with the field that it hits."""
    for at in range(len(raw)):
        field = next((name for name, (low, high) in FIELDS.items() if low <= at < high), "payload")
        for bit in range(8):
            yield field, raw[:at] + bytes((raw[at] ^ 1 << bit,)) + raw[at + 1 :]


async def test_every_flipped_bit(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache(type=Row, options=STEADY) as cache:
        raw = await stored(cache_fleet, cache)
        envelope = entry.unpack(raw)
        assert envelope is not None
        assert len(raw) == FIELDS["tags"][1] + len(envelope.payload), "the table does not fit the layout"
        for field, flipped in flips(raw):
            found, counted = await judge(cache_fleet, cache, flipped)
            if field in HARMLESS:
                assert (found, counted) == (ROW, 0), field
            elif field in COUNTED:
                assert (found, counted) == (MISSING, 1), field
            elif field in FAITHFUL:
                assert found in (ROW, MISSING), field
            else:
                assert found is MISSING or isinstance(found, Row), field
                assert found is MISSING or not counted, field


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_every_prefix(cache_fleet: Fleet, codec: str) -> None:
    async with cache_fleet.cache(type=Row, codec=codec, options=STEADY) as cache:
        raw = await stored(cache_fleet, cache)
        for length in range(len(raw)):
            assert await judge(cache_fleet, cache, raw[:length]) == (MISSING, 1), length


async def test_an_entry_cut_between_its_tags_is_none(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache(codec="raw", options=STEADY) as cache:
        await cache.set("a", b"payload", tags=["t", "u"])
        raw = cache_fleet.store.data[KEY]
        first_tag = 34 + 1 + 8
        assert entry.unpack(raw[:first_tag]) is None, "its tags and its payload are gone, and nobody would know"


@given(st.binary(max_size=120), st.sampled_from([b"", b"V", b"L", b"T"]))
def test_any_bytes(junk: bytes, head: bytes) -> None:
    async def play() -> None:
        fleet, raw = Fleet(), head + junk
        async with fleet.cache(type=Row, options=STEADY) as cache:
            if raw[:1] == b"L" and len(raw) == 9:
                return  # a lease, which somebody else will fill
            found, counted = await judge(fleet, cache, raw)
            assert found is MISSING or isinstance(found, Row)
            assert counted == (found is MISSING and not entry.is_marker(raw)) or entry.unpack(raw) is not None

    asyncio.run(play())


@pytest.mark.parametrize("codec", [MsgpackCodec(), JsonCodec(), RawCodec()])
@given(value=st.binary(max_size=50), tags=st.lists(st.tuples(st.text(max_size=20), st.binary(min_size=8, max_size=8))))
def test_what_a_codec_wrote_comes_back_through_the_envelope(codec: Any, value: bytes, tags: list[Any]) -> None:
    given_value = value if isinstance(codec, RawCodec) else value.hex()
    packed = entry.pack(entry.Stored(bytes(8), codec.id, 1, 2, 0.0, codec.encode(given_value), 3, tuple(tags)))
    again = entry.unpack(packed)
    assert again is not None
    assert (codec.decode(again.payload), again.tags, again.flags) == (given_value, tuple(tags), 3)


EVENTS: Final = st.builds(
    Event,
    event_type=st.sampled_from(EventType),
    key_pattern=st.text(st.characters(exclude_categories=["Cs"])),
    timestamp=st.floats(allow_nan=False, allow_infinity=False),
    source_pod=st.text(st.characters(exclude_categories=["Cs"])),
    priority=st.sampled_from(Priority),
    id=st.text("abc"),
    version=st.integers(0, 2**53),
)


@given(EVENTS)
def test_an_event_comes_back_and_its_required_fields_are_there(event: Event) -> None:
    data = events.encode(event)
    assert events.decode(data) == event
    assert json.loads(data).keys() >= {"event_type", "key_pattern", "timestamp", "source_pod", "priority"}
    wider = msgspec.json.encode({**json.loads(data), "a_later_field": [1]})
    assert events.decode(wider) == event


CUT: Final = st.tuples(EVENTS.map(events.encode), st.integers(0, 200)).map(lambda event: event[0][: event[1]])


@given(st.binary(max_size=80) | CUT)
def test_no_message_of_a_channel_raises(data: bytes) -> None:
    async def play() -> None:
        fleet = Fleet()
        async with fleet.cache() as cache:
            fleet.store.publish("cache:invalidate", data)
            assert cache.stats().events  # each is counted

    asyncio.run(play())
