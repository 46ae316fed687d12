"""Where a warm-up stands, kept so that one that was killed goes on: beside the entries in Redis, or in a folder.

An old place is not worth returning to: what was warmed an hour ago may have expired again.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final, Protocol

import msgspec

from cacheclient.contract import Record
from cacheclient.keys import KeySpace
from cacheclient.remote import Records
from cacheclient.warming.items import Cursor

KEPT: Final = 3600.0  # seconds for which an interrupted warm-up goes on where it was


class Place(msgspec.Struct):
    """What one source had done when it was last noted."""

    at: Cursor = None
    read: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0
    done: bool = False


class Places(Protocol):
    """Keeps places by name."""

    async def recall(self, name: str) -> Place | None:
        """Return what was noted under ``name`` within the last hour."""

    async def note(self, name: str, place: Place) -> None:
        """Keep ``place``."""

    async def forget(self, name: str) -> None:
        """Keep nothing any more."""


class SharedPlaces:
    """Places in Redis: any process can go on. Every method may raise UnavailableError."""

    def __init__(self, records: Records, space: KeySpace) -> None:
        self._records = records
        self._space = space

    async def recall(self, name: str) -> Place | None:
        """Read the record."""
        return _decoded(await self._records.read(self._key(name)))

    async def note(self, name: str, place: Place) -> None:
        """Write the record."""
        await self._records.put(self._key(name), msgspec.json.encode(place), KEPT)

    async def forget(self, name: str) -> None:
        """Remove the record."""
        await self._records.remove(self._key(name))

    def _key(self, name: str) -> str:
        return self._space.record(Record.WARMING, f"v{self._space.version}:{name}")


class FilePlaces:
    """Places in a folder of this machine: for users who may not write such keys, or have no Redis."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    async def recall(self, name: str) -> Place | None:
        """Read the file, if it is young enough."""
        path = self._path(name)
        try:
            young = time.time() - path.stat().st_mtime < KEPT
            return _decoded(path.read_bytes()) if young else None
        except FileNotFoundError:
            return None

    async def note(self, name: str, place: Place) -> None:
        """Replace the file: a crash leaves the old one or the new one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(name)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(place))
        fresh.replace(path)

    async def forget(self, name: str) -> None:
        """Remove the file."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.json"


def _decoded(raw: bytes | None) -> Place | None:
    try:
        return msgspec.json.decode(raw, type=Place) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
