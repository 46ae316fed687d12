"""The codecs that turn a value into bytes: msgpack, JSON, and bytes as they are."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, is_typeddict

import msgspec

from cacheclient.codec.protocol import Codec
from cacheclient.errors import CodecError, ConfigurationError


class _MsgspecCodec:
    """What msgpack and JSON share: msgspec's typed encoder and decoder.

    With a type, each value is decoded once before it is stored: msgspec's encoders do not check what they get, and
    a value that no reader can decode would be a miss for as long as it lives. It costs a decode for each write.
    """

    def __init__(self, encoder: Any, decoder: Any, type: Any) -> None:  # noqa: A002
        self._encode = encoder.encode
        self._decode = decoder.decode
        derived = self.__class__.decode is not _MsgspecCodec.decode  # which may decode in a way of its own
        self.parse: Callable[[bytes], Any] = self.decode if derived else decoder.decode
        self._type = type
        self._classes = _classes(type)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; raise CodecError if it has none, or is not of the expected type."""
        try:
            encoded: bytes = self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"cannot encode {type(value).__name__}: {error}") from error
        if self._type is not Any:
            self._check(value, encoded)
        return encoded

    def decode(self, payload: bytes) -> Any:
        """Return the value of ``payload``; raise CodecError if it is not one of the expected type."""
        try:
            return self._decode(payload)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"cannot decode: {error}") from error

    def _check(self, value: Any, encoded: bytes) -> None:
        found = type(value).__name__
        if self._classes and not isinstance(value, self._classes):  # a dict with its fields would decode, too
            raise CodecError(f"expected {_name(self._type)}, got {found}")
        try:
            self._decode(encoded)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"expected {_name(self._type)}, got {found}: {error}") from error


def _classes(expected: Any) -> tuple[type, ...]:
    """Return the classes of which a value must be one; none if ``expected`` says that in another way."""
    if expected is None:
        return (type(None),)
    if get_origin(expected) in (Union, UnionType):
        members = [_classes(member) for member in get_args(expected)]
        return tuple(one for classes in members for one in classes) if all(members) else ()
    if not isinstance(expected, type) or get_origin(expected) or is_typeddict(expected):
        return ()
    return (float, int) if expected is float else (expected,)


def _name(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) and not get_origin(expected) else str(expected)


class MsgpackCodec(_MsgspecCodec):
    """MessagePack through msgspec; ``type`` may be any type msgspec knows (Struct, dataclass, dict[...], ...)."""

    id: Final = 1

    def __init__(self, type: Any = Any) -> None:  # noqa: A002  the public keyword, as in msgspec
        super().__init__(msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type), type)


class JsonCodec(_MsgspecCodec):
    """JSON through msgspec, for values that other languages or people read in Redis."""

    id: Final = 2

    def __init__(self, type: Any = Any) -> None:  # noqa: A002
        super().__init__(msgspec.json.Encoder(), msgspec.json.Decoder(type), type)


class RawCodec:
    """Bytes as they are."""

    id: Final = 3

    def encode(self, value: Any) -> bytes:
        """Return ``value``; raise CodecError if it is not bytes."""
        if not isinstance(value, bytes):
            raise CodecError(f"the raw codec takes bytes, not {type(value).__name__}")
        return value

    def decode(self, payload: bytes) -> bytes:
        """Return ``payload``."""
        return payload


def parser(codec: Codec) -> Callable[[bytes], Any]:
    """Return what decodes as ``codec`` does, but may raise any error: msgspec itself where that is behind it."""
    return codec.parse if isinstance(codec, _MsgspecCodec) else codec.decode


def for_name(name: str, type: Any = Any) -> Codec:  # noqa: A002
    """Return the codec called ``name``: msgpack, json or raw.

    Raises:
        ConfigurationError: for any other name, or a type that msgspec cannot describe.
    """
    try:
        if name == "msgpack":
            return MsgpackCodec(type)
        if name == "json":
            return JsonCodec(type)
    except TypeError as error:
        raise ConfigurationError(f"type={type!r}: {error}") from error
    if name == "raw":
        if type not in (Any, bytes):
            raise ConfigurationError(f"type={type!r}: the raw codec has bytes only")
        return RawCodec()
    raise ConfigurationError(f"codec={name!r}: one of msgpack, json, raw")
