"""The database (L3): one SQLite table of profiles, rebuilt for each run so that runs with one seed are equal.

SQLite is used because it needs no server. It answers in microseconds, so most of a load's time is the way to a thread
and back. Nothing is added to make it look slower: behind a network each saved call would be worth more.
"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from examples.fingerprint.profiles import FIRST_VERSION, Profile, digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from examples.fingerprint.profiles import ProfileSampler

_TABLE: Final = "CREATE TABLE profile (user INTEGER PRIMARY KEY, version INTEGER, body TEXT, digest TEXT) STRICT"
_READ: Final = "SELECT user, version, body, digest FROM profile WHERE user = ?"
_WRITE: Final = "UPDATE profile SET version = ?, body = ?, digest = ? WHERE user = ?"


def build(path: Path, users: int, sampler: ProfileSampler, seed: int) -> int:
    """Create the database with ``users`` rows at version 1 in place of the old one; return the bytes of all bodies."""
    for old in path.parent.glob(path.name + "*"):  # the write-ahead log of a run before belongs to that database
        old.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, size = random.Random(seed), 0  # noqa: S311  repeatable input, not a secret

    def rows() -> Iterator[tuple[int, int, str, str]]:
        nonlocal size
        for user in range(users):
            body = sampler.draw(rng)
            size += len(body)
            yield user, FIRST_VERSION, body, digest(user, FIRST_VERSION, body)

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")  # readers go on while the writer commits
        connection.execute(_TABLE)
        connection.executemany("INSERT INTO profile VALUES (?, ?, ?, ?)", rows())
        connection.commit()
    return size


class Store:
    """Reads and writes profiles; blocking. All calls from one thread: that of the first call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def read(self, user: int) -> Profile:
        """Return the profile of ``user``.

        Raises:
            KeyError: if there is no such user.
        """
        row = self._connection().execute(_READ, (user,)).fetchone()
        if row is None:
            raise KeyError(user)
        return Profile(*row)

    def update(self, user: int, body: str) -> int:
        """Give ``user`` a new body under the next version, commit, and return that version.

        Raises:
            KeyError: if there is no such user.
        """
        connection = self._connection()
        with connection:
            # IMMEDIATE: the version is read and written under one lock, so no two updates share a version.
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(_READ, (user,)).fetchone()
            if row is None:
                raise KeyError(user)
            version = int(row[1]) + 1
            connection.execute(_WRITE, (version, body, digest(user, version, body), user))
        return version

    def close(self) -> None:
        """Close the connection."""
        if self._opened is not None:
            self._opened.close()

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            # Autocommit, because update() opens its own transaction. synchronous=NORMAL: a power cut may lose the last
            # rows of a demonstration's database, and an fsync for each row would measure the disk.
            self._opened = sqlite3.connect(self._path, isolation_level=None)
            self._opened.execute("PRAGMA synchronous = NORMAL")
        return self._opened
