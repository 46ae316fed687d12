"""Exported entries in files: JSON lines, CSV, or MessagePack objects one after the other. Read a piece at a time.

A line that cannot be read is told with its number and passed over. Several files (a glob) are read in the order of
their names. The place in a file is a byte offset, so going on costs nothing.
"""

from __future__ import annotations

import asyncio
import csv
import glob
import os
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from cacheclient.batch import ManyLoader
from cacheclient.warming.filling import SourceError
from cacheclient.warming.items import Bad, Cursor, Item
from cacheclient.warming.sources.msgpack_stream import objects
from cacheclient.warming.sources.records import Fields

FORMATS: Final = ("jsonl", "csv", "msgpack")
_PIECE: Final = 256  # records read by a thread at a time: the event loop never waits for a disk
_MAX_LINE: Final = 16 * 2**20  # bytes; a longer one is no line


class Record(NamedTuple):
    """One record of a file: what it says or why it cannot be read, its number from 1, and where the next begins."""

    data: object
    fault: str
    number: int
    end: int


Reader = Callable[[BinaryIO, int], Iterator[Record]]


def _sizes(pattern: str) -> dict[str, int]:
    return {path: os.path.getsize(path) for path in sorted(glob.glob(pattern))}  # noqa: PTH202, PTH207  one string


@dataclass(slots=True, kw_only=True)
class Files:
    """A source of files.

    Attributes:
        path: of one file, or a glob of several.
        format: jsonl, csv or msgpack; empty: by the ending of each name.
        fields: which fields are what. A CSV file names its fields in its first line; values are texts there.
    """

    name: str
    path: str
    priority: int = 1
    plans: Collection[str] = ("full",)
    format: str = ""
    fields: Fields = field(default_factory=Fields)
    timeout: float = 30.0
    load_many: ManyLoader[Any] | None = None
    _sizes: dict[str, int] = field(default_factory=dict, init=False, repr=False)  # bytes by path, when reading began

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        """Read the files; ``after`` is (path, offset, number of the last record).

        Raises:
            SourceError: if there is no such file, or its format is not known.
        """
        self._sizes = await asyncio.to_thread(_sizes, self.path)
        if not self._sizes:
            raise SourceError(f"{self.path}: there is no such file")
        for path in self._sizes:
            start, number = 0, 0
            if after is not None:
                if path < after[0]:
                    continue
                if path == after[0]:
                    _, start, number = after
            async for item in self._read(path, start, number):
                yield item

    def share(self, at: Cursor) -> float | None:
        """Return the bytes before ``at`` over all bytes; 0 before reading begins."""
        total = sum(self._sizes.values())
        if at is None or not total:
            return 0.0
        before = sum(size for path, size in self._sizes.items() if path < at[0]) + int(at[1])
        return min(1.0, before / total)

    async def _read(self, path: str, start: int, number: int) -> AsyncIterator[Item | Bad]:
        with await asyncio.to_thread(open, path, "rb") as file:
            records = self._reader(path)(file, start)
            while piece := await asyncio.to_thread(lambda: list(islice(records, _PIECE))):
                for record in piece:
                    line = record.number + number
                    at, where = [path, record.end, line], f"{path}:{line}"
                    if record.fault:
                        yield Bad(where=where, why=record.fault, at=at)
                    else:
                        yield self.fields.item(record.data, at=at, where=where)

    def _reader(self, path: str) -> Reader:
        readers: Mapping[str, Reader] = {"jsonl": json_lines, "csv": csv_lines, "msgpack": packed}
        endings = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".msgpack": "msgpack", ".mp": "msgpack"}
        chosen = self.format or endings.get(os.path.splitext(path)[1], "")  # noqa: PTH122
        if chosen not in readers:
            raise SourceError(f"{path}: say its format: {', '.join(FORMATS)}")
        return readers[chosen]


def json_lines(file: BinaryIO, start: int) -> Iterator[Record]:
    """Yield the records of a file of JSON lines from ``start``; empty lines are none."""
    file.seek(start)
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if line.isspace():
            continue
        try:
            yield Record(msgspec.json.decode(line), "", number, file.tell())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Record(None, f"no JSON: {error}", number, file.tell())


def csv_lines(file: BinaryIO, start: int) -> Iterator[Record]:
    """Yield the records of a CSV file from ``start``; its first line names the fields. No record spans two lines."""
    names = next(csv.reader([file.readline(_MAX_LINE).decode("utf-8-sig")]), [])
    first = file.tell()
    file.seek(max(start, first))
    number = 0 if start else 1  # the line of the names counts
    while line := file.readline(_MAX_LINE):
        number += 1
        if line.isspace():
            continue
        try:
            row = next(csv.reader([line.decode()], strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            yield Record(None, f"no CSV: {error}", number, file.tell())
            continue
        if len(row) != len(names):
            yield Record(None, f"{len(row)} fields, not {len(names)}", number, file.tell())
        else:
            yield Record(dict(zip(names, row, strict=True)), "", number, file.tell())


def packed(file: BinaryIO, start: int) -> Iterator[Record]:
    """Yield the objects of a MessagePack file from ``start``. Past one that is broken nothing can be found."""
    file.seek(start)
    end, number = start, 0
    try:
        for raw in objects(file):
            number += 1
            end += len(raw)
            try:
                yield Record(msgspec.msgpack.decode(raw), "", number, end)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield Record(None, f"no MessagePack: {error}", number, end)
    except (EOFError, struct.error, ValueError) as error:
        file.seek(0, os.SEEK_END)
        yield Record(None, f"no MessagePack, and the rest is lost: {error}", number + 1, file.tell())
