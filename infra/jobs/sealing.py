"""Compression and encryption of a snapshot: streams from file to file, never a whole snapshot in memory.

Encryption is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar: Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance, CRYPTO 2015) over AES-256-GCM, as age and Tink have it: chunks of 1 MiB, each with its
number and a mark of the last one in its nonce, so that chunks that were changed, exchanged, repeated or cut off do not
decrypt. Each file has a key of its own (HKDF over a random salt), so nonces cannot meet across files.

Layout: ``CSBAK1``, length of the key id (1 byte), key id, salt (32 bytes), chunks (each 16 bytes longer than its text).
The header is the associated data of every chunk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from infra.jobs.errors import CorruptBackupError, UsageError

CHUNK: Final = 1024 * 1024
_MAGIC: Final = b"CSBAK1"
_TAG: Final = 16
_SALT: Final = 32
_KEY: Final = 32
_INFO: Final = b"cachestack backup 1"
_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Keys:
    """Encryption keys by id: one file each in a folder, named by its id. ``active`` encrypts, all decrypt."""

    folder: Path | None
    active: str = ""

    def __post_init__(self) -> None:
        if self.active and not _KEY_ID.fullmatch(self.active):
            raise UsageError(f"encryption key id {self.active!r}: 1 to 64 of A-Z a-z 0-9 . _ - (the name of a file)")
        if self.active and self.folder is None:
            raise UsageError(f"encryption key id {self.active!r} is given, but no folder with keys")

    def key(self, key_id: str) -> bytes:
        """Return the 32 secret bytes of a key: the file holds them raw, or in base64.

        Raises:
            UsageError: if there is no such file, or it holds something else. No message shows what it holds.
        """
        if self.folder is None or not _KEY_ID.fullmatch(key_id):
            raise UsageError(f"the backup is encrypted with the key {key_id!r}, and no folder with keys is given")
        try:
            content = (self.folder / key_id).read_bytes()
        except OSError as error:
            raise UsageError(f"encryption key {key_id!r} cannot be read: {error.strerror}") from None
        if len(content) == _KEY:
            return content
        try:
            decoded = base64.b64decode(content.strip(), validate=True)
        except (binascii.Error, ValueError):
            decoded = b""
        if len(decoded) != _KEY:
            raise UsageError(f"encryption key {key_id!r}: 32 bytes, raw or in base64 (openssl rand -base64 32)")
        return decoded


@dataclass(frozen=True, slots=True)
class Sealed:
    """A file as it was written: bytes and digest."""

    size: int
    sha256: str


def seal(source: Path, target: Path, *, compress: bool, keys: Keys, advance: Advance) -> Sealed:
    """Write ``source`` to ``target``, compressed and encrypted as wanted; ``advance`` is told the bytes read.

    Raises:
        UsageError: if the active key cannot be used.
        OSError: if a file cannot be read or written, as on a full disk.
    """
    with source.open("rb") as file:
        parts: Iterable[bytes] = _chunks(file, advance)
        if compress:
            parts = _compressed(parts)
        if keys.active:
            parts = _encrypted(parts, keys.active, keys.key(keys.active))
        return _write(target, parts)


def unseal(source: Path, target: Path, *, compressed: bool, key_id: str, keys: Keys, advance: Advance) -> Sealed:
    """Undo :func:`seal`; ``target`` is complete only if no exception was raised.

    Raises:
        CorruptBackupError: if the key is another one, or bytes were changed, moved or cut off.
        UsageError: if the key cannot be used.
        OSError: if a file cannot be read or written.
    """
    with source.open("rb") as file:
        parts: Iterable[bytes] = (
            _decrypted(file, key_id, keys.key(key_id), advance) if key_id else _chunks(file, advance)
        )
        if compressed:
            parts = _decompressed(parts)
        return _write(target, parts)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(target: Path, parts: Iterable[bytes]) -> Sealed:
    sha256, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for part in parts:
            sha256.update(part)
            size += file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return Sealed(size, sha256.hexdigest())


def _chunks(file: BinaryIO, advance: Advance, size: int = CHUNK) -> Iterator[bytes]:
    while chunk := file.read(size):
        advance(len(chunk))
        yield chunk


def _compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    packer = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


def _decompressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    try:
        for part in parts:
            if text := unpacker.decompress(part):
                yield text
    except zstandard.ZstdError as error:
        raise CorruptBackupError(f"the snapshot cannot be decompressed: {error}") from None
    if not unpacker.eof:
        raise CorruptBackupError("the snapshot cannot be decompressed: its end is missing")


@dataclass(slots=True)
class _Stream:
    """The cipher of one file: which chunk comes next, and whether it is the last, is part of every nonce."""

    cipher: AESGCM
    number: int = field(default=0)

    def nonce(self, *, last: bool) -> bytes:
        self.number += 1
        return (self.number - 1).to_bytes(11, "big") + bytes((last,))


def _stream(key: bytes, header: bytes) -> _Stream:
    own = HKDF(algorithm=SHA256(), length=_KEY, salt=header[-_SALT:], info=_INFO).derive(key)
    return _Stream(AESGCM(own))


def _encrypted(parts: Iterable[bytes], key_id: str, key: bytes) -> Iterator[bytes]:
    header = _MAGIC + bytes((len(key_id),)) + key_id.encode() + os.urandom(_SALT)
    stream = _stream(key, header)
    yield header
    held = bytearray()
    for part in parts:
        held += part
        while len(held) > CHUNK:  # more than one: the last chunk, full or not, is marked as such below
            yield stream.cipher.encrypt(stream.nonce(last=False), bytes(held[:CHUNK]), header)
            del held[:CHUNK]
    yield stream.cipher.encrypt(stream.nonce(last=True), bytes(held), header)


def _decrypted(file: BinaryIO, key_id: str, key: bytes, advance: Advance) -> Iterator[bytes]:
    header = file.read(len(_MAGIC) + 1 + len(key_id) + _SALT)
    if not header.startswith(_MAGIC + bytes((len(key_id),)) + key_id.encode()):
        raise CorruptBackupError(f"the snapshot is not one that the key {key_id!r} has encrypted")
    advance(len(header))
    stream = _stream(key, header)
    chunk = file.read(CHUNK + _TAG)
    while True:
        following = file.read(CHUNK + _TAG)
        try:
            yield stream.cipher.decrypt(stream.nonce(last=not following), chunk, header)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            raise CorruptBackupError(
                f"the snapshot cannot be decrypted with the key {key_id!r}: another key, or bytes changed or cut off"
            ) from None
        advance(len(chunk))
        if not following:
            return
        chunk = following
