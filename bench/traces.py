"""Access traces in the two formats that cache research publishes them in."""

from __future__ import annotations

import gzip
import lzma
from array import array
from pathlib import Path

from bench.rounds import BenchError

_SKIPPED = {"", "*"}  # the LIRS traces mark with an asterisk where their authors began to count


def read(folder: Path) -> dict[str, list[int]]:
    """Return the keys of every trace in ``folder``: ``.gz`` one whole number a line, ``.xz`` big-endian 32-bit keys.

    Raises:
        BenchError: if there is no trace, or a file is not in its format.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        reader = {".gz": _lines, ".xz": _words}.get(path.suffix)
        if reader is not None:
            try:
                found[path.name.split(".", maxsplit=1)[0]] = reader(path)
            except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
                raise BenchError(f"trace {path}: {error}") from error
    if not found:
        raise BenchError(f"--traces {folder}: a folder with .gz (one key a line) or .xz (32-bit keys) files is needed")
    return found


def _lines(path: Path) -> list[int]:
    with gzip.open(path, "rt", encoding="ascii") as file:
        return [int(line) for line in file if line.strip() not in _SKIPPED]


def _words(path: Path) -> list[int]:
    keys = array("I", lzma.decompress(path.read_bytes()))
    keys.byteswap()  # the machines we run on are little-endian
    return keys.tolist()
