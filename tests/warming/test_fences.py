"""What is invalidated during a warm-up stays so; each race is played out in order, and again without its fence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from cacheclient import AsyncCache, CacheOptions, L1Options, LockOptions
from cacheclient.keys import Glob
from cacheclient.missing import ABSENT
from cacheclient.testing import FakeStore, Fleet
from cacheclient.warming import Item, Outcome, PlanSettings, Report, Warmer
from cacheclient.warming.filling import Filling
from cacheclient.warming.tokens import Tokens
from cacheclient.warming.watch import Watch
from tests.conftest import Server, until
from tests.warming.conftest import Database, Listed, Open, keys, values

OPTIONS = CacheOptions(l1=L1Options(jitter=0), lock=LockOptions(load_timeout=5, lease=5, wait=5))
ONE_BY_ONE = {"full": PlanSettings(rate=1e6, batch=1)}


class Stage:
    """A pod that warms up and another one, over a fake Redis; what happens in between is the race's."""

    def __init__(self, fleet: Fleet, pod: AsyncCache[Any], other: AsyncCache[Any]) -> None:
        self.fleet, self.pod, self.other = fleet, pod, other

    async def warm(self, source: Listed, **settings: Any) -> Report:
        plans = {"full": PlanSettings(rate=1e6, **{"batch": 1, **settings})}
        report = await Warmer(self.pod, [source], plans=plans, follow=False).run("full")
        assert report.outcome is Outcome.DONE, report
        return report


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    fleet = Fleet()
    async with fleet.cache(options=OPTIONS) as pod, fleet.cache(options=OPTIONS) as other:
        await other.set("first", 1)  # there is a marker of the namespace
        yield Stage(fleet, pod, other)


Race = Callable[[Stage], Awaitable[None]]
Patch = Callable[[pytest.MonkeyPatch], None]


async def a_key_is_invalidated_before_its_value_is_written(stage: Stage) -> None:
    async def invalidated(number: int) -> None:
        if number == 1:
            await stage.other.invalidate("k1")

    await stage.warm(Listed(values(2), pause=invalidated))
    assert await stage.other.get("k0") == "old"
    assert await stage.other.get("k1") is None


async def a_tombstone_has_expired_when_its_value_is_written(stage: Stage) -> None:
    async def invalidated(number: int) -> None:
        if number == 1:
            await stage.other.invalidate("k5")
            stage.fleet.clock.advance(60)

    await stage.warm(Listed(values(6), pause=invalidated))
    assert await stage.other.get("k4") == "old"
    assert await stage.other.get("k5") is None


async def a_pattern_passes_before_its_value_is_written(stage: Stage) -> None:
    async def invalidated(number: int) -> None:
        if number == 1:
            await stage.other.invalidate_pattern("k5*")

    await stage.warm(Listed(values(6), pause=invalidated))
    assert await stage.other.get("k4") == "old"
    assert await stage.other.get("k5") is None


async def a_pattern_is_being_searched_for_while_a_value_is_written(stage: Stage) -> None:
    searched: list[asyncio.Task[Any]] = []
    held = stage.fleet.store.hold("bury_matching", executed=True)

    async def searching(number: int) -> None:
        if number == 0:
            searched.append(asyncio.create_task(stage.other.invalidate_pattern("k*")))
            await held.reached.wait()  # it has passed k0, and told nobody that it is over

    await stage.warm(Listed(values(1), pause=searching))
    held.go.set()
    await searched[0]
    assert await stage.other.get("k0") is None


async def a_tag_is_invalidated_before_its_token_is_read(stage: Stage) -> None:
    async def invalidated(number: int) -> None:
        if number == 1 and len(source.opened) == 1:
            await stage.other.invalidate_tag("crowd")
            source.given = values(2, "new", tags=("crowd",))

    source = Listed([], pause=invalidated)
    source.given = values(2, tags=("crowd",))
    await stage.warm(source)
    assert await stage.other.get("k0") is None
    assert await stage.other.get("k1") == "new"  # the source was read again


async def a_tag_is_invalidated_after_its_token_was_read(stage: Stage) -> None:
    async def invalidated(number: int) -> None:
        if number == 3 and len(source.opened) == 1:
            await stage.other.invalidate_tag("crowd")
            source.given = values(5, "new", tags=("crowd",))

    source = Listed([], pause=invalidated)
    source.given = values(5, tags=("crowd",))
    await stage.warm(source)
    assert await stage.other.get("k1") is None
    assert await stage.other.get("k4") == "new"


async def the_namespace_is_cleared(stage: Stage) -> None:
    async def cleared(number: int) -> None:
        if number == 3 and len(source.opened) == 1:
            await stage.other.clear()
            source.given = values(5, "new")

    source = Listed([], pause=cleared)
    source.given = values(5)
    await stage.warm(source)
    assert await stage.other.get("k0") is None
    assert await stage.other.get("k4") == "new"


async def the_connection_breaks_and_what_was_told_meanwhile_is_lost(stage: Stage) -> None:
    async def broken(number: int) -> None:
        if number == 3 and len(source.opened) == 1:
            stage.fleet.line(stage.pod).cut()
            await stage.other.invalidate("k4")
            stage.fleet.clock.advance(60)
            source.given = values(5, "new")
            stage.fleet.line(stage.pod).connect()

    source = Listed([], pause=broken)
    source.given = values(5)
    await stage.warm(source)
    assert await stage.other.get("k4") == "new"


async def a_key_is_invalidated_while_it_is_loaded(stage: Stage) -> None:
    database = Database("old")
    database.may_end.clear()

    async def invalidate() -> None:
        await database.reading.wait()
        await stage.other.invalidate("k0")
        database.may_end.set()

    await asyncio.gather(stage.warm(Listed(keys(1), load_many=database.load_many)), invalidate())
    assert await stage.other.get("k0") is None


async def somebody_loads_the_key_meanwhile(stage: Stage) -> None:
    async def loaded(number: int) -> None:
        del number
        stage.fleet.clock.advance(1)

        async def load(key: str) -> str:
            del key
            return "newer"

        await stage.other.get_or_load("k0", load)

    await stage.warm(Listed(values(1), pause=loaded), renew=True)
    assert await stage.other.get("k0") == "newer"


async def an_own_invalidation_has_not_reached_redis(stage: Stage) -> None:
    """Then Redis may hold, and would be told, what this process has been told to forget."""
    stage.fleet.store.fail("bury", times=1000)
    await stage.pod.invalidate("k0")
    await stage.warm(Listed(values(1)))
    assert "test:v1:k0" not in stage.fleet.store.data


def _everything_is_written(patch: pytest.MonkeyPatch) -> None:
    async def put_it(self: FakeStore, key: str, data: bytes, seconds: float | None) -> bool:
        await self.put(key, data, seconds or 1e9)
        return True

    patch.setattr(FakeStore, "adopt", put_it)
    _nothing_is_told(patch)


def _no_key_is_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "changed", lambda *_: None)


def _no_pattern_is_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "pattern", lambda *_: None)


def _nothing_is_told(patch: pytest.MonkeyPatch) -> None:
    _no_key_is_told(patch)
    _no_pattern_is_told(patch)


def _patterns_are_told_afterwards_only(patch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    told = Watch.pattern

    def later(self: Watch, glob: Glob) -> None:
        if glob.pattern in seen:
            told(self, glob)
        seen.add(glob.pattern)

    patch.setattr(Watch, "pattern", later)


def _no_tag_is_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "tag", lambda *_: None)


def _tokens_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    async def stand(self: Tokens, names: Any, life: float) -> bool:
        for name in ("", *names):
            marker = self._space.marker(name)
            self._tokens[name], _ = await self._store.mark(marker, self._tokens[name], None if not name else life)
        return True

    patch.setattr(Tokens, "stand", stand)


def _gaps_are_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "gap", lambda _: None)


def _loads_are_not_fenced(patch: pytest.MonkeyPatch) -> None:
    async def put_it(self: FakeStore, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:
        del expected
        await self.put(key, data, seconds or 1e9)
        return True

    patch.setattr(FakeStore, "fill", put_it)


def _nothing_is_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Filling, "_owed", lambda *_: False)


RACES: dict[Race, Patch] = {
    a_key_is_invalidated_before_its_value_is_written: _everything_is_written,
    a_tombstone_has_expired_when_its_value_is_written: _no_key_is_told,
    a_pattern_passes_before_its_value_is_written: _no_pattern_is_told,
    a_pattern_is_being_searched_for_while_a_value_is_written: _patterns_are_told_afterwards_only,
    a_tag_is_invalidated_before_its_token_is_read: _no_tag_is_told,
    a_tag_is_invalidated_after_its_token_was_read: _tokens_are_not_compared,
    the_namespace_is_cleared: _tokens_are_not_compared,
    the_connection_breaks_and_what_was_told_meanwhile_is_lost: _gaps_are_not_told,
    a_key_is_invalidated_while_it_is_loaded: _loads_are_not_fenced,
    somebody_loads_the_key_meanwhile: _everything_is_written,
    an_own_invalidation_has_not_reached_redis: _nothing_is_owed,
}


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
async def test_what_is_newer_wins(race: Race, stage: Stage) -> None:
    await race(stage)


@pytest.mark.parametrize(("race", "removed"), RACES.items(), ids=lambda part: part.__name__)
async def test_without_its_fence_it_would_not(
    race: Race, removed: Patch, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed(monkeypatch)
    with pytest.raises(AssertionError):
        await race(stage)


async def test_over_a_real_redis_what_is_invalidated_during_a_warm_up_is_never_old_afterwards(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    """Two thousand values, read before anything changed; meanwhile another process invalidates all it can."""
    pod, other = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    gone: set[str] = set()
    opened_source, ended = asyncio.Event(), asyncio.Event()

    async def begun(number: int) -> None:
        if number == 0:
            opened_source.set()

    async def invalidate() -> None:
        await opened_source.wait()
        for number in range(0, 2000, 7):
            if ended.is_set():
                return
            key = f"k{1999 - number}" if number % 2 else f"k{number}"
            if number % 3 == 0:
                await other.invalidate_pattern(f"{key}*")
                gone.update(k for k in (f"k{n}" for n in range(2000)) if k.startswith(key))
            else:
                await other.invalidate(key)
                gone.add(key)

    plans = {"full": PlanSettings(rate=1e6, batch=20)}
    warmer = Warmer(pod, [Listed(values(2000), pause=begun)], plans=plans, follow=False)
    meanwhile = asyncio.create_task(invalidate())
    report = await warmer.run("full")
    ended.set()
    await meanwhile
    assert report.outcome is Outcome.DONE
    assert len(gone) > 20
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as reader:
        await until(lambda: reader.stats().listener_connected)
        found = await reader.get_many([f"k{n}" for n in range(2000)])
    assert not gone & found.keys()
    assert len(found) > 1000


async def test_a_key_that_expires_meanwhile_is_written(stage: Stage) -> None:
    """Its expiry is pushed as an invalidation is, and is none."""
    await stage.other.set("k1", "before", ttl=5)

    async def expired(number: int) -> None:
        if number == 1:
            stage.fleet.clock.advance(10)

    report = await stage.warm(Listed(values(2), pause=expired))
    assert report.written == 2
    assert await stage.other.get("k1") == "old"


def test_a_watch_that_was_told_too_much_has_lost() -> None:
    watch = Watch("ns:v1:")
    for number in range(1001):
        watch.pattern(Glob(f"ns:v1:k{number}*"))
    assert watch.lost


async def test_a_source_with_the_same_key_twice_writes_the_first(stage: Stage) -> None:
    given = [Item(key="a", value=1, at=1), Item(key="b", value=1, at=2), Item(key="a", value=2, at=3)]
    report = await stage.warm(Listed(given), batch=2)
    assert (report.written, report.sources[0].skipped) == (2, 1)
    assert await stage.other.get("a") == 1
    assert stage.other.peek("zzz") is ABSENT
