"""Keys and stored entries: pure, so most of it by properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from cacheclient import entry
from cacheclient.entry import Stored
from cacheclient.errors import ConfigurationError
from cacheclient.keys import MAX_ID_BYTES, KeySpace

ENTRIES = st.builds(
    Stored,
    write_id=st.binary(min_size=8, max_size=8),
    codec_id=st.integers(0, 255),
    written_ms=st.integers(0, 2**63),
    lifetime_ms=st.integers(0, 2**40),
    load_time=st.integers(0, 2**32 - 1).map(lambda us: us / 1_000_000),
    payload=st.binary(max_size=200),
)


def test_a_key_is_namespace_version_and_id() -> None:
    assert KeySpace("profile", 3).full("user:42") == "profile:v3:user:42"


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=100), st.integers(1, 10**6))
def test_short_undoes_full(key: str, version: int) -> None:
    space = KeySpace("ns", version)
    assert space.short(space.full(key)) == key
    assert KeySpace("ns", version + 1).short(space.full(key)) is None
    assert KeySpace("n", version).short(space.full(key)) is None


@pytest.mark.parametrize("version", [1, 10])
def test_a_version_is_no_prefix_of_another(version: int) -> None:
    assert KeySpace("ns", version).short(KeySpace("ns", 11 - version).full("a")) is None


@pytest.mark.parametrize("namespace", ["", "A", "a:b", "1a", "a b", "a*", "a" * 65, "é", "a\n"])
def test_a_namespace_that_cannot_be_is_refused_by_name(namespace: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^namespace=.*a-z 0-9"):
        KeySpace(namespace)


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", True, None])
def test_a_version_that_cannot_be_is_refused_by_name(version: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^version=.*from 1"):
        KeySpace("a", version)


@pytest.mark.parametrize("key", ["a" * MAX_ID_BYTES, "é" * (MAX_ID_BYTES // 2), " ", "*", "a:b"])
def test_keys_up_to_the_limit_are_taken(key: str) -> None:
    assert KeySpace("a").full(key).endswith(key)


@pytest.mark.parametrize("key", ["\ud800", "a\u2028b", "\x7f", "tab\t"])
def test_keys_that_do_not_print_are_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"printable"):
        KeySpace("a").full(key)


@given(ENTRIES)
def test_unpack_undoes_pack(stored: Stored) -> None:
    again = entry.unpack(entry.pack(stored))
    assert again is not None
    assert structs.replace(again, load_time=0) == structs.replace(stored, load_time=0, size=len(entry.pack(stored)))
    assert again.load_time == pytest.approx(stored.load_time, abs=2e-6)


@given(ENTRIES, st.integers(0, 40))
def test_cut_bytes_are_no_entry_and_no_error(stored: Stored, length: int) -> None:
    raw = entry.pack(stored)[:length]
    again = entry.unpack(raw)
    whole = entry.pack(structs.replace(stored, payload=b""))
    assert (again is None) == (length < len(whole))


@given(st.binary(max_size=100))
def test_no_bytes_raise(raw: bytes) -> None:
    stored = entry.unpack(raw)
    if stored is not None:
        assert raw.startswith(entry.VALUE)
        assert not entry.is_marker(raw)


@given(ENTRIES, st.integers(9, 9).flatmap(lambda _: st.integers(2, 255)))
def test_another_format_is_no_entry(stored: Stored, fmt: int) -> None:
    raw = bytearray(entry.pack(stored))
    raw[9] = fmt
    assert entry.unpack(bytes(raw)) is None


def test_markers_are_told_from_values_and_junk() -> None:
    assert entry.is_marker(entry.tombstone(b"12345678"))
    assert entry.is_marker(entry.LEASE + b"12345678")
    for raw in (b"", b"T", b"Lorem ipsum", b"V12345678", entry.tombstone(b"123456789")):
        assert not entry.is_marker(raw)


def test_a_load_longer_than_the_field_is_stored_as_the_longest() -> None:
    stored = entry.unpack(entry.pack(Stored(bytes(8), 1, 0, 0, 10_000.0, b"")))
    assert stored is not None
    assert stored.load_time == pytest.approx(2**32 / 1e6, abs=1e-3)


def test_a_life_is_never_longer_than_it_was_given() -> None:
    stored = Stored(bytes(8), 1, 1_000_000, 5_000, 0, b"")
    assert stored.remaining(1_000_000) == 5
    assert stored.remaining(1_002_000) == 3
    assert stored.remaining(1_006_000) == -1
    assert stored.remaining(0) == 5  # a server's clock that jumped back prolongs nothing


def test_write_ids_differ() -> None:
    assert len({entry.new_write_id() for _ in range(1000)}) == 1000
