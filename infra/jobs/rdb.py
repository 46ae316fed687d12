"""What an RDB file holds, as Redis' own checker reads it.

``redis-check-rdb`` parses every key and the checksum. It counts keys of all databases together; the counts of each
database stand in the file right after the number of the database (RESIZEDB), and the checker says where that is.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from infra.jobs.errors import CorruptBackupError, JobError
from infra.jobs.manifest import Keyspace

CHECK_SECONDS: Final = 600
_AUX: Final = re.compile(r"^\[offset \d+\] AUX FIELD (\S+) = '(.*)'$", re.MULTILINE)
_DATABASE: Final = re.compile(r"^\[offset (\d+)\] Selecting DB ID (\d+)$", re.MULTILINE)
_READ: Final = re.compile(r"^\[info\] (\d+) keys read$", re.MULTILINE)
_RESIZE: Final = 0xFB


@dataclass(frozen=True, slots=True, kw_only=True)
class RdbFacts:
    """What the checker and the file say: keys per database, and the position in the replication stream."""

    keyspace: dict[str, Keyspace]
    server_version: str
    replication_id: str
    replication_offset: int


def check(path: Path, checker: Path) -> RdbFacts:
    """Let ``redis-check-rdb`` read the whole file.

    Raises:
        CorruptBackupError: if the file is damaged, cut off, or of a version that this Redis cannot load.
        JobError: if the checker cannot be run.
    """
    try:
        done = subprocess.run(
            [checker, path], capture_output=True, text=True, errors="replace", timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JobError(f"{checker} could not be run: {error}") from None
    report = done.stdout
    if done.returncode != 0 or "RDB looks OK" not in report:
        raise CorruptBackupError(f"redis-check-rdb refuses the snapshot: {_reason(report + done.stderr)}")
    aux = dict(_AUX.findall(report))
    keyspace = _keyspace(path, report)
    read = _READ.search(report)
    if read is None or int(read[1]) != sum(space.keys for space in keyspace.values()):
        raise CorruptBackupError(f"the snapshot announces {keyspace} and holds {read and read[1]} keys")
    return RdbFacts(
        keyspace=keyspace,
        server_version=aux.get("redis-ver") or aux.get("valkey-ver", ""),
        replication_id=aux.get("repl-id", ""),
        replication_offset=int(aux.get("repl-offset", "0")),
    )


def _reason(report: str) -> str:
    lines = [line for line in report.splitlines() if line.strip() and not line.startswith("[info]")]
    errors = [line for line in lines if "ERROR" in line or "rror" in line or "rong" in line or "an't" in line]
    return (errors or lines or ["it said nothing"])[0].strip()


def _keyspace(path: Path, report: str) -> dict[str, Keyspace]:
    found = {}
    with path.open("rb") as file:
        for offset, number in _DATABASE.findall(report):
            file.seek(int(offset))
            if file.read(1) != bytes((_RESIZE,)):
                raise CorruptBackupError(f"database {number} of the snapshot does not state its number of keys")
            found[number] = Keyspace(keys=_length(file), expires=_length(file))
    return found


def _length(file: BinaryIO) -> int:
    """Read a length as RDB encodes it: 6 or 14 bits in one or two bytes, or 32 or 64 bits after a marker."""
    first = file.read(1)[0]
    match first >> 6:
        case 0:
            return first
        case 1:
            return (first & 0x3F) << 8 | file.read(1)[0]
        case _:
            return int.from_bytes(file.read(8 if first & 1 else 4), "big")
