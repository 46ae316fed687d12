"""Compression around a codec: Zstandard or LZ4.

Payload: one mark byte, then the inner codec's bytes as they are (0), a Zstandard frame (1) or an LZ4 frame (2). Frames
are the standard formats (RFC 8878; the LZ4 frame format), always with content size and checksum. So every reader knows
what it has before it decompresses: the writer's algorithm, level and threshold may change while entries of both kinds
are read, and damaged bytes never decode to another value.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from cacheclient.codec.protocol import Codec, Layer, optional, stack_id
from cacheclient.errors import CodecError, ConfigurationError

Algorithm = Literal["zstd", "lz4"]
_EXTRA: Final = "compress"
_PLAIN: Final = b"\x00"
_LEVELS: Final = {"zstd": range(1, 23), "lz4": range(17)}
_DEFAULT_LEVELS: Final = {"zstd": 3, "lz4": 0}


class _Frames(Protocol):
    """One algorithm: bytes to a frame and back."""

    def compress(self, data: bytes) -> bytes:
        """Return the frame of ``data``."""

    def decompress(self, frame: bytes, limit: int) -> bytes:
        """Return what ``frame`` holds, at most ``limit`` bytes; raise CodecError if it is damaged or holds more."""


class _Zstd(threading.local):
    """Zstandard. Its contexts must not be used by two threads at once, so each thread gets its own."""

    def __init__(self, level: int, dictionary: Any) -> None:
        self._zstd = optional("zstandard", _EXTRA)
        self._compressor = self._zstd.ZstdCompressor(level=level, dict_data=dictionary, write_checksum=True)
        self._decompressor = self._zstd.ZstdDecompressor(dict_data=dictionary)

    def compress(self, data: bytes) -> bytes:
        frame: bytes = self._compressor.compress(data)
        return frame

    def decompress(self, frame: bytes, limit: int) -> bytes:
        try:
            _check_size(self._zstd.get_frame_parameters(frame).content_size, limit)
            data: bytes = self._decompressor.decompress(frame, allow_extra_data=False)
        except self._zstd.ZstdError as error:
            raise CodecError(f"cannot decompress: {error}") from error
        return data


class _Lz4:
    """LZ4, in its frame format."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._lz4 = optional("lz4.frame", _EXTRA)

    def compress(self, data: bytes) -> bytes:
        frame: bytes = self._lz4.compress(data, compression_level=self._level, content_checksum=True, store_size=True)
        return frame

    def decompress(self, frame: bytes, limit: int) -> bytes:
        decompressor = self._lz4.LZ4FrameDecompressor()
        try:
            size = self._lz4.get_frame_info(frame)["content_size"]
            _check_size(size, limit)
            data: bytes = decompressor.decompress(frame, max_length=size)
        except (RuntimeError, ValueError, EOFError) as error:  # what the lz4 package raises for bytes that are no frame
            raise CodecError(f"cannot decompress: {error}") from error
        if not decompressor.eof or decompressor.unused_data:
            raise CodecError("cannot decompress: the LZ4 frame is cut off, or something follows it")
        return data


class Compressed:
    """Compresses what ``inner`` encodes, if that makes it smaller.

    Attributes:
        id: 4 more than the id of a codec of cachestack's; the one given, around a codec of your own.
    """

    def __init__(
        self,
        inner: Codec,
        algorithm: Algorithm = "zstd",
        *,
        level: int | None = None,
        min_bytes: int = 256,
        max_bytes: int = 64 * 2**20,
        dictionary: bytes | None = None,
        id: int | None = None,  # noqa: A002  the name in Codec
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: any codec that is not a wrapper.
            algorithm: ``zstd`` (smaller) or ``lz4`` (faster); either reads what the other wrote.
            level: 1 to 22 for zstd (default 3), 0 to 16 for lz4 (default 0): higher is smaller and slower.
            min_bytes: encoded values below this many bytes stay as they are.
            max_bytes: encoded values above this are refused, both ways: a few bytes in Redis may claim to be gigabytes.
            dictionary: what ``train`` returned, for zstd: makes small values that resemble each other much smaller.
                Entries of another dictionary are misses; raise the namespace's version with a new dictionary, so that
                pods with the old and the new one do not overwrite each other's entries.
            id: 16 to 255, only around a codec of your own.

        Raises:
            ConfigurationError: if a value is not as said above, or the extra ``compress`` is not installed.
        """
        if algorithm not in _LEVELS:
            raise ConfigurationError(f"algorithm={algorithm!r}: zstd or lz4")
        level = _DEFAULT_LEVELS[algorithm] if level is None else level
        _check("level", level, _LEVELS[algorithm][0], _LEVELS[algorithm][-1])
        _check("min_bytes", min_bytes, 1, 2**30)
        _check("max_bytes", max_bytes, min_bytes, 2**30)
        if dictionary is not None and algorithm != "zstd":
            raise ConfigurationError(f"dictionary: only with algorithm='zstd', not {algorithm!r}")
        self.id = stack_id(Layer.COMPRESSED, inner, id)
        self._inner = inner
        self._min_bytes = min_bytes
        self._max_bytes = max_bytes
        levels = {**_DEFAULT_LEVELS, algorithm: level}
        self._frames: dict[bytes, _Frames] = {
            b"\x01": _Zstd(levels["zstd"], _load(dictionary, levels["zstd"])),
            b"\x02": _Lz4(levels["lz4"]),
        }
        self._mark = b"\x01" if algorithm == "zstd" else b"\x02"

    def __repr__(self) -> str:
        return f"Compressed({self._inner!r})"

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; raise CodecError if it has none, or more than ``max_bytes``."""
        data = self._inner.encode(value)
        if len(data) > self._max_bytes:
            raise CodecError(f"the value has {len(data)} bytes encoded, more than max_bytes={self._max_bytes}")
        if len(data) >= self._min_bytes:
            frame = self._frames[self._mark].compress(data)
            if len(frame) < len(data):
                return self._mark + frame
        return _PLAIN + data

    def decode(self, payload: bytes) -> Any:
        """Return the value of ``payload``; raise CodecError if it is damaged or larger than ``max_bytes``."""
        mark, body = payload[:1], payload[1:]
        if mark == _PLAIN:
            return self._inner.decode(body)
        frames = self._frames.get(mark)
        if frames is None:
            raise CodecError(f"cannot decompress: unknown mark {mark!r}")
        return self._inner.decode(frames.decompress(body, self._max_bytes))


def train(samples: Sequence[bytes], size: int = 16 * 1024) -> bytes:
    """Return a Zstandard dictionary for values like ``samples``.

    Args:
        samples: encoded values (``inner.encode(value)``) as they are in production: hundreds at least, better
            thousands, together about 100 times ``size`` (the advice of the zstd manual).
        size: bytes of the dictionary at most, 256 to 1 MiB.

    Raises:
        ConfigurationError: if the samples are too few or too small to learn from, or the extra is not installed.
    """
    _check("size", size, 256, 2**20)
    zstd = optional("zstandard", _EXTRA)
    try:
        trained: bytes = zstd.train_dictionary(size, list(samples)).as_bytes()
    except (zstd.ZstdError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"samples: {len(samples)} are not enough to learn from ({error}); "
            "give hundreds of encoded values (bytes), together about 100 times the dictionary's size"
        ) from error
    return trained


def _load(dictionary: bytes | None, level: int) -> Any:
    """Return the dictionary, prepared for all threads. Only a trained one has an id, by which a reader knows it."""
    if dictionary is None:
        return None
    loaded = optional("zstandard", _EXTRA).ZstdCompressionDict(dictionary)
    if loaded.dict_id() == 0:
        raise ConfigurationError("dictionary: not a trained Zstandard dictionary; cacheclient.codec.train makes one")
    loaded.precompute_compress(level)
    return loaded


def _check_size(size: int, limit: int) -> None:
    # Nothing is ever compressed to a frame of nothing, or to one that does not say its size (which reads as 0 in an
    # LZ4 header and as 2**64-1 in a Zstandard one).
    if not 0 < size <= limit:
        raise CodecError(f"cannot decompress: the frame says that it holds {size} bytes; 1 to {limit} are allowed")


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{name}={value!r}: a whole number from {low} to {high}")
