"""Codecs: what goes in comes out, as its type; what cannot, is one kind of error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient.clock import ServerClock
from cacheclient.codec import Codec, JsonCodec, MsgpackCodec, RawCodec, for_name
from cacheclient.errors import CodecError, ConfigurationError
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


class Row(msgspec.Struct):
    name: str
    tags: list[str] = []


@dataclass
class Point:
    x: int
    y: float


@pytest.mark.parametrize("codec", [MsgpackCodec(), JsonCodec()])
@given(value=PLAIN)
def test_plain_values_come_back(codec: Codec, value: Any) -> None:
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("name", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [(Row, Row("a", ["b"])), (Point, Point(1, 2.5)), (dict[str, Point], {"p": Point(1, 2)}), (tuple[int, ...], (1, 2)),
     (bytes, b"\x00\xff")],
)  # fmt: skip
def test_typed_values_come_back_as_their_type(name: str, kind: Any, value: Any) -> None:
    codec = for_name(name, kind)
    again = codec.decode(codec.encode(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("codec", [MsgpackCodec(), MsgpackCodec(Row), JsonCodec(), JsonCodec(dict[str, Point])])
@given(payload=st.binary(max_size=60))
def test_any_bytes_decode_or_raise_one_kind_of_error(codec: Codec, payload: bytes) -> None:
    try:
        codec.decode(payload)
    except CodecError as error:
        assert str(error).startswith("cannot decode: ")  # noqa: PT017  most payloads do not raise, and that is fine


@pytest.mark.parametrize("codec", [MsgpackCodec(), JsonCodec(), RawCodec()])
@pytest.mark.parametrize("value", [object(), {1, object()}, 2**70, "\ud800", lambda: 0])
def test_a_value_without_bytes_is_refused_with_its_type(codec: Codec, value: Any) -> None:
    if isinstance(codec, JsonCodec) and isinstance(value, int):
        assert codec.decode(codec.encode(value)) == value  # JSON's numbers have no bounds
        return
    with pytest.raises(CodecError, match=type(value).__name__):
        codec.encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CodecError, match="list"):
        MsgpackCodec().encode(endless)


def test_deeply_nested_bytes_are_an_error_of_ours() -> None:
    with pytest.raises(CodecError):
        MsgpackCodec().decode(b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(CodecError):
        JsonCodec().decode(b"[" * 100_000)


def test_raw_bytes_stay_as_they_are() -> None:
    assert RawCodec().decode(RawCodec().encode(b"\x00x")) == b"\x00x"


def test_names_and_types_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"codec='pickle': one of msgpack, json, raw"):
        for_name("pickle")
    with pytest.raises(ConfigurationError, match=r"^type="):
        for_name("msgpack", Row | Point)


def test_codec_ids_differ() -> None:
    assert len({MsgpackCodec.id, JsonCodec.id, RawCodec.id}) == 3


class Shouting(MsgpackCodec):
    def decode(self, payload: bytes) -> Any:
        return super().decode(payload).upper()


def test_what_a_codec_derived_from_ours_decodes_is_what_readers_get() -> None:
    serializer = Serializer(Shouting(), ServerClock(), Stats())
    data, _ = serializer.seal("low", serializer.encode("low", "k"), 60.0)
    found = serializer.load(data, "k")
    assert found is not None
    assert found.value == "LOW"
