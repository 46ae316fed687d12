"""Entries of an older version, copied to a newer one: what is copied, what is never undone, how it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec
import pytest

from cacheclient import (
    MISSING,
    AsyncCache,
    Cache,
    CacheOptions,
    ConfigurationError,
    FailsafeOptions,
    L1Options,
    L2Options,
    Migration,
    SyncOptions,
    UnavailableError,
    entry,
)
from cacheclient.codec import Encrypted, MsgpackCodec
from cacheclient.metrics import CacheCollector
from tests.client.redis_cluster import RedisCluster
from tests.conftest import Server, until

FAST: Final = {"rate": 1e6}
L2: Final = L2Options(timeout=1.0, connect_timeout=10)
OLD: Final = CacheOptions(l1=L1Options(max_entries=0), l2=L2, sync=SyncOptions(max_staleness=5))
NEW: Final = CacheOptions(l1=L1Options(max_entries=0), l2=L2, sync=SyncOptions(max_staleness=5, supersedes=1))


class User(msgspec.Struct):
    """The new schema."""

    first: str
    last: str


def split(old: dict[str, Any]) -> User:
    first, last = old["name"].split(" ")
    return User(first, last)


@pytest.fixture(scope="module")
def redis_cluster(launch: Callable[..., Server]) -> Iterator[RedisCluster]:
    cluster = RedisCluster(launch, replicas=False)
    yield cluster
    cluster.kill()


@pytest.fixture
def place(request: pytest.FixtureRequest, shared_server: Server) -> Server | RedisCluster:
    """Return one server; for tests marked with ``both``, a cluster then."""
    if getattr(request, "param", "server") == "server":
        return shared_server
    cluster: RedisCluster = request.getfixturevalue("redis_cluster")
    return cluster


both = pytest.mark.parametrize("place", ["server", "cluster"], indirect=True)
Versions = tuple[AsyncCache[Any], AsyncCache[User]]


@pytest.fixture
async def versions(
    place: Server | RedisCluster, opened: Callable[..., Awaitable[AsyncCache]], namespace: str
) -> Versions:
    """Return caches of version 1, of plain values, and of version 2, of users."""
    return (
        await opened(place.url, namespace, version=1, options=OLD),
        await opened(place.url, namespace, version=2, options=NEW, type=User),
    )


async def fill(cache: AsyncCache, keys: int, **kwargs: Any) -> None:
    for start in range(0, keys, 500):
        part = range(start, min(keys, start + 500))
        assert await cache.set_many({f"u{n}": {"name": f"A{n} B"} for n in part}, **kwargs)


def held(place: Server | RedisCluster, key: str) -> tuple[entry.Stored, float]:
    raw, left = place.client.get(key), place.client.pttl(key)
    assert isinstance(raw, bytes)
    envelope = entry.unpack(raw)
    assert envelope is not None
    return envelope, left / 1000


@both
async def test_values_are_transformed_and_keep_their_life_and_tags(
    versions: Versions, place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await fill(old, 300, ttl=500, tags=["crowd"])
    done = await new.migrate(1, transform=split, **FAST)
    assert (done.copied, done.failed, done.dropped, done.done) == (300, 0, 0, True)
    assert done.seen >= 300
    assert await new.get_many([f"u{n}" for n in range(300)]) == {f"u{n}": User(f"A{n}", "B") for n in range(300)}
    before, left = held(place, f"{namespace}:v1:u7")
    after, left_after = held(place, f"{namespace}:v2:u7")
    assert (after.written_ms, after.lifetime_ms, after.tags) == (before.written_ms, before.lifetime_ms, before.tags)
    assert after.write_id != before.write_id
    assert left_after == pytest.approx(left, abs=2)
    assert await old.get("u7") == {"name": "A7 B"}
    assert await old.invalidate_tag("crowd")  # by a pod of the old version
    assert await new.get("u7") is None
    assert not place.client.exists(f"{namespace}:migration:v1-v2")


async def test_without_a_transform_the_bytes_are_copied_if_they_are_of_the_new_type(
    versions: Versions, place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await old.set("good", {"first": "A", "last": "B"})
    await old.set("bad", {"name": "A B"})
    done = await new.migrate(1, **FAST)
    assert (done.copied, done.failed) == (1, 1)
    assert done.errors == [("bad", "CodecError: it does not decode to the new version's type: give a transform")]
    assert held(place, f"{namespace}:v2:good")[0].payload == held(place, f"{namespace}:v1:good")[0].payload


async def test_encrypted_values_are_bound_to_their_new_key(
    shared_server: Server, opened: Callable[..., Awaitable[AsyncCache]], namespace: str
) -> None:
    codec = Encrypted(MsgpackCodec(), keys={"k": bytes(32)}, active="k")
    old, new = [await opened(shared_server.url, namespace, version=v, options=OLD, codec=codec) for v in (1, 2)]
    await old.set("a", 1)
    assert (await new.migrate(1, **FAST)).copied == 1
    assert await new.get("a") == 1


@both
async def test_what_the_new_version_has_already_wins(
    versions: Versions, place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await fill(old, 5)
    await new.invalidate("u0")  # with sync.supersedes: of both versions
    await new.set("u1", User("mine", "B"))
    place.client.set(f"{namespace}:v2:u2", entry.lease(b"12345678"), px=60_000)
    place.client.set(f"{namespace}:v2:u3", b"not an entry", px=60_000)
    done = await new.migrate(1, transform=split, **FAST)
    assert (done.copied, done.skipped) == (1, done.seen - 1)
    assert await new.get("u0") is None
    assert await new.get("u1") == User("mine", "B")
    assert place.client.get(f"{namespace}:v2:u2") == entry.lease(b"12345678")
    assert place.client.get(f"{namespace}:v2:u3") == b"not an entry"
    assert await new.get("u4") == User("A4", "B")


async def test_a_copy_that_has_aged_is_replaced_by_a_newer_one(versions: Versions) -> None:
    old, new = versions
    await old.set("a", {"name": "A old"})
    assert (await new.migrate(1, transform=split, **FAST)).copied == 1
    assert (await new.migrate(1, transform=split, **FAST)).copied == 0
    await asyncio.sleep(0.01)  # milliseconds tell which is newer
    await old.set("a", {"name": "A new"})
    assert (await new.migrate(1, transform=split, **FAST)).copied == 1
    assert await new.get("a") == User("A", "new")


async def test_an_original_that_changes_while_it_is_copied_takes_its_copy_with_it(versions: Versions) -> None:
    old, new = versions
    await old.set("a", {"name": "A old"})

    async def slow(value: dict[str, Any]) -> User:
        await old.invalidate("a")
        return split(value)

    done = await new.migrate(1, transform=slow, **FAST)
    assert (done.copied, done.skipped) == (0, 1)
    assert await new.get("a") is None


async def test_what_has_no_value_is_not_copied(
    versions: Versions, place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await old.invalidate("tombstone")
    place.client.set(f"{namespace}:v1:lease", entry.lease(b"12345678"), px=60_000)
    await old.set("unwanted", {"name": "A B"})
    assert (await new.migrate(1, transform=lambda _: MISSING, **FAST)).copied == 0
    assert not list(place.client.scan_iter(f"{namespace}:v2:*"))


async def test_remembered_nothing_is_copied_and_what_was_kept_past_its_time_is_not(
    place: Server | RedisCluster, opened: Callable[..., Awaitable[AsyncCache]], namespace: str
) -> None:
    options = CacheOptions(
        l2=L2, l1=L1Options(max_entries=0), sync=OLD.sync, failsafe=FailsafeOptions(window=60, throttle=30)
    )
    old, new = [await opened(place.url, namespace, version=v, options=options) for v in (1, 2)]

    async def nothing(_: str) -> Any:
        return MISSING

    async def broken(_: str) -> Any:
        raise OSError

    await old.get_or_load("none", nothing, negative_ttl=60)
    await old.set("kept", 1, ttl=0.05)
    await until(lambda: held(place, f"{namespace}:v1:kept")[1] < 60)
    await asyncio.sleep(0.06)
    assert await old.get_or_load("kept", broken) == 1
    done = await new.migrate(1, **FAST)
    assert done.copied == 1
    assert (await new.get_entry("none")) is not None
    assert await new.get_entry("kept") is None


async def test_errors_are_counted_and_told_and_raised_only_if_asked(versions: Versions) -> None:
    old, new = versions
    await fill(old, 3)
    for n in range(120):
        await old.set(f"bad{n}", {"name": "nobody"})
    done = await new.migrate(1, transform=split, **FAST)
    assert (done.copied, done.failed, len(done.errors)) == (3, 120, 100)
    assert all(key.startswith("bad") and text.startswith("ValueError: ") for key, text in done.errors)
    with pytest.raises(ValueError, match="not enough values") as raised:
        await new.migrate(1, transform=split, strict=True, **FAST)
    assert "was migrated" in raised.value.__notes__[0]


@both
async def test_old_entries_are_dropped_when_the_new_version_has_them(
    versions: Versions, place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await fill(old, 250)
    await old.set("bad", {"name": "nobody"})
    dry = await new.migrate(1, transform=split, drop_old=True, dry_run=True, **FAST)
    assert (dry.copied, dry.failed, dry.dropped) == (250, 1, 0)
    assert not list(place.client.scan_iter(f"{namespace}:v2:*"))
    done = await new.migrate(1, transform=split, drop_old=True, **FAST)
    assert (done.copied, done.failed, done.dropped) == (250, 1, 250)
    assert list(place.client.scan_iter(f"{namespace}:v1:*")) == [f"{namespace}:v1:bad".encode()]


@both
async def test_an_interrupted_migration_goes_on_where_it_was(
    versions: Versions, opened: Callable[..., Awaitable[AsyncCache]], place: Server | RedisCluster, namespace: str
) -> None:
    old, new = versions
    await fill(old, 1500)
    other = await opened(place.url, namespace, version=2, options=NEW, type=User)
    steps: list[int] = []
    task = asyncio.create_task(
        other.migrate(1, transform=split, rate=1500, progress=lambda done: steps.append(done.copied))
    )
    await until(lambda: len(steps) >= 4)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await other.close()
    transformed = itertools.count()

    def counted(value: dict[str, Any]) -> User:
        next(transformed)
        return split(value)

    done = await new.migrate(1, transform=counted, **FAST)
    assert next(transformed) <= 1500 - steps[-2]  # the step that was cancelled is done again
    assert steps[-2] < 1500
    assert (done.done, done.copied + done.skipped) == (True, done.seen)
    assert len(await new.get_many([f"u{n}" for n in range(1500)])) == 1500
    assert done.seen < 2100  # what was counted before counts on
    again = await new.migrate(1, transform=split, resume=False, **FAST)
    assert (again.copied, again.skipped) == (0, again.seen)


@both
async def test_writers_and_invalidators_of_the_new_version_are_never_undone_during_a_rollout(
    versions: Versions, place: Server | RedisCluster
) -> None:
    old, new = versions
    await fill(old, 1000)
    invalidated: set[str] = set()
    written: dict[str, User] = {}

    async def disturb() -> None:
        for n in itertools.cycle(range(0, 1000, 7)):
            assert await new.invalidate(f"u{n}")
            invalidated.add(f"u{n}")
            written[f"u{n + 1}"] = User("new", str(len(invalidated)))
            assert await new.set(f"u{n + 1}", written[f"u{n + 1}"])
            await asyncio.sleep(0)

    disturbance = asyncio.create_task(disturb())
    await until(lambda: len(invalidated) > 30)
    assert await new.invalidate("u999")  # nobody else touches this one, and its tombstone is long gone:
    place.client.delete(f"{new.space.prefix}u999")  # that of the old version stands for it
    done = await new.migrate(1, transform=split, rate=2500)
    disturbance.cancel()
    await asyncio.wait([disturbance])
    assert done.copied > 200
    assert await new.get_many({"u999", *(invalidated - written.keys())}) == {}
    found = await new.get_many(written)
    assert all(found[key] == value for key, value in written.items() if key in found)
    assert len(found) >= len(written) - 1  # the last may have been cancelled
    assert await old.get("u2") == {"name": "A2 B"}  # each version reads its own


async def test_redis_away_is_waited_for(
    own_server: Server, opened: Callable[..., Awaitable[AsyncCache]], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = CacheOptions(l2=L2Options(timeout=0.1), l1=L1Options(max_entries=0))
    old, new = [await opened(own_server.url, namespace, version=v, options=options) for v in (1, 2)]
    await fill(old, 1000)
    steps: list[int] = []
    task = asyncio.create_task(new.migrate(1, rate=2000, progress=lambda done: steps.append(done.seen)))
    await until(lambda: len(steps) > 1)
    with own_server.frozen():
        await until(lambda: new.stats().errors)
    assert (await task).copied == 1000
    monkeypatch.setattr("cacheclient.migration._PAUSES", (0.01, 0.01))
    own_server.kill()
    with pytest.raises(UnavailableError):
        await new.migrate(1)


async def test_the_rate_is_kept(versions: Versions) -> None:
    old, new = versions
    await fill(old, 400)
    began = time.monotonic()
    done = await new.migrate(1, transform=split, rate=800)
    assert time.monotonic() - began >= 0.9 * done.seen / 800


async def test_what_cannot_be_is_refused(versions: Versions) -> None:
    _, new = versions
    for version in (2, 0, "1", True):
        with pytest.raises(ConfigurationError, match="version"):
            await new.migrate(version)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="rate"):
        await new.migrate(1, rate=0)
    with pytest.raises(ConfigurationError, match="supersedes"):
        AsyncCache.from_url("memory://", namespace="x", version=1, options=NEW)


async def test_a_migration_is_seen_in_the_metrics(versions: Versions) -> None:
    old, new = versions
    await fill(old, 10)
    await old.set("bad", {"name": "nobody"})
    await new.migrate(1, transform=split, drop_old=True, **FAST)
    family = next(f for f in CacheCollector((new,)).collect() if f.name == "cache_migration_keys")
    counts = {sample.labels["outcome"]: sample.value for sample in family.samples}
    assert counts["copied"] == counts["dropped"] == 10
    assert counts["failed"] == 1
    assert counts["seen"] == counts["copied"] + counts["failed"] + counts["skipped"]


def test_a_cache_for_threads_migrates_too(shared_server: Server, namespace: str) -> None:
    with (
        Cache.from_url(shared_server.url, namespace=namespace, version=1) as old,
        Cache.from_url(shared_server.url, namespace=namespace, version=2) as new,
    ):
        old.set("a", 1)
        seen: list[Migration] = []
        assert new.migrate(1, transform=lambda value: value + 1, progress=seen.append).copied == 1
        assert seen[-1].done
        assert new.get("a") == 2


async def test_without_redis_there_is_nothing_to_migrate() -> None:
    async with AsyncCache.from_url("memory://", namespace="x", version=2) as cache:
        assert await cache.migrate(1) == Migration(done=True)
