"""The stored envelope: what one Redis string holds.

Layout, big-endian; the Lua scripts read only the first eleven bytes::

    0      state         V value, L lease, T tombstone
    1-8    write id      random, new with every write: the fence that a fill compares
    9      format        rises when a release can no longer read what older ones wrote
    10     codec id      which codec wrote the payload
    11     flags         1 negative (the source has nothing), 2 kept past its time because a load failed
    12-19  written       Redis server time, Unix milliseconds
    20-27  lifetime      milliseconds from ``written`` until the value is stale
    28-31  load time     microseconds the loader took, 0 if unknown (for early refresh)
    32-33  tags          length of the tag section
    34-    tag section   for each tag: length of its name, the name (UTF-8), the 8-byte token it had
    then   payload       (leases and tombstones end after byte 8)

``written`` is the time of the Redis server, estimated by the writer over its own connection, so that readers never
compare with another pod's wall clock. Redis keeps a value for its lifetime plus the window in which a stale value may
still serve. Bytes that do not decode are a miss, counted, never an error to the caller.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import Any, Final

import msgspec

VALUE: Final = b"V"
LEASE: Final = b"L"
TOMBSTONE: Final = b"T"
FORMAT: Final = 1
ID_BYTES: Final = 8

_HEADER: Final = struct.Struct(">c8sBBBQQIH")
_MAX_LOAD_US: Final = 2**32 - 1
_HEADER_BYTES: Final = _HEADER.size
_unpack_header: Final = _HEADER.unpack_from
_SECTIONS: Final = 4096  # different tag sections remembered decoded: the entries of a namespace share few

# Bits of the flags byte. Plain integers: an IntFlag costs more to make than all the rest of an entry.
NEGATIVE: Final = 1
KEPT: Final = 2
_KNOWN_FLAGS: Final = NEGATIVE | KEPT
UNPROVEN: Final = 4  # never stored: served from L1 while Redis is away

Tagged = tuple[tuple[str, bytes], ...]


class Stored(msgspec.Struct, gc=False):
    """A value entry; times in milliseconds of the Redis server's clock, load time in seconds.

    ``size`` is that of the stored bytes, and ``value`` what the codec made of the payload (see ``serializer``): MISSING
    for a negative entry, None before it is decoded.

    One Struct, because one is made for every read: it takes a tenth of the time of a frozen dataclass.
    """

    write_id: bytes
    codec_id: int
    written_ms: int
    lifetime_ms: int
    load_time: float
    payload: bytes
    flags: int = 0
    tags: Tagged = ()
    size: int = 0
    value: Any = None

    def remaining(self, server_now_ms: int) -> float:
        """Return the seconds until the value is stale: never more than its whole lifetime, negative if stale.

        The upper bound keeps a clock that jumped back, or a new master whose clock is behind, from prolonging a life.
        """
        lifetime = self.lifetime_ms
        left = self.written_ms + lifetime - server_now_ms
        return (left if left < lifetime else lifetime) / 1000  # noqa: FURB136  `min` takes twice the time


def new_write_id() -> bytes:
    """Return eight random bytes. 64 bits: a collision needs about 2**32 writes of one key inside one lease."""
    return os.urandom(ID_BYTES)


def pack(stored: Stored) -> bytes:
    """Return the bytes to store for a value; its payload is taken, not its value."""
    tags = b"".join(bytes((len(raw),)) + raw + token for raw, token in ((n.encode(), t) for n, t in stored.tags))
    header = _HEADER.pack(
        VALUE,
        stored.write_id,
        FORMAT,
        stored.codec_id,
        stored.flags,
        stored.written_ms,
        stored.lifetime_ms,
        min(int(stored.load_time * 1_000_000), _MAX_LOAD_US),
        len(tags),
    )
    return header + tags + stored.payload


def unpack(raw: bytes) -> Stored | None:
    """Return the value entry in ``raw``; None if these bytes are not one that this release can read."""
    size = len(raw)
    if size < _HEADER_BYTES:
        return None
    state, write_id, fmt, codec_id, flags, written, lifetime, load_us, tag_bytes = _unpack_header(raw)
    end = _HEADER_BYTES + tag_bytes
    if state != VALUE or fmt != FORMAT or size < end:  # cut between two tags it would read as an entry with fewer
        return None
    tags = unpack_tags(raw[_HEADER_BYTES:end]) if tag_bytes else ()
    if tags is None:
        return None
    return Stored(
        write_id, codec_id, written, lifetime, load_us / 1_000_000, raw[end:], flags & _KNOWN_FLAGS, tags, size
    )


@lru_cache(_SECTIONS)
def unpack_tags(section: bytes) -> Tagged | None:
    """Return the tags in a tag section; None if it is not one."""
    tags, at = [], 0
    while at < len(section):
        name_end = at + 1 + section[at]
        token = section[name_end : name_end + ID_BYTES]
        if len(token) != ID_BYTES:
            return None
        try:
            tags.append((section[at + 1 : name_end].decode(), token))
        except UnicodeDecodeError:
            return None
        at = name_end + ID_BYTES
    return tuple(tags)


def value_id(head: bytes) -> bytes | None:
    """Return the write id in the first nine bytes of a value; None if they are of a marker, or of nothing."""
    return head[1 : 1 + ID_BYTES] if head[:1] == VALUE and len(head) > ID_BYTES else None


def tombstone(write_id: bytes) -> bytes:
    """Return the bytes that an invalidation stores."""
    return TOMBSTONE + write_id


def lease(write_id: bytes) -> bytes:
    """Return the bytes that stand for a load in flight."""
    return LEASE + write_id


def is_marker(raw: bytes) -> bool:
    """Whether ``raw`` is a lease or a tombstone: a miss that is in order, unlike bytes that do not decode."""
    return raw[:1] in (LEASE, TOMBSTONE) and len(raw) == 1 + ID_BYTES
