"""The source of truth outside Redis: one version per key, in a file that all workers map."""

from __future__ import annotations

import fcntl
import mmap
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple, Self

_WIDTH: Final = 8


class Commit(NamedTuple):
    """A new version, and the monotonic second before anybody could see it."""

    version: int
    began: float


class Database:
    """Versions by key. An aligned store of eight bytes is seen whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._versions = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, path: Path, keys: int) -> None:
        """Make the file: every key at version 1."""
        path.write_bytes((1).to_bytes(_WIDTH, sys.byteorder) * keys)

    def __len__(self) -> int:
        return len(self._versions)

    def __getitem__(self, key: int) -> int:
        return self._versions[key]

    def commit(self, key: int) -> Commit | None:
        """Raise the version of ``key``; None if another process is at it (it may be frozen, so nobody waits)."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, key)
        except BlockingIOError:
            return None
        try:
            began = time.monotonic()
            self._versions[key] += 1
            return Commit(self._versions[key], began)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, key)

    def close(self) -> None:
        self._versions.release()
        self._map.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
