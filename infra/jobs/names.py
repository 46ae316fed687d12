"""Where backups lie in a bucket. Pure.

``<prefix>/<stack>/YYYY/MM/DD/<UTC>-<sha8>.rdb[.zst][.enc]`` is a snapshot, the same name ending in ``.json`` its
manifest. A key is never written twice: it holds the time and the digest of the content. What does not match exactly is
not ours, and nothing here will read or delete it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from infra.jobs.errors import UsageError

TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*|")
_NAME: Final = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{8})(\.rdb(?:\.zst)?(?:\.enc)?|\.json)")


@dataclass(frozen=True, slots=True)
class Folder:
    """The part of a bucket that holds one stack's backups.

    Raises:
        UsageError: if ``prefix`` is not a path of letters, digits, dots, hyphens and underscores.
    """

    prefix: str
    stack: str

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise UsageError(
                f"prefix {self.prefix!r}: names of A-Z a-z 0-9 . _ - separated by single slashes, or empty"
            )

    @property
    def path(self) -> str:
        """The beginning of every key."""
        return f"{self.prefix}/{self.stack}/" if self.prefix else f"{self.stack}/"

    @property
    def claims(self) -> str:
        """The beginning of the keys by which jobs see each other."""
        return f"{self.path}claims/"

    def stem(self, taken: datetime, sha256: str) -> str:
        """Return the key of a backup without its ending."""
        utc = taken.astimezone(UTC)
        return f"{self.path}{utc:%Y/%m/%d}/{utc.strftime(TIME_FORMAT)}-{sha256[:8]}"

    def parse(self, key: str) -> Name | None:
        """Return what a key says, or None if it is not the key of a snapshot or of a manifest of this stack."""
        if not key.startswith(self.path):
            return None
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match is None:
            return None
        try:
            taken = datetime.strptime(match[1], TIME_FORMAT).replace(tzinfo=UTC)
        except ValueError:  # digits that are no date
            return None
        stem = self.stem(taken, match[2])
        return Name(key, stem, taken, match[3] == ".json") if key == stem + match[3] else None


@dataclass(frozen=True, slots=True)
class Name:
    """A key of ours. ``stem`` is what a snapshot and its manifest have in common."""

    key: str
    stem: str
    taken: datetime
    is_manifest: bool


def suffix(*, compressed: bool, encrypted: bool) -> str:
    """Return the ending of a snapshot's key."""
    return ".rdb" + (".zst" if compressed else "") + (".enc" if encrypted else "")
