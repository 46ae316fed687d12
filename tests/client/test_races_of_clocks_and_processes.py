"""Races with clocks that jump, events out of order, early refreshes, failovers, partitions and forks."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from cacheclient import MISSING, CacheOptions, FailsafeOptions, L1Options, events
from cacheclient.clock import Gate, ServerClock, boottime
from cacheclient.entry import Stored
from cacheclient.events import Event, EventType
from cacheclient.hearing import Hearing
from cacheclient.journal import Debt, Journal
from cacheclient.missing import ABSENT
from cacheclient.testing import FakeClock, FakeStore, Substitution, substituted
from tests.client.conftest import RACE, Named
from tests.client.racing import Patch, Race, Scene, heard, in_l1, proofs

TTL: Final = 10.0
KEPT = CacheOptions(l1=L1Options(jitter=0), failsafe=FailsafeOptions(window=1000))  # past their time, not yet gone


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_time_goes_on_while_the_machine_sleeps() -> None:
    assert boottime.args == (time.CLOCK_BOOTTIME,)  # type: ignore[attr-defined]


async def a_machine_sleeps_for_a_while(scene: Scene) -> None:
    clock = FakeClock(running=True)
    with substituted(Substitution(clock=clock)):
        reader = await scene.cache()
    writer = await scene.cache()
    await heard(reader)
    await writer.set("a", "old")
    await in_l1(reader)
    clock.advance(RACE.sync.max_staleness + 1)  # less than a value lives: only the gate can tell
    assert reader.peek("a") is ABSENT, "what was changed meanwhile is not known yet"


async def the_server_s_clock_steps_back(scene: Scene) -> None:
    cache, hand = await scene.hand.cache(options=KEPT), scene.hand
    await cache.set("a", "old", ttl=TTL)
    hand.fleet.server_clock.observe(time.time() - 3600, hand.clock())
    await in_l1(cache)
    hand.clock.advance(TTL + 1)
    assert cache.peek("a") is ABSENT


async def the_wall_clock_of_a_pod_steps_back(scene: Scene) -> None:
    cache, hand = await scene.hand.cache(options=KEPT), scene.hand
    await cache.set("a", "old", ttl=TTL)
    hand.clock.advance(TTL + 1)
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now - 86_400)
        assert await cache.get("a", MISSING) is MISSING


# -- events and refreshes ----------------------------------------------------------------------------------------------


async def events_arrive_out_of_order(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    line = scene.hand.fleet.line(reader)
    await writer.set("a", "old")
    line.waiting.clear()
    await in_l1(reader)
    await writer.set("a", "new")
    line.waiting.clear()  # the push is lost
    for timestamp, key in ((200.0, "hand:v1:b"), (100.0, "hand:v1:a")):  # pods whose clocks differ, or a slow network
        event = Event(event_type=EventType.UPDATE, key_pattern=key, timestamp=timestamp, source_pod="another")
        line.message(events.encode(event))
    line.deliver()
    assert reader.peek("a") is ABSENT
    assert await reader.get("a") == "new"


async def pushes_arrive_late_and_out_of_order(scene: Scene) -> None:
    reader, writer = await scene.hand.cache(), await scene.hand.cache()
    line = scene.hand.fleet.line(reader)
    for value in ("older", "old"):
        await writer.set("a", value)
    await in_l1(reader)
    await writer.invalidate("a")
    line.waiting = [message for message in reversed(line.waiting) if isinstance(message, str)]  # and events are lost
    line.deliver()
    assert reader.peek("a") is ABSENT


async def an_early_refresh_meets_an_invalidation(scene: Scene) -> None:
    reader, writer, source = await scene.hand.cache(), await scene.hand.cache(), scene.source
    await reader.set("a", "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cacheclient.cache.due_early", lambda *_: True)
        assert await reader.get_or_load("a", source.held) == "old"
    await source.reading.wait()
    source.value = "new"
    await writer.invalidate("a")
    source.may_end.set()
    await scene.until(lambda: not reader._parts.flights._running)
    assert await writer.get("a", MISSING) is MISSING
    assert await writer.get_or_load("a", source.load) == "new"


# -- failovers and partitions ------------------------------------------------------------------------------------------


async def a_failover_brings_an_invalidated_value_back(scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old")
    replica = hand.store.copy()
    assert await writer.invalidate("a")
    hand.fleet.failover(replica)
    await scene.until(lambda: hand.store.data["hand:v1:a"][:1] == b"T")
    assert await reader.get("a", MISSING) is MISSING


async def a_failover_brings_a_replaced_value_back(scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old")
    replica = hand.store.copy()
    assert await writer.set("a", "new")
    hand.fleet.failover(replica)
    await scene.until(lambda: hand.store.data["hand:v1:a"][:1] == b"T")
    assert await reader.get("a", MISSING) is MISSING


async def a_failover_brings_back_what_a_set_in_doubt_replaced(scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old")
    replica = hand.store.copy()
    hand.store.fail("put", executed=True)
    assert not await writer.set("a", "new")
    await scene.until(lambda: hand.store.data["hand:v1:a"][:1] == b"T")
    hand.fleet.failover(replica)
    await scene.until(lambda: hand.store.data["hand:v1:a"][:1] == b"T")
    assert await reader.get("a", MISSING) is MISSING


async def a_second_failover_undoes_what_was_repeated_after_the_first(scene: Scene) -> None:
    writer, hand = await scene.hand.cache(), scene.hand
    await writer.set("a", "old")
    replica = hand.store.copy()
    assert await writer.invalidate("a")
    keep = writer.options.sync.journal
    for _ in range(2):
        hand.clock.advance(0.6 * keep)
        hand.fleet.failover(replica)
        await scene.until(lambda: hand.store.data["hand:v1:a"][:1] == b"T")
        await scene.until(lambda: not len(writer._invalidation.journal))


async def a_failover_brings_a_tag_back(scene: Scene) -> None:
    writer, reader, hand = await scene.hand.cache(), await scene.hand.cache(), scene.hand
    await writer.set("a", "old", tags=["t"])
    replica = hand.store.copy()
    assert await writer.invalidate_tag("t")
    hand.fleet.failover(replica)
    await scene.until(lambda: hand.store.data["hand:tag:t"] != replica["hand:tag:t"])
    assert await reader.get("a", MISSING) is MISSING


async def a_pod_stays_with_a_deposed_master(scene: Scene) -> None:
    class Quick(Named):
        term = RACE.sync.max_staleness

    old, new = scene.launch(), scene.launch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cacheclient.shared.FixedTopology", Quick)
        pod = await scene.cache(old.url)
    await heard(pod)
    await pod.set("a", "old")
    await in_l1(pod)
    Quick.master = None  # cut off together with the old master; the others have promoted another
    writer = await scene.cache(new.url)
    assert await writer.set("a", "new")
    deadline = time.monotonic() + scene.patience
    while await pod.get("a") == "old":
        assert time.monotonic() < deadline, "the old master is still believed"
        await asyncio.sleep(0.01)
    for server in (old, new):
        server.kill()


# -- processes ---------------------------------------------------------------------------------------------------------

FORKING: Final = """
    import os, signal, sys
    import cacheclient.runtime
    from cacheclient import Cache, CacheOptions, L2Options
    url, namespace, patience = sys.argv[1:]
    if "FORKS_ARE_NOT_SEEN" in os.environ:
        cacheclient.runtime._forked = lambda _: None
    cache = Cache.from_url(url, namespace=namespace, options=CacheOptions(l2=L2Options(timeout=5)))
    cache.start()
    assert cache.set("a", "parent")
    child = os.fork()
    if child == 0:
        signal.alarm(int(float(patience)))
        done = cache.set("a", "child") and cache.get_or_load("b", lambda key: "loaded") == "loaded"
        cache.close()
        os._exit(not done)
    assert os.waitpid(child, 0)[1] == 0, "the child has no connection of its own"
    assert cache.set("a", "parent again") and cache.get("a") == "parent again"
    assert cache.stats().connection_errors == cache.stats().gaps == 0
    cache.close()
"""


async def a_fork_shares_a_socket(scene: Scene) -> None:
    command = ("-c", textwrap.dedent(FORKING), scene.server.url, scene.namespace, str(scene.patience))
    run = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
    _, said = await run.communicate()
    assert run.returncode == 0, said.decode()


# -- each defence, taken away ------------------------------------------------------------------------------------------


def gates_stay_open(patch: pytest.MonkeyPatch) -> None:
    class Open(Gate):
        __slots__ = ()
        until = property(lambda _: float("inf"), lambda *_: None)

    patch.setattr("cacheclient.listener.Gate", Open)
    patch.setattr("cacheclient.remote.link.Gate", Open)


def a_life_may_grow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stored, "remaining", lambda self, now: (self.written_ms + self.lifetime_ms - now) / 1000)


def the_pod_s_own_clock_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ServerClock, "now_ms", lambda _: int(time.time() * 1000))


def older_events_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def hear(self: Hearing, data: bytes) -> None:
        event = events.decode(data)
        if event is not None and event.timestamp >= newest[-1]:
            newest.append(event.timestamp)
            original(self, data)

    original, newest = Hearing.heard, [0.0]
    patch.setattr(Hearing, "heard", hear)


def only_the_first_push_counts(patch: pytest.MonkeyPatch) -> None:
    def tell(self: Hearing, keys: Any) -> None:
        if keys is None or not told:
            original(self, keys)
        told.extend(keys or ())

    original, told = Hearing.told, ["hand:v1:a"]
    patch.setattr(Hearing, "told", tell)


def any_fill_is_stored(patch: pytest.MonkeyPatch) -> None:
    async def fill(self: FakeStore, key: str, _expected: bytes, data: bytes, _seconds: float | None) -> bool:
        self.data[key] = data
        return True

    patch.setattr(FakeStore, "fill", fill)


def nothing_is_replayed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "replay", lambda *_: None)


def sets_in_doubt_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    def note(self: Journal, debt: Debt) -> None:
        if debt.kind == "set":
            original(self, debt)

    original = Journal.note
    patch.setattr(Journal, "note", note)


def what_is_repeated_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    def note(self: Journal, debt: Debt) -> None:
        if debt not in self._recent:
            original(self, debt)

    original = Journal.note
    patch.setattr(Journal, "note", note)


def sets_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "note_set", lambda *_: None)


def forks_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(os.environ, "FORKS_ARE_NOT_SEEN", "1")


RACES: Final[dict[Race, Patch]] = {
    a_machine_sleeps_for_a_while: gates_stay_open,
    the_server_s_clock_steps_back: a_life_may_grow,
    the_wall_clock_of_a_pod_steps_back: the_pod_s_own_clock_counts,
    events_arrive_out_of_order: older_events_are_ignored,
    pushes_arrive_late_and_out_of_order: only_the_first_push_counts,
    an_early_refresh_meets_an_invalidation: any_fill_is_stored,
    a_failover_brings_an_invalidated_value_back: nothing_is_replayed,
    a_failover_brings_a_replaced_value_back: sets_are_not_remembered,
    a_failover_brings_back_what_a_set_in_doubt_replaced: sets_in_doubt_are_not_remembered,
    a_second_failover_undoes_what_was_repeated_after_the_first: what_is_repeated_is_not_kept,
    a_failover_brings_a_tag_back: nothing_is_replayed,
    a_pod_stays_with_a_deposed_master: gates_stay_open,
    a_fork_shares_a_socket: forks_are_not_seen,
}

test_the_race_is_closed: Callable[..., Any]
test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
