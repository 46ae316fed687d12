"""One backup: snapshot of a replica, checked, sealed, uploaded, verified, and only then committed by its manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from cacheclient.contract import APP_NAME, BackupKey
from infra.jobs import catalogue, choice, manifest, rdb, retention, sealing
from infra.jobs.choice import Node
from infra.jobs.claims import claimed
from infra.jobs.manifest import Kind, Manifest
from infra.jobs.names import suffix
from infra.jobs.options import JobOptions
from infra.jobs.progress import Progress, mib, say
from infra.jobs.redis_set import RedisSet
from infra.jobs.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """A committed backup, what was pruned after it, and what did not stop it but should be known."""

    backup: Manifest
    pruned: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float


def back_up(
    redis_set: RedisSet, store: ObjectStore, options: JobOptions, *, kind: Kind, allow_master: bool = False
) -> Outcome:
    """Take one backup, then prune what the retention rule gives up.

    Raises:
        JobError: if anything fails before the manifest is written; there is no backup then, and no earlier one is
            touched. What was uploaded without a manifest is an orphan, which `list` reports and `prune` removes.
    """
    began = time.monotonic()
    with claimed(store, options.folder, "backup"), options.workspace() as folder:
        master = redis_set.master()
        node = choice.source(redis_set.nodes(), master, allow_master=allow_master)
        say(f"backup of {redis_set.name} from {node.host}, a {'master' if node.host == master else 'replica'}")
        backup = _take(redis_set, store, options, node, folder, kind)
        say(f"committed {backup.object_key}: {backup.keys:,} keys, {mib(backup.object_bytes)}")
        warnings = []
        if refused := redis_set.publish(BackupKey.LAST_SUCCESS, str(int(backup.finished.timestamp()))):
            warnings.append(f"the time of this success could not be written to the master, alerts miss it: {refused}")
        pruned = prune(store, options, newest_valid=backup.object_key)
    return Outcome(backup, tuple(pruned), tuple(warnings), time.monotonic() - began)


def _take(
    redis_set: RedisSet, store: ObjectStore, options: JobOptions, node: Node, folder: Path, kind: Kind
) -> Manifest:
    snapshot, sealed = folder / "snapshot.rdb", folder / "snapshot.sealed"
    taken = datetime.now(UTC).replace(microsecond=0)
    redis_set.snapshot(node.host, snapshot)
    facts = rdb.check(snapshot, redis_set.tools.check_rdb)
    plain_digest = sealing.digest(snapshot)
    with Progress("packing", snapshot.stat().st_size) as progress:
        packed = sealing.seal(snapshot, sealed, compress=options.compress, keys=options.keys, advance=progress.advance)
    stem = options.folder.stem(taken, packed.sha256)
    key = stem + suffix(compressed=options.compress, encrypted=bool(options.keys.active))
    with Progress("upload", packed.size) as progress:
        store.put_file(key, sealed, packed.sha256, progress.advance)
    made = Manifest(
        format=manifest.FORMAT,
        stack=options.folder.stack,
        kind=kind,
        taken=taken,
        finished=datetime.now(UTC).replace(microsecond=0),
        object_key=key,
        object_bytes=packed.size,
        object_sha256=packed.sha256,
        rdb_bytes=snapshot.stat().st_size,
        rdb_sha256=plain_digest,
        compression="zstd" if options.compress else "none",
        encryption_key_id=options.keys.active,
        keyspace=facts.keyspace,
        server_version=facts.server_version or node.version,
        source_node=node.host,
        source_role="master" if node.role == "master" else "replica",
        replication_id=facts.replication_id,
        replication_offset=facts.replication_offset,
        tool_version=version(APP_NAME),
    )
    store.put(f"{stem}.json", manifest.encode(made), seal=True)
    return made


def prune(store: ObjectStore, options: JobOptions, *, newest_valid: str, dry_run: bool = False) -> list[str]:
    """Delete the backups that the rule gives up and return their object keys, oldest first.

    The manifest goes first: what is left if the job is killed in between is an orphan, not a backup without data.
    """
    found = catalogue.read(store, options.folder)
    gone = retention.prunable(found.backups, datetime.now(UTC), options.rule, newest_valid)
    for backup in gone:
        if not dry_run:
            name = options.folder.parse(backup.object_key)
            assert name is not None, backup.object_key  # noqa: S101  manifests that name anything else are not read
            store.delete([f"{name.stem}.json", backup.object_key])
        say(f"{'would prune' if dry_run else 'pruned'} {backup.object_key}")
    return [backup.object_key for backup in gone]
