"""The manifest of a backup: written last, so a backup is there if and only if its manifest is. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from infra.jobs.names import Folder

FORMAT: Final = 1
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]
Kind = Literal["scheduled", "manual", "safety"]


class Keyspace(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of one database, and how many of them have a TTL."""

    keys: Count
    expires: Count


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a snapshot. Sizes in bytes, times in UTC; ``object_*`` is what lies in the bucket.

    ``keyspace`` is read from the snapshot itself, not asked of the server, so it is exact.
    """

    format: Literal[1]
    stack: str
    kind: Kind
    taken: datetime
    finished: datetime
    object_key: str
    object_bytes: Count
    object_sha256: Digest
    rdb_bytes: Count
    rdb_sha256: Digest
    compression: Literal["none", "zstd"]
    encryption_key_id: str
    keyspace: dict[str, Keyspace]
    server_version: str
    source_node: str
    source_role: Literal["replica", "master"]
    replication_id: str
    replication_offset: Count
    tool_version: str

    @property
    def keys(self) -> int:
        """Keys of all databases."""
        return sum(space.keys for space in self.keyspace.values())

    @property
    def expires(self) -> int:
        """Keys with a TTL."""
        return sum(space.expires for space in self.keyspace.values())


def encode(manifest: Manifest) -> bytes:
    """Return the manifest as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(text: bytes, key: str, folder: Folder) -> Manifest | None:
    """Return the manifest stored under ``key``, or None if it is none, or is about another object than its own.

    A manifest may only name the snapshot beside it: whoever can write one must not be able to have others deleted.
    """
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, ValueError):
        return None
    mine, other = folder.parse(key), folder.parse(manifest.object_key)
    if mine is None or other is None or other.is_manifest or mine.stem != other.stem:
        return None
    return manifest if manifest.stack == folder.stack and manifest.taken.tzinfo is not None else None
