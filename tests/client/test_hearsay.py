"""What others did is remembered: a failover that undoes it makes nobody believe the old value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from cacheclient import MISSING, AsyncCache
from cacheclient.clock import ServerClock
from cacheclient.events import Event, EventType
from cacheclient.hearsay import Hearsay
from cacheclient.invalidation import Invalidation
from cacheclient.journal import Acknowledged
from cacheclient.keys import Glob, KeySpace
from cacheclient.loads import Loads
from cacheclient.missing import ABSENT
from cacheclient.revalidation import Revalidation
from cacheclient.testing import FakeClock
from tests.client.racing import Patch, Race, Scene, in_l1, proofs, settled

Change = Callable[[AsyncCache], Awaitable[object]]
CHANGES: Final[dict[str, Change]] = {
    "invalidate": lambda cache: cache.invalidate("a"),
    "set": lambda cache: cache.set("a", "new"),
    "pattern": lambda cache: cache.invalidate_pattern("?"),
    "tag": lambda cache: cache.invalidate_tag("t"),
    "clear": lambda cache: cache.clear(),
}


async def undone(scene: Scene, change: Change) -> AsyncCache:
    """Have a reader hear of ``change``, its writer die, and a master take over that has none of it."""
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old", tags=["t"])
    replica = hand.store.copy()
    hand.clock.advance(0.01)
    assert await change(writer)
    hand.fleet.line(reader).deliver()
    await writer.close()
    hand.fleet.failover(replica)
    return reader


async def a_failover_undoes_what_a_process_did_that_died(scene: Scene) -> None:
    for change in CHANGES.values():
        reader = await undone(scene, change)
        assert await reader.get("a", MISSING) is MISSING
        assert await reader.get_entry("a") is None
        assert await reader.get_many(["a"]) == {}
        assert not await reader.touch("a", 60)
        assert (await reader.explain("a")).l2.status == "void"
        scene.source.value = "new"
        assert await reader.get_or_load("a", scene.source.load) == "new"
        assert await (await scene.hand.cache()).get("a") == "new", "it is not repaired for those who heard nothing"
        await reader.clear()


async def a_failover_undoes_it_while_the_new_master_takes_no_writes(scene: Scene) -> None:
    reader = await undone(scene, CHANGES["invalidate"])
    scene.hand.store.fail("lease", times=3)
    scene.source.value = "new"
    for _ in range(3):
        assert await reader.get_or_load("a", scene.source.load) == "new"
    assert scene.source.calls == 3


async def a_writer_cannot_repeat_yet_what_others_did_not_hear(scene: Scene) -> None:
    await told_late(scene, CHANGES["set"])


async def told_late(scene: Scene, change: Change) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old", tags=["t"])
    replica = hand.store.copy()
    hand.clock.advance(0.01)
    assert await change(writer)
    hand.fleet.line(reader).waiting.clear()
    for call in ("bury", "repair", "bury_matching", "remark"):  # the new master takes no writes
        hand.store.fail(call, times=1000)
    hand.fleet.failover(replica)
    deadline = time.monotonic() + scene.patience
    while await reader.get("a", MISSING) is not MISSING:
        assert time.monotonic() < deadline, "nobody is told"
        await asyncio.sleep(0.01)
    assert len(writer._invalidation.journal)
    hand.store._holds.clear()
    await scene.until(lambda: not len(writer._invalidation.journal))


async def a_suspect_entry_is_compared_with_what_a_failover_brought_back(scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    line = hand.fleet.line(reader)
    await writer.set("a", "old", tags=["t"])
    line.waiting.clear()
    await in_l1(reader)
    line.waiting.clear()
    replica = hand.store.copy()
    hand.clock.advance(0.01)
    assert await writer.invalidate_tag("t")
    line.waiting = [message for message in line.waiting if isinstance(message, bytes)]  # its push is lost
    line.deliver()
    await writer.close()
    hand.fleet.failover(replica)
    await settled(reader)
    assert reader.peek("a") is ABSENT


async def another_process_takes_the_lease_of_what_a_failover_brought_back(scene: Scene) -> None:
    reader = await undone(scene, CHANGES["invalidate"])
    found = await reader._parts.shared.store.lease("hand:v1:a", b"anybody.", 60, reader._parts.serializer.readable)
    assert found.value is not None, "who knows of nothing finds the old value"
    scene.source.value = "new"
    assert await reader.get_or_load("a", scene.source.load) == "new"


def nothing_is_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearsay, "note", lambda *_: None)


def a_set_is_not_told_again(patch: pytest.MonkeyPatch) -> None:
    async def repair(self: Invalidation, full: str, last: Acknowledged) -> None:
        await self._store.repair(full, last.write_id, b"anything", self.grave)

    patch.setattr(Invalidation, "_repair", repair)


def a_new_master_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearsay, "recall", lambda *_: None)


def what_is_compared_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revalidation, "distrust", lambda *_: None)


def what_a_lease_finds_is_believed(patch: pytest.MonkeyPatch) -> None:
    async def usable(self: Loads, _full: str, stored: Any) -> bool:
        return self._serializer.remaining(stored) > 0

    patch.setattr(Loads, "_usable", usable)


RACES: Final[dict[Race, Patch]] = {
    a_failover_undoes_what_a_process_did_that_died: nothing_is_remembered,
    a_failover_undoes_it_while_the_new_master_takes_no_writes: a_new_master_is_believed,
    a_writer_cannot_repeat_yet_what_others_did_not_hear: a_set_is_not_told_again,
    a_suspect_entry_is_compared_with_what_a_failover_brought_back: what_is_compared_is_believed,
    another_process_takes_the_lease_of_what_a_failover_brought_back: what_a_lease_finds_is_believed,
}

test_the_race_is_closed: Callable[..., Any]
test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)


each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))


@each_change
async def test_what_cannot_be_repeated_yet_is_told(change: Change, scene: Scene) -> None:
    await told_late(scene, change)


@each_change
async def test_what_was_written_after_it_costs_no_load(change: Change, scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old", tags=["t"])
    hand.clock.advance(0.01)
    assert await change(writer)
    hand.fleet.line(reader).deliver()
    hand.clock.advance(0.01)
    if change is not CHANGES["set"]:
        scene.source.value = "new"
        await reader.get_or_load("a", scene.source.load, tags=["t"])
    await writer.close()
    hand.fleet.failover(hand.store.copy())
    assert await reader.get("a") == "new"


KEEP: Final = 60.0


class Ear:
    """What one cache remembers, and the clocks."""

    def __init__(self) -> None:
        self.clock, self.server_clock = FakeClock(), ServerClock(FakeClock())
        self.server_clock.observe(1000.0, 0.0)
        self.hearsay = Hearsay(KeySpace("hand"), KEEP, self.server_clock, self.clock)

    def hear(self, pattern: str, before_ms: int = 500, kind: EventType = EventType.INVALIDATE) -> None:
        said = Event(event_type=kind, key_pattern=pattern, timestamp=0, source_pod="another", before_ms=before_ms)
        self.hearsay.note(said, Glob(pattern))

    def refutes(self, written_ms: int = 499, key: str = "hand:v1:a") -> bool:
        return self.hearsay.refutes(key, written_ms, (("", b"12345678"), ("t", b"12345678")))


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.mark.parametrize("pattern", ["hand:v1:a", "hand:v1:*", "*", "h*:v[1-9]:a", "hand:tag:t", "hand:tag:"])
def test_what_is_void_is_refuted_after_a_failover_and_what_came_later_is_not(ear: Ear, pattern: str) -> None:
    ear.hear(pattern)
    assert not ear.refutes(), "without a failover Redis has it"
    ear.hearsay.recall()
    assert ear.refutes()
    assert not ear.refutes(written_ms=500)


@pytest.mark.parametrize("pattern", ["hand:v1:b", "hand:v2:a", "other:v1:a", "other:v1:*", "hand:tag:u", "hand:v1:b*"])
def test_what_it_does_not_name_is_not_refuted(ear: Ear, pattern: str) -> None:
    ear.hear(pattern)
    ear.hearsay.recall()
    assert not ear.refutes()


def test_doubts_end(ear: Ear) -> None:
    ear.hear("hand:v1:a")
    ear.hearsay.recall()
    ear.clock.advance(KEEP + 1)
    assert not ear.refutes()
    assert not ear.hearsay.doubts


def test_what_is_long_ago_is_forgotten(ear: Ear) -> None:
    ear.hear("hand:v1:a")
    ear.clock.advance(KEEP + 1)
    ear.hearsay.recall()
    assert not ear.refutes()


def test_nothing_that_a_new_master_takes_is_doubted_though_its_clock_is_behind(ear: Ear) -> None:
    now = ear.server_clock.now_ms()
    ear.hear("hand:v1:a", before_ms=now + 1000)
    ear.hearsay.recall()
    assert ear.refutes(now - 1)
    assert not ear.refutes(now)


def test_what_is_said_after_the_failover_counts(ear: Ear) -> None:
    ear.hearsay.recall()
    ear.hear("hand:v1:a")
    assert ear.refutes()


def test_the_event_of_another_system_makes_void_what_is_there(ear: Ear) -> None:
    ear.hear("hand:v1:a", before_ms=0)
    ear.hear("hand:v1:b", before_ms=0, kind=EventType.UPDATE)  # whatever was written then, it may be there
    ear.hearsay.recall()
    assert ear.refutes()
    assert not ear.refutes(key="hand:v1:b")


def test_what_was_said_first_takes_nothing_back_when_it_is_repeated(ear: Ear) -> None:
    ear.hear("hand:v1:a", before_ms=500)
    ear.hear("hand:v1:a", before_ms=300, kind=EventType.UPDATE)
    ear.hearsay.recall()
    assert ear.refutes()


def test_only_the_latest_are_remembered(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.hearsay._MAX_KEYS", 2)
    for key in "abac":
        ear.hear(f"hand:v1:{key}")
    ear.hearsay.recall()
    assert [ear.refutes(key=f"hand:v1:{key}") for key in "abc"] == [True, False, True]
