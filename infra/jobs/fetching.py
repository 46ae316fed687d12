"""Getting a backup back as an RDB file that Redis has checked, or saying what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.jobs import rdb, sealing
from infra.jobs.errors import CorruptBackupError
from infra.jobs.manifest import Manifest
from infra.jobs.options import JobOptions
from infra.jobs.progress import Progress
from infra.jobs.redis_set import Tools
from infra.jobs.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a backup can be restored; ``fault`` is empty if it can."""

    backup: Manifest
    fault: str

    @property
    def good(self) -> bool:
        """Whether it can be restored."""
        return not self.fault


def fetch(store: ObjectStore, options: JobOptions, backup: Manifest, tools: Tools, folder: Path) -> Path:
    """Download a backup into ``folder``, undo its sealing, and check it against its manifest and with Redis.

    Raises:
        CorruptBackupError: if it is not what its manifest says, or Redis cannot load it.
        StorageError: if it cannot be downloaded.
        UsageError: if it is encrypted and the key is not here.
        OSError: if ``folder`` has no room.
    """
    sealed, snapshot = folder / "snapshot.sealed", folder / "snapshot.rdb"
    with Progress("download", backup.object_bytes) as progress:
        store.get_file(backup.object_key, sealed, progress.advance)
    _compare("the object", sealing.digest(sealed), backup.object_sha256)
    with Progress("unpacking", backup.object_bytes) as progress:
        plain = sealing.unseal(
            sealed,
            snapshot,
            compressed=backup.compression == "zstd",
            key_id=backup.encryption_key_id,
            keys=options.keys,
            advance=progress.advance,
        )
    sealed.unlink()
    _compare("the snapshot", plain.sha256, backup.rdb_sha256)
    facts = rdb.check(snapshot, tools.check_rdb)
    if facts.keyspace != backup.keyspace:
        raise CorruptBackupError(f"the snapshot holds {facts.keyspace}, its manifest says {backup.keyspace}")
    return snapshot


def verify(store: ObjectStore, options: JobOptions, backup: Manifest, tools: Tools) -> Verdict:
    """Fetch a backup and throw it away; say what is wrong with it, if anything is."""
    with options.workspace() as folder:
        try:
            fetch(store, options, backup, tools, folder)
        except CorruptBackupError as error:
            return Verdict(backup, str(error))
    return Verdict(backup, "")


def _compare(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise CorruptBackupError(f"{what} has the SHA-256 {found[:16]}..., its manifest says {expected[:16]}...")
