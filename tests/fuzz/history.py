"""What workers record: fixed-size records in one file per worker and kind, cheap to write and to stream."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final, NamedTuple

NOTHING: Final = 0
"""The version that a read records when nothing was cached; rows begin with version 1."""

WRONG_KEY: Final = 2**32 - 1
"""The version that a read records when it got another key's row."""


class Op(IntEnum):
    """Which call read."""

    GET = 0
    GET_MANY = 1
    GET_OR_LOAD = 2
    ENTRY_L1 = 3
    ENTRY_L2 = 4
    LOAD_MANY = 5


class Mode(StrEnum):
    """How a key is written, always in the same way, so that a stale read can be laid at one door."""

    FAST = "fast"
    DURABLE = "durable"
    SET = "set"
    TAG = "tag"
    PATTERN = "pattern"


_MODES: Final = (Mode.DURABLE, Mode.FAST, Mode.TAG, Mode.SET, Mode.DURABLE, Mode.PATTERN)


def mode_of(key: int) -> Mode:
    """Return how ``key`` is written: a third of the keys durably."""
    return _MODES[key % len(_MODES)]


def short_lived(key: int) -> bool:
    """Return whether the values of ``key`` live for seconds: half of the keys of each mode."""
    return key // len(_MODES) % 2 == 1


class Read(NamedTuple):
    """One key of one read; times in monotonic seconds."""

    key: int
    op: int
    version: int
    begin: float
    end: float


class Write(NamedTuple):
    """One version: when its commit began, when invalidate or set returned, and whether that was acknowledged."""

    key: int
    acknowledged: bool
    version: int
    committed: float
    returned: float


class Hit(NamedTuple):
    """One hit of a rate limit, and what was decided. Numbers are places in the tables of ``limits``.

    Whoever is the subject is another one from time to time, the ``turn``-th.
    ``remaining`` and ``reset`` are -1 where the decision has None; ``retry`` and ``reset`` are seconds.
    """

    limiter: int
    subject: int
    turn: int
    by: int
    allowed: bool
    remaining: int
    retry: float
    reset: float
    begin: float
    end: float


_READ: Final = struct.Struct("<HBIdd")
_WRITE: Final = struct.Struct("<H?Idd")
_HIT: Final = struct.Struct("<BBIB?idddd")


class Recorder:
    """The files of one worker."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._reads = _path(folder, "reads", worker).open("wb", buffering=1 << 16)
        self._writes = _path(folder, "writes", worker).open("wb", buffering=0)
        self._hits = _path(folder, "hits", worker).open("wb", buffering=1 << 16)

    def read(self, key: int, op: Op, version: int, begin: float, end: float) -> None:
        self._reads.write(_READ.pack(key, op, version, begin, end))

    def write(self, record: Write) -> None:
        self._writes.write(_WRITE.pack(*record))

    def hit(self, record: Hit) -> None:
        self._hits.write(_HIT.pack(*record))

    def close(self) -> None:
        self._reads.close()
        self._writes.close()
        self._hits.close()


def reads(folder: Path, worker: int) -> Iterator[Read]:
    """Stream what a worker read, in the order in which the reads ended."""
    return map(Read._make, _records(_READ, _path(folder, "reads", worker)))


def writes(folder: Path, worker: int) -> list[Write]:
    """Return what a worker wrote."""
    return list(map(Write._make, _records(_WRITE, _path(folder, "writes", worker))))


def hits(folder: Path, worker: int) -> list[Hit]:
    """Return the hits of a worker."""
    return list(map(Hit._make, _records(_HIT, _path(folder, "hits", worker))))


def _path(folder: Path, kind: str, worker: int) -> Path:
    return folder / f"{kind}-{worker}"


def _records(layout: struct.Struct, path: Path) -> Iterator[tuple[object, ...]]:
    with path.open("rb") as file:
        while block := file.read(layout.size * 4096):
            yield from layout.iter_unpack(block[: len(block) - len(block) % layout.size])
