"""Access traces from files: which key came after which in somebody's real system.

Formats are told by content, not by name: text with one whole number on each line (plain, gzip or xz), or xz with
big-endian 32-bit numbers, as the traces published with cache simulators come. Lines with a lone `*` are markers in some
of them and are skipped. Keys become users 0, 1, 2, ... in the order of their first appearance.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from array import array
from dataclasses import dataclass
from itertools import cycle, islice
from typing import IO, TYPE_CHECKING, Final, cast

from examples.fingerprint.traffic import MAX_USERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_GZIP: Final = b"\x1f\x8b"
_XZ: Final = b"\xfd7zXZ\x00"
_TEXT: Final = frozenset(b"0123456789* \t\r\n")
MAX_BYTES: Final = 256 * 2**20
_ALLOWED: Final = "whole numbers, one on each line (plain, gzip or xz), or xz with big-endian 32-bit numbers"


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace: ``accesses`` holds users from 0 to ``users`` - 1."""

    name: str
    accesses: array[int]
    users: int

    @property
    def best_hit_rate(self) -> float:
        """Hit rate of a cache that starts empty and never evicts: first accesses must miss."""
        return 1 - self.users / len(self.accesses)

    def lookups(self, reader: int, readers: int) -> Iterator[int]:
        """Return the accesses of ``reader``: dealt out in turn, as a load balancer does, and again from the start."""
        return cycle(islice(self.accesses, reader, None, readers))

    def describe(self) -> str:
        """Return the trace in one line, for the report."""
        return (
            f"trace {self.name}: {len(self.accesses):,} accesses to {self.users:,} keys, played once; "
            f"at most {self.best_hit_rate:.1%} can hit"
        )


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Raises:
        ValueError: if the file cannot be read, is in none of the formats, or is too large.
    """
    try:
        content, is_xz = _content(path)
        accesses, users = _dense(_keys(content, is_xz=is_xz))
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"trace {path}: {reason}; allowed: {_ALLOWED}") from None
    return Trace(path.name, accesses, users)


def _content(path: Path) -> tuple[bytes, bool]:
    """Return what the file holds after decompression, and whether xz had compressed it."""
    with path.open("rb") as file:
        magic = file.read(len(_XZ))
    with _open(path, magic) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES // 2**20} MiB after decompression")
    return content, magic == _XZ


def _open(path: Path, magic: bytes) -> IO[bytes]:
    if magic == _XZ:
        return lzma.open(path)
    return cast("IO[bytes]", gzip.open(path)) if magic.startswith(_GZIP) else path.open("rb")


def _keys(content: bytes, *, is_xz: bool) -> Iterable[int]:
    if _TEXT.issuperset(content):
        return _numbers(content)
    if is_xz and len(content) % 4 == 0 and 0 in content:  # text has no zero byte, numbers below 2 ** 24 all have one
        return array("I", content)  # in either byte order: the numbers only tell keys apart
    raise ValueError("it holds something else")


def _numbers(content: bytes) -> Iterator[int]:
    for number, line in enumerate(content.splitlines(), 1):
        if (text := line.strip()) not in (b"", b"*"):
            if not text.isdigit():
                raise ValueError(f"line {number} is {text[:40].decode()!r}")
            yield int(text)


def _dense(keys: Iterable[int]) -> tuple[array[int], int]:
    """Return the keys renumbered in order of appearance, and how many there are."""
    users: dict[int, int] = {}
    accesses = array("I", (users.setdefault(key, len(users)) for key in keys))
    if not users:
        raise ValueError("no access in it")
    if len(users) > MAX_USERS:
        raise ValueError(f"{len(users):,} different keys, at most {MAX_USERS:,}")
    return accesses, len(users)
