"""Two jobs at once: each writes a claim beside the backups and looks who else has one.

Only the list of a strongly consistent store is needed (S3, GCS and the others have one), not a conditional write, which
not all of them know. Who finds a claim that is as old as its own, or older, withdraws. Two that come within the same
second may both withdraw; each tries again after a random pause. Times are the store's own, so no clocks are compared.

It is advice, not a lock: backups have immutable keys, so two jobs that overlap do no harm but work twice. A claim that
its holder left behind, because it was killed, counts for ``LEASE_SECONDS``.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from infra.jobs.errors import BusyError
from infra.jobs.names import Folder
from infra.jobs.storage import ObjectStore, StorageError, Stored

LEASE_SECONDS: Final = 1500  # longer than a Job may run (activeDeadlineSeconds 1200)
_TRIES: Final = 4


def rivals(own: Stored, all_claims: Sequence[Stored], lease: int = LEASE_SECONDS) -> tuple[list[Stored], list[Stored]]:
    """Return the claims before which ``own`` withdraws, and those whose time is over. Pure."""
    limit = own.modified - timedelta(seconds=lease)
    others = [claim for claim in all_claims if claim.key != own.key]
    standing = [claim for claim in others if limit <= claim.modified <= own.modified]
    return standing, [claim for claim in others if claim.modified < limit]


@contextmanager
def claimed(store: ObjectStore, folder: Folder, purpose: str) -> Iterator[None]:
    """Hold the claim on a stack's backups within the block.

    Raises:
        BusyError: if another job holds it; the text says which and since when.
    """
    key = _acquire(store, folder, purpose)
    try:
        yield
    finally:
        with suppress(StorageError):  # its time ends by itself
            store.delete([key])


def _acquire(store: ObjectStore, folder: Folder, purpose: str) -> str:
    for attempt in range(_TRIES):
        key = f"{folder.claims}{purpose}-{secrets.token_hex(8)}"
        own = store.put(key, purpose.encode())
        standing, over = rivals(own, list(store.listing(folder.claims)))
        store.delete([claim.key for claim in over])
        if not standing:
            return key
        store.delete([key])
        older = min(standing, key=lambda claim: claim.modified)
        tie = all(claim.modified == own.modified for claim in standing)
        if not tie or attempt == _TRIES - 1:
            job = older.key.rpartition("/")[2].rpartition("-")[0]
            raise BusyError(
                f"another job ({job}) works on these backups since {older.modified:%Y-%m-%dT%H:%M:%SZ}; "
                f"if it was killed, its claim ends after {LEASE_SECONDS // 60} minutes: {older.key}"
            )
        time.sleep(random.uniform(1.0, 3.0))  # noqa: S311  to fall apart, not to keep a secret
    raise AssertionError  # the last attempt returns or raises
