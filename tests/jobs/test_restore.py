"""A restore of a real set: what it refuses, what it replaces, and what a client sees of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cacheclient import AsyncCache
from infra.jobs import backing_up, data_dir, restoring, sealing
from infra.jobs import redis_set as jobs_redis_set
from infra.jobs.errors import CorruptBackupError, JobError, RefusedError
from infra.jobs.local_set import LocalSet, redis_set
from infra.local import process, readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Job

    from infra.jobs.redis_set import RedisSet
    from infra.local.control import Environment

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def whole(local: Environment) -> Iterator[Environment]:
    """The set, and afterwards the set as it should be, whatever the test did to it."""
    yield local
    for name in (*local.redis_nodes, *local.sentinel_nodes):
        local.start(name)
    assert process.wait_until(lambda: readiness.is_whole(local.places, local.state), 60, poll=0.1)


def target_of(local: Environment, job: Job, folder: Path, **changed: Any) -> LocalSet:
    options, store = job(**changed)
    folder.mkdir(exist_ok=True)
    return LocalSet(local, store, options, folder)


async def test_a_client_reads_what_was_restored_not_what_it_had_in_l1_and_ttls_are_kept(
    whole: Environment,
    small_set: RedisSet,
    job: Job,
    tell: Callable[..., None],
    ask: Callable[..., str],
    tmp_path: Path,
) -> None:
    options, store = job()
    async with client(whole) as cache:
        await cache.set("key", "backed up")
        await until_read(cache, "key", "backed up")
        tell(("SET", "elsewhere", "1", "EX", "9999"), database=5)
        expires = ask("PEXPIRETIME", "timed"), ask("PEXPIRETIME", "elsewhere", database=5)
        await asyncio.to_thread(backing_up.back_up, small_set, store, options, kind="manual")
        async with client(whole) as writer:  # one that is gone by then: who is there repairs its own last writes
            await writer.set("key", "afterwards")
        await until_read(cache, "key", "afterwards")
        tell(("SET", "later", "1"))
        target = target_of(whole, job, tmp_path / "work")
        planned = await asyncio.to_thread(restoring.plan, target, "latest")
        done = await asyncio.to_thread(restoring.execute, target, planned, force=True, safety=True)
        await until_read(cache, "key", "backed up")
    assert whole.master() == "redis-0"
    assert (ask("PEXPIRETIME", "timed"), ask("PEXPIRETIME", "elsewhere", database=5)) == expires
    assert ask("EXISTS", "later") == "0"
    assert done.keys == planned.backup.keys
    safety = next(b for b in target.backups() if b.object_key == done.safety_backup)
    assert safety.kind == "safety"
    assert not whole.places.restore.exists()
    tell(("DEL", "elsewhere"), database=5)


def client(whole: Environment) -> AsyncCache[Any]:
    return AsyncCache.from_url(
        whole.url,
        namespace="restored",
        version=1,
        password_file=whole.password_file,
        sentinel_password_file=whole.sentinel_password_file,
    )


async def until_read(cache: AsyncCache[Any], key: str, value: str) -> None:
    """Wait until ``key`` is read as ``value``, from L1 as well."""
    seen = []
    for _ in range(1200):
        seen = [await cache.get(key), await cache.get(key)]
        if seen == [value, value]:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"{key} is read as {seen}, not as {value}")


def test_a_plan_changes_nothing_and_data_is_not_replaced_without_force(
    whole: Environment,
    small_set: RedisSet,
    job: Job,
    tmp_path: Path,
    run: Callable[..., tuple[int, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, store = job()
    backup = backing_up.back_up(small_set, store, options, kind="manual").backup
    code, said = run(options, "restore", "--local")
    assert (code, said["executed"], said["backup"]["object_key"]) == (0, False, backup.object_key)
    assert set(said["keys_now"]) == {"redis-0", "redis-1", "redis-2"}
    code, said = run(options, "restore", "--local", "--execute")
    assert code == 5
    assert "--force replaces them" in said["error"]
    target = target_of(whole, job, tmp_path / "work")
    text = "\n".join(restoring.plan(target, "latest").lines())
    assert f"{backup.keys:,} keys, {backup.expires:,} of them with a TTL" in text
    monkeypatch.setattr(jobs_redis_set, "CALL_SECONDS", 0.5)
    whole.pause("redis-1")
    try:
        assert set(target.survey().keys) == {"redis-0", "redis-2"}
    finally:
        whole.resume("redis-1")


def test_a_corrupt_newest_backup_is_found_and_the_one_before_is_offered_never_taken(
    whole: Environment, small_set: RedisSet, job: Job, tmp_path: Path, run: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    options, store = job()
    good = backing_up.back_up(small_set, store, options, kind="manual").backup
    process.wait_until(lambda: False, 1.1)  # names hold whole seconds
    corrupt = backing_up.back_up(small_set, store, options, kind="manual").backup
    assert corrupt.taken - good.taken >= timedelta(seconds=1)
    data = bytearray(store.get(corrupt.object_key))
    data[-1] ^= 1
    store.put(corrupt.object_key, bytes(data))
    target = target_of(whole, job, tmp_path / "work")
    with pytest.raises(CorruptBackupError, match=f"The newest whole one before it: --backup {good.object_key}"):
        restoring.plan(target, "latest")
    assert run(options, "restore", "--local", "--execute", "--force")[0] == 3
    assert whole.dead() == []
    assert restoring.plan(target, good.object_key).backup == good


def test_without_a_safety_backup_nothing_is_replaced(
    whole: Environment, small_set: RedisSet, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, store = job()
    backing_up.back_up(small_set, store, options, kind="manual")
    target = target_of(whole, job, tmp_path / "work")
    planned = restoring.plan(target, "latest")

    def fails(_: LocalSet) -> str:
        raise JobError("the bucket is full")

    monkeypatch.setattr(LocalSet, "back_up", fails)
    with pytest.raises(JobError, match="nothing was changed: the bucket is full"):
        restoring.execute(target, planned, force=True, safety=True)
    assert whole.dead() == []
    assert not whole.places.restore.exists()


def test_a_restore_that_was_interrupted_is_resumed_by_the_same_command(
    whole: Environment, small_set: RedisSet, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, store = job()
    backup = backing_up.back_up(small_set, store, options, kind="manual").backup
    target = target_of(whole, job, tmp_path / "work")
    planned = restoring.plan(target, "latest")
    with monkeypatch.context() as patch:
        patch.setattr(data_dir, "write", _full)
        with pytest.raises(JobError, match=r"stopped half-way: no room.*again to go on"):
            restoring.execute(target, planned, force=True, safety=False)
    again = restoring.plan(target, "latest")
    assert (again.survey.keys, again.survey.resumable) == ({}, True)
    assert restoring.execute(target, again, force=False, safety=True).keys == backup.keys


def _full(*_: object) -> None:
    raise JobError("no room")


def test_a_set_that_nobody_knows_anything_of_is_not_replaced_without_force(
    small_set: RedisSet, job: Job, local: Environment, tmp_path: Path
) -> None:
    options, store = job()
    backing_up.back_up(small_set, store, options, kind="manual")
    target = target_of(local, job, tmp_path / "work")
    planned = restoring.plan(target, "latest")
    unknown = restoring.Plan(target="x", survey=restoring.Survey({}), backup=planned.backup, now=planned.now)
    with pytest.raises(RefusedError, match="nobody knows what it holds"):
        restoring.execute(target, unknown, force=False, safety=True)


# a node's data directory


def test_a_data_directory_holds_the_snapshot_as_aof_base_and_says_of_which_restore(tmp_path: Path) -> None:
    data, snapshot = tmp_path / "data", tmp_path / "snapshot"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "appendonly.aof.7.incr.aof").write_text("old")
    (data / "dump.rdb").write_text("old")
    (data / "last-master").write_text("redis-1\n")
    snapshot.write_bytes(b"REDIS0010")
    data_dir.write(data, snapshot, "the-id")
    data_dir.write(data, snapshot, "the-id")
    assert sorted(path.name for path in data.iterdir()) == ["appendonlydir", "last-master", "restore-data"]
    base = data / "appendonlydir" / "appendonly.aof.1.base.rdb"
    assert sealing.digest(base) == sealing.digest(snapshot)
    manifest = (data / "appendonlydir" / "appendonly.aof.manifest").read_text()
    assert manifest == "file appendonly.aof.1.base.rdb seq 1 type b\n"
    assert (data / "restore-data").read_text() == "the-id\n"
    with pytest.raises(JobError, match="no such data directory"):
        data_dir.write(tmp_path / "nowhere", snapshot, "x")


def test_a_data_directory_half_way_says_of_no_restore_that_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, snapshot = tmp_path / "data", tmp_path / "snapshot"
    data.mkdir()
    snapshot.write_bytes(b"REDIS0010")
    data_dir.write(data, snapshot, "the-id")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(data), "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            data_dir.write(data, snapshot, "the-id")
    assert not (data / "restore-data").exists()
    data_dir.write(data, snapshot, "the-id")
    assert (data / "restore-data").read_text() == "the-id\n"


def test_on_a_full_volume_the_old_data_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, snapshot = tmp_path / "data", tmp_path / "snapshot"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "kept").write_text("old")
    snapshot.write_bytes(b"REDIS0010")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_dir, "_copy", full)
    with pytest.raises(JobError, match="No space left on device; the old data is untouched"):
        data_dir.write(data, snapshot, "x")
    assert [path.name for path in data.iterdir()] == ["appendonlydir"]
    assert (data / "appendonlydir" / "kept").exists()


def test_a_set_of_an_older_version_is_named_as_such(local: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(local), "secret_dir", local.places.root / "nowhere")
    with pytest.raises(Exception, match="started by an older version"):
        redis_set(local)
