"""What the jobs decide, on plain values: names, manifests, retention, the node, the backup, claims."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.jobs import choice, manifest, retention
from infra.jobs.choice import Node
from infra.jobs.claims import LEASE_SECONDS, rivals
from infra.jobs.cluster_set import job_manifest, last_json
from infra.jobs.errors import JobError, RefusedError, UsageError
from infra.jobs.manifest import Keyspace, Manifest
from infra.jobs.names import Folder, suffix
from infra.jobs.retention import Rule
from infra.jobs.storage import Stored

FOLDER = Folder("caches", "prod")
NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


def backup_at(taken: datetime, digest: str = "ab" * 32, **changed: Any) -> Manifest:
    values: dict[str, Any] = {
        "format": 1,
        "stack": "prod",
        "kind": "scheduled",
        "taken": taken,
        "finished": taken,
        "object_key": FOLDER.stem(taken, digest) + ".rdb.zst",
        "object_bytes": 10,
        "object_sha256": digest,
        "rdb_bytes": 20,
        "rdb_sha256": "cd" * 32,
        "compression": "zstd",
        "encryption_key_id": "",
        "keyspace": {"0": Keyspace(keys=3, expires=1)},
        "server_version": "7.2.7",
        "source_node": "redis-1",
        "source_role": "replica",
        "replication_id": "r",
        "replication_offset": 1,
        "tool_version": "0.1.0",
    }
    return Manifest(**{**values, **changed})


def backups_every(hours: float, number: int) -> list[Manifest]:
    return [backup_at(NOW - timedelta(hours=hours * n), f"{n:08x}" + "0" * 56) for n in range(number)]


# names


def test_a_name_holds_the_time_and_the_digest_and_is_read_back() -> None:
    stem = FOLDER.stem(datetime(2026, 3, 1, 6, 0, 5, tzinfo=UTC), "0123456789abcdef")
    assert stem == "caches/prod/2026/03/01/20260301T060005Z-01234567"
    for ending in (suffix(compressed=c, encrypted=e) for c in (False, True) for e in (False, True)):
        name = FOLDER.parse(stem + ending)
        assert name is not None
        assert (name.stem, name.is_manifest, name.taken.hour) == (stem, False, 6)
    described = FOLDER.parse(stem + ".json")
    assert described is not None
    assert described.is_manifest


@pytest.mark.parametrize(
    "key",
    [
        "caches/staging/2026/03/01/20260301T060005Z-01234567.rdb",  # another stack
        "caches/prod2/2026/03/01/20260301T060005Z-01234567.rdb",
        "caches/prod/2026/03/02/20260301T060005Z-01234567.rdb",  # in the folder of another day
        "caches/prod/2026/03/01/20260301T060005Z-0123456.rdb",
        "caches/prod/2026/03/01/20260301T060005Z-01234567.rdb.gz",
        "caches/prod/2026/03/01/20260301T060005Z-01234567.rdb.enc.zst",
        "caches/prod/2026/13/41/20261341T060005Z-01234567.rdb",  # no date
        "caches/prod/2026/03/01/x/20260301T060005Z-01234567.rdb",
        "caches/prod/claims/backup-0011",
        "caches/prod/README.txt",
    ],
)
def test_what_does_not_match_exactly_is_not_ours(key: str) -> None:
    assert FOLDER.parse(key) is None


def test_a_prefix_that_would_lead_elsewhere_is_refused() -> None:
    for prefix in ("/a", "a//b", "a/", "a b"):
        with pytest.raises(UsageError, match="prefix"):
            Folder(prefix, "prod")
    assert Folder("", "prod").path == "prod/"


# manifests


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    made = backup_at(NOW)
    stem = made.object_key.removesuffix(".rdb.zst")
    assert manifest.decode(manifest.encode(made), f"{stem}.json", FOLDER) == made
    assert (made.keys, made.expires) == (3, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"object_key": "caches/prod/2026/01/01/20260101T000000Z-abababab.rdb"},  # another backup's object
        {"object_key": "somebody/elses/object"},
        {"stack": "staging"},
        {"format": 2},
        {"object_bytes": -1},
        {"rdb_sha256": "short"},
    ],
)
def test_a_manifest_that_names_what_is_not_its_own_is_none(changed: dict[str, Any]) -> None:
    made = backup_at(NOW)
    text = msgspec.json.encode({**msgspec.to_builtins(made), **changed})
    assert manifest.decode(text, made.object_key.replace(".rdb.zst", ".json"), FOLDER) is None


# retention


@pytest.mark.parametrize(
    ("hours", "number", "left"),
    [
        (6, 28, 28),  # seven days of every six hours
        (6, 42, 42),  # the required 42: ten and a half days
        (6, 60, 42),  # older than seven days, and not among the newest 42
        (1, 200, 169),  # more often: seven days, which are more than 42
        (24, 50, 42),  # less often: the newest 42, however old
        (6, 1, 1),
    ],
)
def test_seven_days_are_kept_and_never_fewer_than_42(hours: float, number: int, left: int) -> None:
    backups = backups_every(hours, number)
    gone = retention.prunable(backups, NOW, Rule(), backups[0].object_key)
    assert len(gone) == number - left
    assert gone == sorted(gone, key=lambda b: b.taken)


@given(
    ages=st.lists(st.floats(0, 60 * 24), max_size=80),
    days=st.integers(1, 30),
    last=st.integers(1, 60),
    valid=st.integers(0, 79),
)
def test_whatever_the_rule_the_young_the_newest_and_the_valid_one_stay(
    ages: list[float], days: int, last: int, valid: int
) -> None:
    backups = [backup_at(NOW - timedelta(hours=age), f"{n:08x}" + "0" * 56) for n, age in enumerate(ages)]
    newest_valid = backups[valid % len(backups)].object_key if backups else ""
    gone = {b.object_key for b in retention.prunable(backups, NOW, Rule(days, last), newest_valid)}
    kept = [b for b in backups if b.object_key not in gone]
    assert newest_valid not in gone
    assert len(kept) >= min(last, len(backups))
    assert all(b.object_key not in gone for b in backups if b.taken >= NOW - timedelta(days=days))
    if gone:  # nothing is kept for no reason
        threshold = max(b.taken for b in backups if b.object_key in gone)
        assert sum(b.taken > threshold for b in backups) <= max(len(kept), last)


def test_the_newest_whole_backup_stays_however_old_it_is() -> None:
    backups = backups_every(24, 5)
    gone = retention.prunable(backups, NOW, Rule(1, 1), backups[4].object_key)
    assert gone == [backups[3], backups[2]]


def test_uploads_without_a_manifest_are_orphans_once_they_are_old() -> None:
    names = [
        name
        for hours in (1, 25, 30)
        if (name := FOLDER.parse(backup_at(NOW - timedelta(hours=hours)).object_key)) is not None
    ]
    assert [o.key for o in retention.orphans(names, {names[2].stem}, NOW, 24)] == [names[1].key]


# the node to back up


def replica(host: str, **changed: Any) -> Node:
    values = {"role": "slave", "link_up": True, "master_host": "redis-0", "offset": 100}
    return Node(host=host, **{**values, **changed})


MASTER = Node(host="redis-0", role="master", offset=100, replicas=2)


def test_the_replica_that_is_furthest_on_is_taken_and_never_the_master() -> None:
    nodes = [MASTER, replica("redis-1"), replica("redis-2", offset=101)]
    assert choice.source(nodes, "redis-0", allow_master=True).host == "redis-2"
    nodes = [MASTER, replica("redis-1"), replica("redis-2")]
    assert choice.source(nodes, "redis-0", allow_master=True).host == "redis-2"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"answered": False}, "does not answer"),
        ({"loading": True}, "is loading"),
        ({"role": "master"}, "is a master"),
        ({"link_up": False}, "has no link"),
        ({"syncing": True}, "is copying"),
        ({"master_host": "redis-9"}, "follows redis-9"),
        ({"offset": 0}, "does not know"),
    ],
)
def test_a_replica_that_is_not_healthy_is_not_taken_and_the_reason_is_told(
    changed: dict[str, Any], reason: str
) -> None:
    nodes = [MASTER, replica("redis-1", **changed)]
    with pytest.raises(RefusedError, match=f"redis-1 {reason}"):
        choice.source(nodes, "redis-0", allow_master=True)


def test_the_master_is_taken_only_if_it_is_alone_and_allowed() -> None:
    alone = [Node(host="redis-0", role="master", offset=1), Node(host="redis-1", answered=False)]
    assert choice.source(alone, "redis-0", allow_master=True).host == "redis-0"
    with pytest.raises(RefusedError, match="--allow-master"):
        choice.source(alone, "redis-0", allow_master=False)
    with pytest.raises(JobError, match="no node can be backed up"):
        choice.source([Node(host="redis-0", answered=False)], "redis-0", allow_master=True)


# the backup to restore


def test_a_backup_is_chosen_as_the_latest_by_its_key_or_by_a_time() -> None:
    backups = backups_every(6, 4)
    assert choice.backup(backups, "latest") is backups[0]
    assert choice.backup(backups, backups[2].object_key) is backups[2]
    assert choice.backup(backups, backups[3].object_key.rpartition("/")[2]) is backups[3]
    assert choice.backup(backups, "2026-03-31T06:00:00Z") is backups[1]
    assert choice.backup(backups, "2026-03-31 05:59:59") is backups[2]
    assert choice.predecessor(backups, backups[1]) is backups[2]
    assert choice.predecessor(backups, backups[3]) is None


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ("yesterday", UsageError, "latest, an object key, or a time"),
        ("a/b.rdb", JobError, "no backup is called"),
        ("nosuch.rdb.zst", JobError, "no backup is called"),
        ("2020-01-01", JobError, "no backup was taken"),
    ],
)
def test_a_backup_that_is_not_there_is_an_error_that_says_so(wanted: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        choice.backup(backups_every(6, 2), wanted)
    with pytest.raises(JobError, match="there is no backup"):
        choice.backup([], wanted)


# claims


@pytest.mark.parametrize(
    ("seconds", "withdraws", "swept"),
    [
        (0, True, False),  # within the same second: both withdraw
        (10, True, False),
        (LEASE_SECONDS, True, False),
        (LEASE_SECONDS + 1, False, True),  # its holder was killed
        (-1, False, False),  # came later: that one withdraws
    ],
)
def test_who_comes_second_withdraws(seconds: int, *, withdraws: bool, swept: bool) -> None:
    own = Stored("own", 1, NOW)
    other = Stored("other", 1, NOW - timedelta(seconds=seconds))
    standing, over = rivals(own, [own, other])
    assert (standing == [other], over == [other]) == (withdraws, swept)


# the cluster's jobs


def test_a_job_is_that_of_the_cron_job_with_another_command_and_a_volume() -> None:
    pod = {"containers": [{"image": "i", "args": ["backup"], "volumeMounts": []}], "volumes": []}
    template = {
        "metadata": {},
        "spec": {"backoffLimit": 2, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}},
    }
    made = job_manifest(template, ("restore", "--execute"), "data-redis-0")
    spec = made["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"] == ["restore", "--execute", "--json"]
    assert spec["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-redis-0"}}]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert made["spec"]["backoffLimit"] == 0
    assert pod["volumes"] == []  # the template is not touched


def test_the_result_of_a_job_is_the_last_json_line_of_its_log() -> None:
    assert last_json('2026 upload\n{"a": 1}\n2026 warning\n{half\n') == {"a": 1}
    assert last_json("nothing\n") is None
