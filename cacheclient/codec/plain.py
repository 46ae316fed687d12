"""The codecs that turn a value into bytes: msgpack, JSON, and bytes as they are."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cacheclient.codec.protocol import Codec
from cacheclient.errors import CodecError, ConfigurationError


class _MsgspecCodec:
    """What msgpack and JSON share: msgspec's typed encoder and decoder."""

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self._encode = encoder.encode
        self._decode = decoder.decode

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; raise CodecError if it has none."""
        try:
            encoded: bytes = self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"cannot encode {type(value).__name__}: {error}") from error
        return encoded

    def decode(self, payload: bytes) -> Any:
        """Return the value of ``payload``; raise CodecError if it is not one of the expected type."""
        try:
            return self._decode(payload)
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise CodecError(f"cannot decode: {error}") from error


class MsgpackCodec(_MsgspecCodec):
    """MessagePack through msgspec; ``type`` may be any type msgspec knows (Struct, dataclass, dict[...], ...)."""

    id: Final = 1

    def __init__(self, type: Any = Any) -> None:  # noqa: A002  the public keyword, as in msgspec
        super().__init__(msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type))


class JsonCodec(_MsgspecCodec):
    """JSON through msgspec, for values that other languages or people read in Redis."""

    id: Final = 2

    def __init__(self, type: Any = Any) -> None:  # noqa: A002
        super().__init__(msgspec.json.Encoder(), msgspec.json.Decoder(type))


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
        return RawCodec()
    raise ConfigurationError(f"codec={name!r}: one of msgpack, json, raw")
