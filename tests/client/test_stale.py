"""Values past their time, or nearly: early refresh, revalidation, fail-safe; and what the source does not have."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from cacheclient import MISSING, AsyncCache, CacheOptions, ConfigurationError, FailsafeOptions, L1Options, LockOptions
from cacheclient.contract import Tier
from cacheclient.flights import Flights
from cacheclient.jobs import due_early
from cacheclient.loads import Loads
from cacheclient.testing import FakeStore
from tests.client.conftest import Hand
from tests.client.racing import Patch, Race, Scene, proofs
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]
TTL: Final = 10.0
DOWN: Final = object()


def options(**failsafe: Any) -> CacheOptions:
    return CacheOptions(
        l1=L1Options(jitter=0),
        lock=LockOptions(load_timeout=60, lease=60, wait=60),
        failsafe=FailsafeOptions(**failsafe),
    )


SAFE = options(window=1000, throttle=5)
REVALIDATE = options(window=1000, throttle=5, revalidate=True)


class OutageError(Exception):
    """The database is down."""


class Database:
    """One value, or DOWN, and loads that the test may hold."""

    def __init__(self, value: Any = DOWN) -> None:
        self.value = value
        self.calls = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def load(self, _: str) -> Any:
        self.calls += 1
        value = self.value
        await self.may_end.wait()
        if value is DOWN:
            raise OutageError("down")
        return value


async def stale(hand: Hand, given: CacheOptions, *, tags: tuple[str, ...] = ()) -> AsyncCache:
    """Return a cache under whose key "a" is a value past its time."""
    cache = await hand.cache(options=given)
    await cache.set("a", "old", ttl=TTL, tags=tags)
    hand.clock.now += TTL + 1
    return cache


async def landed(cache: AsyncCache) -> None:
    """Wait until nothing is in flight."""
    await until(lambda: not cache._parts.flights._running)


# -- fail-safe ---------------------------------------------------------------------------------------------------------


async def test_a_stale_value_serves_when_its_loader_fails_and_says_so(hand: Hand) -> None:
    cache, database = await stale(hand, SAFE), Database()
    assert await cache.get("a", MISSING) is MISSING  # a read without a loader has no reason to take it
    assert await cache.get_or_load("a", database.load) == "old"
    assert cache.stats().stale_served == {"load_failed": 1}
    for tier in (Tier.L2, Tier.L1):
        entry = await cache.get_entry("a")
        assert entry is not None
        assert (entry.value, entry.stale, entry.tier) == ("old", "load_failed", tier)


async def test_the_fleet_leaves_a_failing_loader_alone_for_the_throttle(hand: Hand) -> None:
    cache, database = await stale(hand, SAFE), Database()
    other = await hand.cache(options=SAFE)
    for _ in range(3):
        assert await cache.get_or_load("a", database.load) == "old"
        assert await other.get_or_load("a", database.load) == "old"
    assert database.calls == 1
    hand.clock.now += SAFE.failsafe.throttle + 0.1
    assert await other.get_or_load("a", database.load) == "old"
    assert await cache.get_or_load("a", database.load) == "old"
    assert database.calls == 2


async def test_a_loader_that_works_again_ends_the_stale_value(hand: Hand) -> None:
    cache, database = await stale(hand, SAFE), Database()
    await cache.get_or_load("a", database.load)
    hand.clock.now += SAFE.failsafe.throttle + 0.1
    database.value = "new"
    assert await cache.get_or_load("a", database.load) == "new"
    entry = await cache.get_entry("a")
    assert entry is not None
    assert (entry.value, entry.stale) == ("new", "")


async def test_without_a_window_the_error_passes_through(hand: Hand) -> None:
    cache, database = await stale(hand, options()), Database()
    with pytest.raises(OutageError):
        await cache.get_or_load("a", database.load)
    assert not cache.stats().stale_served


async def test_at_the_end_of_the_window_the_error_passes_through(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    safe = CacheOptions(failsafe=FailsafeOptions(window=0.5, throttle=0.01))
    cache, database = await opened(shared_server.url, namespace, options=safe), Database()
    await cache.set("a", "old", ttl=0.05)
    await until(lambda: cache._parts.local.table.get("a") is None)
    answers, deadline = [], time.monotonic() + 5
    while (answer := await outcome(asyncio.create_task(cache.get_or_load("a", database.load)))) != "down":
        assert time.monotonic() < deadline
        answers.append(answer)
        await asyncio.sleep(0.02)
    assert set(answers) == {"old"}
    assert cache.stats().stale_served["load_failed"]
    assert not shared_server.client.exists(f"{namespace}:v1:a")


async def test_a_tag_lives_as_long_as_what_may_be_served_stale(
    opened: Open, shared_server: Server, namespace: str
) -> None:
    safe = CacheOptions(failsafe=FailsafeOptions(window=500))
    cache, database = await opened(shared_server.url, namespace, options=safe), Database("loaded")
    await cache.set("a", "set", ttl=1, tags=["set"])
    await cache.get_or_load("b", database.load, ttl=1, tags=["loaded"])
    for name in ("set", "loaded"):
        assert shared_server.client.ttl(f"{namespace}:tag:{name}") >= 500


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window": -1}, "failsafe.window"),
        ({"window": 10, "throttle": 0}, "failsafe.throttle"),
        ({"window": 10, "revalidate": 1}, "failsafe.revalidate"),
        ({"revalidate": True}, "needs failsafe.window"),
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        FailsafeOptions(**wrong)


# -- revalidation ------------------------------------------------------------------------------------------------------


async def test_readers_get_the_stale_value_at_once_and_one_load_runs_behind_them(hand: Hand) -> None:
    cache, database = await stale(hand, REVALIDATE), Database("new")
    other = await hand.cache(options=REVALIDATE)
    database.may_end.clear()
    for reader in (cache, other, cache, other):
        assert await reader.get_or_load("a", database.load) == "old"
    await until(lambda: database.calls)
    await landed(other)
    assert database.calls == 1
    assert cache.stats().stale_served + other.stats().stale_served == {"reloading": 4}
    database.may_end.set()
    await landed(cache)
    assert await other.get("a") == await cache.get("a") == "new"


async def test_a_revalidation_that_fails_is_throttled_and_ends_unseen(hand: Hand) -> None:
    cache, database = await stale(hand, REVALIDATE), Database()
    for _ in range(3):
        assert await cache.get_or_load("a", database.load) == "old"
        await landed(cache)
    assert database.calls == 1


# -- early refresh -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("remaining", "load_time", "beta"), [(1, 1, 1), (3, 2, 1), (0.5, 0.1, 4), (2, 1, 0.5)])
def test_the_chance_of_an_early_refresh_falls_exponentially(
    monkeypatch: pytest.MonkeyPatch, remaining: float, load_time: float, beta: float
) -> None:
    monkeypatch.setattr("cacheclient.loads.random", random.Random(7))  # noqa: S311  chances, not secrets
    tries = 20_000
    share = sum(due_early(remaining, load_time, beta) for _ in range(tries)) / tries
    expected = math.exp(-remaining / (load_time * beta))
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / tries))


def test_what_was_not_loaded_or_may_not_be_is_never_due_early() -> None:
    assert not any(due_early(1e-9, 0, 1) or due_early(1e-9, 1, 0) for _ in range(100))
    assert all(due_early(0, 1, 1) and due_early(-1, 1, 1) for _ in range(100))


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.cache.due_early", lambda *_: True)


@pytest.mark.usefixtures("always_due")
async def test_an_early_refresh_runs_behind_its_reader(hand: Hand) -> None:
    cache, database = await hand.cache(), Database("new")
    await cache.set("a", "old")
    assert await cache.get_or_load("a", database.load) == "old"
    await landed(cache)
    hand.push(cache, "a")
    assert await cache.get("a") == "new"
    assert not cache.stats().stale_served


@pytest.mark.usefixtures("always_due")
async def test_an_early_refresh_that_fails_is_not_tried_again_by_every_reader(hand: Hand) -> None:
    cache, database = await hand.cache(), Database()
    await cache.set("a", "old")
    for _ in range(3):
        assert await cache.get_or_load("a", database.load) == "old"
        await landed(cache)
        hand.push(cache, "a")
    assert database.calls == 1


@pytest.mark.usefixtures("always_due")
async def test_an_early_refresh_that_fails_late_serves_nothing_past_its_time(hand: Hand) -> None:
    cache, database = await hand.cache(), Database()
    await cache.set("a", "old", ttl=TTL)
    database.may_end.clear()
    assert await cache.get_or_load("a", database.load) == "old"
    await until(lambda: database.calls)
    hand.clock.now += TTL + 0.1
    late = asyncio.create_task(cache.get_or_load("a", database.load))
    await until(lambda: cache.stats().coalesced["process"] or database.calls > 1)
    database.may_end.set()
    with pytest.raises(OutageError):
        await late


# -- what the source does not have -------------------------------------------------------------------------------------


async def test_nothing_is_remembered_for_its_own_time(hand: Hand) -> None:
    cache, other, database = await hand.cache(), await hand.cache(), Database(MISSING)
    for reader in (cache, other, cache):
        assert await reader.get_or_load("a", database.load, ttl=1000, negative_ttl=TTL) is MISSING
    assert database.calls == 1
    assert await other.get("a", "default") == "default"
    assert await other.get_many(["a"]) == {}
    hand.clock.now += TTL + 0.1
    database.value = "born"
    assert await cache.get_or_load("a", database.load, negative_ttl=TTL) == "born"
    hand.push(other, "a")
    assert await other.get("a") == "born"


async def test_nothing_is_not_remembered_unasked(hand: Hand) -> None:
    cache, database = await hand.cache(), Database(MISSING)
    for _ in range(2):
        assert await cache.get_or_load("a", database.load) is MISSING
    assert database.calls == 2
    assert "hand:v1:a" not in hand.store.data


async def test_a_set_or_an_invalidation_ends_remembered_nothing(hand: Hand) -> None:
    cache, database = await hand.cache(), Database(MISSING)
    await cache.get_or_load("a", database.load, negative_ttl=TTL)
    await cache.set("a", "set")
    assert await cache.get("a") == "set"
    await cache.invalidate("a")
    await cache.get_or_load("a", database.load, negative_ttl=TTL)
    await cache.invalidate("a")
    database.value = "born"
    assert await cache.get_or_load("a", database.load, negative_ttl=TTL) == "born"


async def test_a_stale_value_of_which_the_source_has_nothing_any_more_is_gone(hand: Hand) -> None:
    cache, database = await stale(hand, REVALIDATE), Database(MISSING)
    assert await cache.get_or_load("a", database.load) == "old"
    await landed(cache)
    database.value = DOWN
    with pytest.raises(OutageError):
        await cache.get_or_load("a", database.load)


# -- races, each also without its defence -----------------------------------------------------------------------------


async def an_invalidation_during_a_load_that_fails(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, SAFE), Database()
    writer = await hand.cache(options=SAFE)
    database.may_end.clear()
    load = asyncio.create_task(cache.get_or_load("a", database.load))
    await until(lambda: database.calls)
    await writer.invalidate("a")
    database.may_end.set()
    assert await outcome(load) == "down"


async def a_tag_is_invalidated_during_a_load_that_fails(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, SAFE, tags=("t",)), Database()
    database.may_end.clear()
    load = asyncio.create_task(cache.get_or_load("a", database.load, tags=["t"]))
    await until(lambda: database.calls)
    await cache.invalidate_tag("t")
    database.may_end.set()
    assert await outcome(load) == "down"


async def a_set_during_a_reload(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, REVALIDATE), Database("loaded before the set")
    writer = await hand.cache(options=REVALIDATE)
    database.may_end.clear()
    assert await cache.get_or_load("a", database.load) == "old"
    await until(lambda: database.calls)
    await writer.set("a", "set")
    database.may_end.set()
    await landed(cache)
    assert await cache.get("a") == await writer.get("a") == "set"


async def two_processes_find_a_stale_value(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, REVALIDATE), Database("new")
    other = await hand.cache(options=REVALIDATE)
    database.may_end.clear()
    assert await cache.get_or_load("a", database.load) == await other.get_or_load("a", database.load) == "old"
    flights = [reader._parts.flights._running for reader in (cache, other)]
    await until(lambda: database.calls == 2 or (database.calls == 1 and not all(flights)))
    calls = database.calls
    database.may_end.set()
    assert calls == 1


async def a_value_is_stale_again_within_the_life_of_a_lease(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, REVALIDATE), Database("new")
    for expected in ("old", "new", "newer"):
        assert await cache.get_or_load("a", database.load, ttl=TTL) == expected
        await landed(cache)
        database.value = "newer"
        hand.clock.now += TTL + 1


async def a_caller_comes_after_a_foreign_invalidation_of_a_stale_value(scene: Scene) -> None:
    hand = scene.hand
    cache, database = await stale(hand, SAFE), Database()
    writer = await hand.cache(options=SAFE)
    claim = hand.store.hold("claim", executed=True)
    first = asyncio.create_task(cache.get_or_load("a", database.load))
    await claim.reached.wait()
    await writer.invalidate("a")
    hand.push(cache, "a")  # before the loader starts
    database.may_end.clear()
    claim.go.set()
    await until(lambda: database.calls == 1)
    database.value = "new"
    hand.clock.now += 2
    second = asyncio.create_task(cache.get_or_load("a", database.load))
    await until(lambda: database.calls == 2 or cache.stats().coalesced["process"])
    database.may_end.set()
    assert (await outcome(first), await outcome(second)) == ("down", "new")


async def outcome(load: asyncio.Task[Any]) -> Any:
    """Return the value of ``load``, or what its error says."""
    try:
        return await load
    except OutageError as error:
        return str(error)


def anything_old_may_serve(patch: pytest.MonkeyPatch) -> None:
    async def keep(*_: object) -> bool:
        return True

    patch.setattr(Loads, "_keep", keep)


def any_fill_is_stored(patch: pytest.MonkeyPatch) -> None:
    async def fill(self: FakeStore, key: str, _expected: bytes, data: bytes, _seconds: float | None) -> bool:
        self.data[key] = data
        return True

    patch.setattr(FakeStore, "fill", fill)


def everybody_may_reload(patch: pytest.MonkeyPatch) -> None:
    async def claim(*_: object) -> bool:
        return True

    patch.setattr(FakeStore, "claim", claim)


def claims_are_not_given_back(patch: pytest.MonkeyPatch) -> None:
    async def release(*_: object) -> None:
        pass

    patch.setattr(FakeStore, "release", release)


def any_flight_may_be_joined(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Flights, "_joinable", lambda *_: True)


RACES: Final[dict[Race, Patch]] = {
    an_invalidation_during_a_load_that_fails: anything_old_may_serve,
    a_tag_is_invalidated_during_a_load_that_fails: anything_old_may_serve,
    a_set_during_a_reload: any_fill_is_stored,
    two_processes_find_a_stale_value: everybody_may_reload,
    a_value_is_stale_again_within_the_life_of_a_lease: claims_are_not_given_back,
    a_caller_comes_after_a_foreign_invalidation_of_a_stale_value: any_flight_may_be_joined,
}


test_the_race_is_closed, test_without_its_defence_the_race_is_lost = proofs(RACES)
