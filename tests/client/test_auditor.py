"""The consistency auditor: with every defence in place it finds nothing; with one removed it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cacheclient import AsyncCache, Cache, CacheOptions, L1Options, SyncOptions, Versions
from cacheclient.auditor import Auditor
from cacheclient.held import Fence
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand
from tests.client.racing import heard, in_l1
from tests.conftest import Server, until

Open = Callable[..., Awaitable[AsyncCache]]
ALL = CacheOptions(l1=L1Options(jitter=0), sync=SyncOptions(audit=1))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cacheclient.auditor._PAUSE", 0.0)
    monkeypatch.setattr("cacheclient.auditor._SETTLE", 0.0)


class Writer:
    """Another process: its pushes and events reach the reader when the test delivers them."""

    def __init__(self, hand: Hand, reader: AsyncCache, writer: AsyncCache) -> None:
        self.hand, self.reader, self.cache = hand, reader, writer

    async def set(self, value: Any) -> None:
        await self.cache.set("a", value)
        line = self.hand.fleet.line(self.reader)
        line.deliver()
        line.hold()


class Unfenced(dict[str, Fence]):
    """Fences that a drop does not touch."""

    def pop(self, key: str, default: Any = None) -> Any:
        """Leave it."""
        return self.get(key, default)


async def pair(hand: Hand, **settings: Any) -> tuple[AsyncCache, Writer]:
    """Return a reader that looks after every invalidation, and who writes."""
    reader = await hand.cache(options=ALL, **settings)
    writer = Writer(hand, reader, await hand.cache())
    return reader, writer


async def check(hand: Hand, cache: AsyncCache, seconds: float) -> None:
    """Let time pass, and what is due be checked."""
    hand.clock.advance(seconds)
    await cache._parts.auditor.check_due()


async def test_with_every_defence_in_place_nothing_is_found(hand: Hand) -> None:
    reader, writer = await pair(hand)
    for value in range(3):
        await writer.set(value)
        await in_l1(reader)
        assert reader.peek("a") == value
    for seconds in (1, 9, 50):
        await check(hand, reader, seconds)
    stats = reader.stats()
    assert set(stats.audited) == {"l1_l2/1s", "l1_l2/10s", "l1_l2/60s"}
    assert not stats.inconsistent


async def test_without_its_drop_the_old_value_in_l1_is_found(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await pair(hand)
    await writer.set("old")
    await in_l1(reader)
    monkeypatch.setattr(Local, "drop", lambda *_: None)
    await writer.set("new")
    assert reader.peek("a") == "old"
    await check(hand, reader, 1)
    assert reader.stats().inconsistent["l1_l2/1s"] >= 1


async def test_without_its_fence_the_old_value_in_l1_is_found(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = await pair(hand)
    await writer.set("old")
    reply = hand.store.hold("fetch", executed=True)
    read = asyncio.create_task(reader.get("a"))
    await reply.reached.wait()
    monkeypatch.setattr(reader._parts.local, "_fences", Unfenced(reader._parts.local._fences))
    await writer.set("new")
    reply.go.set()
    assert await read == "old"
    assert reader.peek("a") == "old"
    for seconds in (1, 9, 50):
        await check(hand, reader, seconds)
    assert all(reader.stats().inconsistent[f"l1_l2/{window}"] for window in ("1s", "10s", "60s"))


async def test_a_change_whose_push_is_on_its_way_is_no_inconsistency(hand: Hand) -> None:
    reader, writer = await pair(hand)
    await writer.set("old")
    await in_l1(reader)
    await writer.cache.set("a", "new")  # and the push waits
    reader._parts.shared.gate.until = hand.clock.now + 1.5  # proved half a second ago
    checking = asyncio.create_task(check(hand, reader, 1))
    await until(lambda: hand.store.called("write_ids"))
    assert reader.peek("a") == "old"
    hand.fleet.line(reader).deliver()
    reader._parts.shared.gate.until = hand.clock.now + 2.5  # and only now again
    await checking
    assert reader.stats().audited["l1_l2/1s"] >= 1
    assert not reader.stats().inconsistent


async def test_what_l1_does_not_answer_is_not_counted(hand: Hand) -> None:
    reader, writer = await pair(hand)
    await writer.set("old")
    await check(hand, reader, 1)  # L1 has nothing
    await in_l1(reader)
    reader._parts.shared.gate.until = 0.0
    await check(hand, reader, 9)  # the listener is away
    assert not reader.stats().audited


async def test_l2_is_held_against_the_source_where_versions_are_told(hand: Hand) -> None:
    source = {"a": 1}

    async def version_of(key: str) -> int | None:
        return source.get(key)

    versions = Versions(version_of=version_of, version_in=lambda value: value["version"])
    reader, writer = await pair(hand, versions=versions)
    await writer.set({"version": 1})
    await check(hand, reader, 1)
    assert reader.stats().audited["l2_source/1s"] >= 1
    assert not reader.stats().inconsistent
    source["a"] = 2  # and nobody invalidates
    await check(hand, reader, 9)
    assert reader.stats().inconsistent["l2_source/10s"] >= 1


async def test_a_writer_between_its_commit_and_its_invalidation_is_no_inconsistency(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheclient.auditor._SETTLE", 0.05)
    source = {"a": 1}
    asked = asyncio.Event()

    async def version_of(key: str) -> int:
        asked.set()
        return source[key]

    reader, writer = await pair(hand, versions=Versions(version_of=version_of, version_in=lambda value: value))
    await writer.set(1)
    source["a"] = 2
    checking = asyncio.create_task(check(hand, reader, 1))
    await asked.wait()
    await writer.cache.set("a", 2)
    await checking
    assert reader.stats().audited["l2_source/1s"] >= 1
    assert not reader.stats().inconsistent


async def test_a_source_that_fails_ends_nothing(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    def version_of(key: str) -> int:  # a plain function runs in a thread
        raise LookupError(key)

    reader, writer = await pair(hand, versions=Versions(version_of=version_of, version_in=lambda value: value))
    await writer.set(1)
    await check(hand, reader, 1)
    assert "cannot compare 'a' with its source: LookupError('a')" in caplog.text
    assert not reader.stats().audited


async def test_one_in_so_many_is_chosen_and_memory_is_bounded(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = await hand.cache(options=CacheOptions(sync=SyncOptions(audit=50)))
    auditor: Auditor = cache._parts.auditor
    watched: list[str] = []
    monkeypatch.setattr(auditor, "_watch", watched.append)
    for start in range(0, 20_000, 7):
        auditor.sample([str(number) for number in range(start, start + 7)])
    assert 300 < len(watched) < 500
    assert watched == sorted(watched, key=int)
    assert len(set(watched)) == len(watched)
    monkeypatch.undo()
    monkeypatch.setattr("cacheclient.auditor._MAX_WATCHED", 3)
    for _ in range(1000):
        auditor.sample(["a"])
    assert [len(keys) for keys in auditor._watched.values()] == [3, 3, 3]


@pytest.mark.parametrize("url", ["memory://", None])
async def test_it_is_off_without_a_listener_and_when_told_so(hand: Hand, url: str | None) -> None:
    if url is None:
        cache = await hand.cache(options=CacheOptions(sync=SyncOptions(audit=0)))
        hand.push(cache, "a")
        assert not cache._parts.auditor.sample(["a"])
        return
    async with AsyncCache.from_url(url, namespace="off", options=ALL) as cache:
        assert not cache._parts.auditor.sample(["a"])


async def test_an_event_of_another_cache_leaves_a_sampled_key_to_its_push(hand: Hand) -> None:
    sampling, plain = await hand.cache(options=ALL), await hand.cache(options=CacheOptions(sync=SyncOptions(audit=0)))
    writer = await hand.cache()
    await writer.set("a", "old")
    await in_l1(sampling)
    await in_l1(plain)
    for line in hand.fleet.lines:
        line.waiting.clear()
    await writer.set("a", "new")
    for cache in (sampling, plain):
        line = hand.fleet.line(cache)
        line.waiting = [message for message in line.waiting if isinstance(message, bytes)]  # the pushes are lost
        line.deliver()
    assert [sampling.peek("a"), plain.peek("a")] == ["old", ABSENT]
    await check(hand, sampling, 1)
    assert sampling.stats().inconsistent["l1_l2/1s"] == 1


async def test_it_runs_by_itself_and_finds_nothing_on_a_real_server(
    opened: Open, shared_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacheclient.auditor.AUDIT_WINDOWS", {"1s": 0.05})
    versions = {"a": 0}

    async def version_of(key: str) -> int:
        return versions[key]

    options = CacheOptions(sync=SyncOptions(audit=1, max_staleness=0.3))
    told = Versions(version_of=version_of, version_in=lambda value: value)
    reader = await opened(shared_server.url, namespace, options=options, versions=told)
    writer = await opened(shared_server.url, namespace)
    await heard(reader, writer)
    for number in range(1, 4):
        versions["a"] = number
        await writer.set("a", number)
        await until(lambda: reader.stats().invalidations["key/remote"] >= number)  # noqa: B023
        await in_l1(reader)
    await until(lambda: reader.stats().audited["l1_l2/1s"] and reader.stats().audited["l2_source/1s"])
    assert not reader.stats().inconsistent


def test_a_cache_for_threads_takes_versions_too(shared_server: Server, namespace: str) -> None:
    told = Versions(version_of=lambda _: 1, version_in=lambda value: value)
    with Cache.from_url(shared_server.url, namespace=namespace, versions=told) as cache:
        assert cache._here().cache._parts.auditor._versions is told
