"""Putting an RDB file into a stopped node's data directory, so that the node starts with exactly that data.

The file becomes the base of an append-only file with a manifest: while ``appendonly`` is on, Redis ignores a bare
dump.rdb and would start empty. What was there before stays until the new data is complete, and goes by one rename.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from infra.jobs.errors import JobError
from infra.jobs.progress import Progress

AOF: Final = "appendonlydir"
_BASE: Final = "appendonly.aof.1.base.rdb"
_MANIFEST: Final = f"file {_BASE} seq 1 type b\n"
_DATA_OF: Final = "restore-data"  # read by redis-start.sh: the id of the restore whose data this is
_COPY: Final = 4 * 1024 * 1024


def write(data: Path, snapshot: Path, restore_id: str) -> None:
    """Replace what the node has by a snapshot. May be repeated after an interruption at any point.

    Raises:
        JobError: if the directory is not there, or has no room; what the node had is untouched then.
    """
    if not data.is_dir():
        raise JobError(f"{data}: there is no such data directory")
    fresh, before = data / f"{AOF}.restore", data / f"{AOF}.before-restore"
    for leftover in (fresh, before):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        fresh.mkdir(mode=0o700)
        _copy(snapshot, fresh / _BASE)
        _write(fresh / "appendonly.aof.manifest", _MANIFEST)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise JobError(
            f"{data}: the snapshot could not be written: {error.strerror}; the old data is untouched"
        ) from None
    # From here to the rename the directory holds no data that counts, and says so: a node that starts now refuses.
    (data / _DATA_OF).unlink(missing_ok=True)
    if (data / AOF).exists():
        (data / AOF).rename(before)
    fresh.rename(data / AOF)
    for old in ("dump.rdb", "appendonly.aof"):
        (data / old).unlink(missing_ok=True)
    _write(data / _DATA_OF, f"{restore_id}\n")
    _sync(data)
    shutil.rmtree(before, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    with (
        Progress("writing to the volume", source.stat().st_size) as progress,
        source.open("rb") as reading,
        target.open("wb") as writing,
    ):
        while part := reading.read(_COPY):
            progress.advance(writing.write(part))
        writing.flush()
        os.fsync(writing.fileno())


def _write(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
