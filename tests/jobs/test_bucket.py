"""Backups into a real S3 server from a real set, and everything that goes wrong on the way."""

from __future__ import annotations

import dataclasses
import json
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cacheclient.contract import BackupKey
from infra.jobs import backing_up, catalogue, cli, drill, fetching, manifest, storage
from infra.jobs.claims import claimed
from infra.jobs.errors import BusyError, CorruptBackupError, JobError
from infra.jobs.manifest import Keyspace, Manifest
from infra.jobs.retention import Rule
from infra.jobs.sealing import Keys
from infra.jobs.storage import PART, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Job, Line

    from infra.jobs.options import JobOptions
    from infra.jobs.redis_set import RedisSet
    from infra.jobs.storage import ObjectStore
    from infra.local.control import Environment
    from tests.jobs.s3 import S3


def take(redis_set: RedisSet, made: tuple[JobOptions, ObjectStore], **changed: Any) -> Manifest:
    options, store = made
    return backing_up.back_up(redis_set, store, options, kind="manual", **changed).backup


def found(made: tuple[JobOptions, ObjectStore]) -> catalogue.Catalogue:
    return catalogue.read(made[1], made[0].folder)


def listed(made: tuple[JobOptions, ObjectStore]) -> list[str]:
    return [stored.key for stored in made[1].listing("")]


def test_a_backup_is_committed_with_all_that_is_known_and_loads_with_as_many_keys(
    small_set: RedisSet, job: Job, keys: Keys, ask: Callable[..., str], tell: Callable[..., None], tmp_path: Path
) -> None:
    tell(("SET", "other", "1"), ("SET", "timed", "1", "EX", "5000"), database=3)
    made = job(keys=keys)
    backup = take(small_set, made)
    assert found(made).backups == (backup,)
    assert sorted(listed(made)) == sorted([backup.object_key, backup.object_key.replace(".rdb.zst.enc", ".json")])
    assert (backup.source_role, backup.encryption_key_id, backup.compression) == ("replica", "first", "zstd")
    assert backup.source_node != small_set.master()
    assert backup.keyspace["3"] == Keyspace(keys=2, expires=1)
    assert len(backup.replication_id) == 40
    assert int(ask("GET", BackupKey.LAST_SUCCESS)) == int(backup.finished.timestamp())
    snapshot = fetching.fetch(made[1], made[0], backup, small_set.tools, tmp_path)
    loaded = drill.load(snapshot, backup, small_set.tools, tmp_path)
    assert loaded.keyspace == backup.keyspace
    tell(("DEL", "other", "timed"), database=3)


def test_a_drill_finds_a_backup_that_holds_other_counts_than_its_manifest_says(
    small_set: RedisSet, job: Job, tmp_path: Path
) -> None:
    made = job()
    backup = take(small_set, made)
    snapshot = fetching.fetch(made[1], made[0], backup, small_set.tools, tmp_path)
    lying = msgspec.structs.replace(backup, keyspace={"0": Keyspace(keys=10**6, expires=0)})
    with pytest.raises(CorruptBackupError, match="its manifest says"):
        drill.load(snapshot, lying, small_set.tools, tmp_path)


def test_a_large_snapshot_goes_up_in_parts_and_is_compared_with_what_the_store_has(
    job: Job, s3: S3, tmp_path: Path
) -> None:
    options, store = job()
    large = tmp_path / "large"
    large.write_bytes(secrets.token_bytes(PART + 1000))
    store.put_file("large", large, "digest", lambda _: None)
    head = s3.client().head_object(Bucket=options.location.bucket, Key="large")
    assert head["ETag"].endswith('-2"')
    large.write_bytes(secrets.token_bytes(PART + 1000))
    with pytest.raises(StorageError, match="digest"):
        store._verify("large", large, "digest")
    large.write_bytes(b"short")
    with pytest.raises(StorageError, match="5 bytes were uploaded"):
        store._verify("large", large, "digest")


def test_an_upload_that_is_torn_again_and_again_leaves_no_backup_and_no_earlier_one_is_touched(
    small_set: RedisSet, job: Job, breaking_line: Callable[..., Line], tell: Callable[..., None]
) -> None:
    made = job(compress=False)
    earlier = take(small_set, made)
    tell(("SET", "large", secrets.token_hex(200_000)))
    line = breaking_line(cut_after=40_000, cuts=1000)
    with pytest.raises(StorageError, match="upload of caches/local/"):
        take(small_set, job(endpoint=line.endpoint, compress=False))
    assert line.cuts_left < 1000
    assert found(made).backups == (earlier,)
    assert not found(made).unreadable
    tell(("DEL", "large"))


def test_an_upload_that_is_torn_once_is_tried_again(
    small_set: RedisSet, job: Job, breaking_line: Callable[..., Line]
) -> None:
    line = breaking_line(cut_after=300, cuts=1)
    backup = take(small_set, job(endpoint=line.endpoint))
    assert line.cuts_left == 0
    assert found(job()).backups == (backup,)


def test_wrong_credentials_and_a_bucket_that_is_not_there_are_named(
    small_set: RedisSet, job: Job, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "access-key-id").write_text("AKIATEST")
    (other / "secret-access-key").write_text("wrong")
    with pytest.raises(StorageError, match="the secret key does not belong to the access key"):
        take(small_set, job(credentials=other))
    (other / "access-key-id").write_text("NOBODY")
    with pytest.raises(StorageError, match="does not know the access key"):
        take(small_set, job(credentials=other))
    options, _ = job()
    assert options.scratch is not None
    assert not list(options.scratch.iterdir())  # nothing is left behind


def test_a_store_that_never_answers_is_given_up_in_time(
    small_set: RedisSet, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"[Tt]ime(d )?out"):
            take(small_set, job(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3))
        assert time.monotonic() - began < 30


def test_foreign_objects_are_neither_read_nor_deleted(small_set: RedisSet, job: Job) -> None:
    made = job()
    options, store = made
    foreign = [f"caches/local/notes/{n}.txt" for n in range(30)] + ["caches/local/x.json", "other/a.rdb", "a"]
    for key in foreign:
        store.put(key, b"not ours")
    backup = take(small_set, made)
    day = backup.object_key.rpartition("/")[0]
    for name in ("x.rdb", "20260101T000000Z-00000000.json"):  # the latter in the folder of another day
        foreign.append(f"{day}/{name}")
        store.put(foreign[-1], b"{}")
    assert found(made).backups == (backup,)
    assert found(made).foreign == len([key for key in foreign if key.startswith("caches/local/")])
    backing_up.prune(store, with_rule(options, 1, 1), newest_valid=backup.object_key)
    assert set(foreign) <= set(listed(made))


def with_rule(options: JobOptions, days: int, last: int) -> JobOptions:
    return dataclasses.replace(options, rule=Rule(days, last))


def test_pruning_deletes_what_is_old_with_its_manifest_and_keeps_the_newest(small_set: RedisSet, job: Job) -> None:
    made = job()
    options, store = made
    newest = take(small_set, made)
    for days in (1, 9, 10):
        copy_of(made, newest, newest.taken - timedelta(days=days))
    unreadable = options.folder.stem(datetime(2025, 1, 1, tzinfo=UTC), "ab" * 4)
    store.put(f"{unreadable}.rdb", b"data")
    store.put(f"{unreadable}.json", b"no manifest")
    gone = backing_up.prune(store, with_rule(options, 7, 1), newest_valid=newest.object_key)
    assert [key.split("/")[-1][:8] for key in gone] == [
        (newest.taken - timedelta(days=days)).strftime("%Y%m%d") for days in (10, 9)
    ]
    assert len(found(made).backups) == 2
    assert found(made).unreadable == (f"{unreadable}.json",)
    assert not [key for key in listed(made) if key.startswith(tuple(k.partition(".")[0] for k in gone))]


def copy_of(made: tuple[JobOptions, ObjectStore], backup: Manifest, taken: datetime) -> Manifest:
    """Store a backup once more, as if it had been taken at another time."""
    options, store = made
    stem = options.folder.stem(taken, backup.object_sha256)
    copied = msgspec.structs.replace(backup, taken=taken, object_key=f"{stem}.rdb.zst")
    store.put(copied.object_key, store.get(backup.object_key))
    store.put(f"{stem}.json", manifest.encode(copied))
    return copied


def test_an_upload_without_a_manifest_is_no_backup_and_prune_removes_it(
    small_set: RedisSet, job: Job, run: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    made = job()
    backup = take(small_set, made)
    orphan = made[0].folder.stem(datetime.now(UTC) - timedelta(hours=30), "cd" * 4) + ".rdb"
    made[1].put(orphan, b"half a snapshot")
    assert found(made).backups == (backup,)
    code, said = run(made[0], "prune", "--local", "--orphans", "--dry-run")
    assert (code, said["orphans"], said["orphans_deleted"]) == (0, [orphan], False)
    assert orphan in listed(made)
    code, said = run(made[0], "prune", "--local", "--orphans", "--lifecycle", "30")
    assert (code, said["orphans_deleted"], said["pruned"]) == (0, True, [])
    assert sorted(listed(made)) == sorted([backup.object_key, backup.object_key.replace(".rdb.zst", ".json")])
    (rule,) = made[1]._client.get_bucket_lifecycle_configuration(Bucket=made[0].location.bucket)["Rules"]
    assert rule["Expiration"] == {"Days": 30}
    code, said = run(made[0], "prune", "--local", "--lifecycle", "7")
    assert code == 2
    assert "more days than are kept" in said["error"]


def test_the_second_of_two_jobs_withdraws_and_says_who_is_first(small_set: RedisSet, job: Job) -> None:
    made = job()
    options, store = made
    with claimed(store, options.folder, "backup"):
        with pytest.raises(BusyError, match=r"another job \(backup\) works on these backups since"):
            take(small_set, made)
        assert found(made).backups == ()
    take(small_set, made)
    assert not list(store.listing(options.folder.claims))


def test_two_jobs_at_once_do_each_other_no_harm(small_set: RedisSet, job: Job) -> None:
    made = job()

    def attempt(_: int) -> str:
        try:
            return take(small_set, (made[0], job()[1])).object_key
        except BusyError:
            return ""

    with ThreadPoolExecutor(2) as both:
        taken = {key for key in both.map(attempt, range(2)) if key}
    assert taken
    assert {backup.object_key for backup in found(made).backups} == taken
    assert not found(made).orphans(datetime.now(UTC) + timedelta(days=2), 0)


def test_a_backup_that_was_changed_in_the_bucket_is_corrupt_and_the_command_says_so(
    small_set: RedisSet, job: Job, run: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    made = job()
    backup = take(small_set, made)
    assert run(made[0], "verify", "--local")[0] == 0
    data = bytearray(made[1].get(backup.object_key))
    data[len(data) // 2] ^= 1
    made[1].put(backup.object_key, bytes(data))
    code, said = run(made[0], "verify", "--local")
    assert (code, said["good"]) == (3, False)
    assert "the object has the SHA-256" in said["fault"]
    made[1].put(backup.object_key, bytes(data[:-1]))  # a size that is not that of the manifest: no backup any more
    code, said = run(made[0], "list", "--local")
    assert (said["backups"], len(said["unreadable"])) == ([], 1)


def test_a_backup_cannot_be_fetched_with_another_key(small_set: RedisSet, job: Job, keys: Keys) -> None:
    made = job(keys=keys)
    backup = take(small_set, made)
    assert keys.folder is not None
    (keys.folder / "first").write_bytes(secrets.token_bytes(32))
    verdict = fetching.verify(made[1], made[0], backup, small_set.tools)
    assert "cannot be decrypted with the key 'first'" in verdict.fault


def test_a_snapshot_that_redis_refuses_is_not_uploaded(
    small_set: RedisSet, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job()
    whole = type(small_set).snapshot

    def torn(self: RedisSet, host: str, target: Path, seconds: float = 60) -> None:
        whole(self, host, target, seconds)
        target.write_bytes(target.read_bytes()[:-9])

    monkeypatch.setattr(type(small_set), "snapshot", torn)
    with pytest.raises(CorruptBackupError, match="redis-check-rdb refuses the snapshot"):
        take(small_set, made)
    assert listed(made) == []


def test_a_node_that_refuses_a_snapshot_is_told_with_its_words(
    small_set: RedisSet, local: Environment, tmp_path: Path
) -> None:
    (local.secret_dir / "backup").rename(local.secret_dir / "kept")
    (local.secret_dir / "backup").write_text("not-the-password")
    try:
        with pytest.raises(JobError, match="sent no snapshot"):
            small_set.snapshot(small_set.redis_hosts[0], tmp_path / "x")
    finally:
        (local.secret_dir / "kept").rename(local.secret_dir / "backup")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("backup", "--local", "--bucket", "UPPER"), "bucket 'UPPER': 3 to 63 lower-case"),
        (("list", "--stack", "prod"), "bucket: missing; give --bucket or set CACHE_BACKUP_BUCKET"),
        (("list", "--bucket", "abc"), "stack: missing"),
        (("list", "--bucket", "abc", "--stack", "Prod"), "stack name 'Prod'"),
        (("list", "--bucket", "abc", "--stack", "p", "--endpoint", "ftp://x"), "endpoint 'ftp://x': http(s)://"),
        (("list", "--bucket", "abc", "--stack", "p", "--keep-last", "0"), "keep_last '0': a whole number"),
        (("backup", "--bucket", "abc", "--stack", "p"), "which Redis set? Not set: CACHE_SET"),
        (("restore", "--bucket", "abc", "--stack", "p"), "restore what? One of --local"),
    ],
)
def test_bad_input_is_one_clear_error_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    assert cli.main([*arguments, "--json"]) == 2
    assert text in json.loads(capsys.readouterr().out)["error"]
