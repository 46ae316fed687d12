"""Where one MessagePack object ends and the next begins: msgspec decodes only whole ones.

By the specification of the format, https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

_FIX_MAP: Final = 0x80
_FIX_ARRAY: Final = 0x90
_FIX_STR: Final = 0xA0
_NIL: Final = 0xC0
_NEGATIVE: Final = 0xE0
# First byte -> (bytes of length that follow, bytes besides, objects for each of the length).
_SIZED: Final = {
    0xC4: (1, 0, 0), 0xC5: (2, 0, 0), 0xC6: (4, 0, 0), 0xC7: (1, 1, 0), 0xC8: (2, 1, 0), 0xC9: (4, 1, 0),
    0xD9: (1, 0, 0), 0xDA: (2, 0, 0), 0xDB: (4, 0, 0), 0xDC: (2, 0, 1), 0xDD: (4, 0, 1), 0xDE: (2, 0, 2),
    0xDF: (4, 0, 2),
}  # fmt: skip
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4,
    0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
MAX_OBJECT: Final = 512 * 2**20  # what Redis would store under one key, at most


def objects(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of each object of ``file``.

    Raises:
        EOFError: if the file ends inside one.
        ValueError: for a byte that begins no object, or an object of more than 512 MiB.
    """
    while first := file.read(1):
        made = io.BytesIO()
        wanted = 1
        while wanted:
            wanted += _one(file, first, made) - 1
            if wanted:
                first = _exactly(file, 1)
        yield made.getvalue()


def _one(file: BinaryIO, first: bytes, made: io.BytesIO) -> int:
    """Copy one object without what it contains; return how many objects it contains."""
    made.write(first)
    byte = first[0]
    if byte < _FIX_MAP or byte >= _NEGATIVE:
        return 0
    if byte < _FIX_ARRAY:
        return 2 * (byte - _FIX_MAP)
    if byte < _FIX_STR:
        return byte - _FIX_ARRAY
    if byte < _NIL:
        made.write(_exactly(file, byte - _FIX_STR))
        return 0
    if byte in _FIXED:
        made.write(_exactly(file, _FIXED[byte]))
        return 0
    if byte not in _SIZED:
        raise ValueError(f"0x{byte:02x} begins no object")
    digits, besides, each = _SIZED[byte]
    length = _exactly(file, digits)
    made.write(length)
    count = int.from_bytes(length, "big")
    if made.tell() + count > MAX_OBJECT:
        raise ValueError(f"an object of more than {MAX_OBJECT} bytes")
    made.write(_exactly(file, besides + (0 if each else count)))
    return each * count


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError("the file ends inside an object")
    return data
