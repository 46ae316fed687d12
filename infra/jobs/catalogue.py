"""What lies in the bucket for one stack: backups, uploads without a manifest, and what is not ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from infra.jobs import manifest, retention
from infra.jobs.manifest import Manifest
from infra.jobs.names import Folder, Name
from infra.jobs.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A stack's part of the bucket at one moment.

    ``unreadable`` are manifests that are none, or name an object that is not there with its size; they are reported,
    and never counted, restored or pruned.
    """

    backups: tuple[Manifest, ...]
    snapshots: tuple[Name, ...]
    unreadable: tuple[str, ...]
    committed: frozenset[str]
    foreign: int

    @property
    def newest(self) -> Manifest | None:
        """The backup taken last."""
        return self.backups[-1] if self.backups else None

    def orphans(self, now: datetime, hours: float) -> list[Name]:
        """Uploads that were never committed and are older than ``hours``."""
        return retention.orphans(self.snapshots, self.committed, now, hours)


def read(store: ObjectStore, folder: Folder) -> Catalogue:
    """List a stack's part of the bucket and read its manifests; the backups are in the order of their times.

    Raises:
        StorageError: if the store fails.
    """
    snapshots: dict[str, tuple[Name, int]] = {}
    manifests: list[Name] = []
    foreign = 0
    for found in store.listing(folder.path):
        name = folder.parse(found.key)
        if name is None:
            foreign += not found.key.startswith(folder.claims)
        elif name.is_manifest:
            manifests.append(name)
        else:
            snapshots[found.key] = (name, found.size)
    backups, unreadable = [], []
    for name in manifests:
        read_one = manifest.decode(store.get(name.key), name.key, folder)
        if read_one is None or snapshots.get(read_one.object_key, (None, -1))[1] != read_one.object_bytes:
            unreadable.append(name.key)
        else:
            backups.append(read_one)
    return Catalogue(
        backups=tuple(sorted(backups, key=lambda b: (b.taken, b.object_key))),
        snapshots=tuple(name for name, _ in snapshots.values()),
        unreadable=tuple(unreadable),
        committed=frozenset(name.stem for name in manifests),
        foreign=foreign,
    )
