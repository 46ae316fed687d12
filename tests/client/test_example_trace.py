"""Traces: told by content, renumbered, dealt out to readers, and refused in one line when they are something else."""

from __future__ import annotations

import gzip
import lzma
import struct
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from examples.fingerprint import trace
from examples.fingerprint.trace import read_trace

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [17, 4_000_000_000, 17, 5, 17, 5, 9]
DENSE = [0, 1, 0, 2, 0, 2, 3]
TEXT = b"".join(b"%d\n" % key for key in KEYS)
BINARY = struct.pack(f">{len(KEYS)}I", *KEYS)


@pytest.mark.parametrize(
    "content",
    [TEXT, gzip.compress(TEXT, mtime=0), lzma.compress(TEXT), lzma.compress(BINARY), b"*\n17 \r\n\n" + TEXT[3:]],
    ids=["plain", "gzip", "xz", "xz binary", "markers and blanks"],
)
def test_each_format_is_told_by_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(content)

    read = read_trace(path)

    assert list(read.accesses) == DENSE
    assert read.users == 4
    assert read.describe() == "trace some.file: 7 accesses to 4 keys, played once; at most 42.9% can hit"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no access in it"),
        (b"*\n\n", "no access in it"),
        (b"1\n2\nthree\n", "it holds something else"),
        (b"1\n2 3\n", "line 2 is '2 3'"),
        (gzip.compress(b"PNG\x00\x01\x02\x03", mtime=0), "it holds something else"),
        (lzma.compress(b"readable text"), "it holds something else"),
        (lzma.compress(BINARY[:-1]), "it holds something else"),
        (gzip.compress(TEXT, mtime=0)[:-6], "Compressed file ended before the end-of-stream marker"),
        (lzma.compress(TEXT)[:-6], "Compressed file ended before the end-of-stream marker"),
        (b"\x1f\x8bnot gzip", "Unknown compression method"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_says_what_is_allowed(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)

    with pytest.raises(ValueError, match="allowed: whole numbers") as raised:
        read_trace(path)

    assert str(raised.value).startswith(f"trace {path}: {reason}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("place", "reason"), [("missing", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_alike(tmp_path: Path, place: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{reason}.*; allowed:"):
        read_trace(tmp_path / place)


@pytest.mark.parametrize(("limit", "name"), [("MAX_BYTES", "MiB after decompression"), ("MAX_USERS", "different keys")])
def test_a_trace_beyond_the_limits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, name: str
) -> None:
    (tmp_path / "long").write_bytes(TEXT)
    monkeypatch.setattr(trace, limit, 3)
    with pytest.raises(ValueError, match=name):
        read_trace(tmp_path / "long")


def test_readers_take_turns_and_start_again_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(TEXT)
    read = read_trace(tmp_path / "t")

    dealt = [list(islice(read.lookups(reader, 3), 5)) for reader in range(3)]

    assert dealt == [[0, 2, 3, 0, 2], [1, 0, 1, 0, 1], [0, 2, 0, 2, 0]]


def test_a_trace_knows_the_best_hit_rate_that_any_cache_can_have(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(TEXT)
    assert read_trace(tmp_path / "t").best_hit_rate == pytest.approx(3 / 7)
