"""What a codec is, and the ids by which stored entries name theirs."""

from __future__ import annotations

from enum import IntFlag
from importlib import import_module
from typing import Any, Final, Protocol, runtime_checkable

from cacheclient.errors import ConfigurationError

FIRST_OWN_ID: Final = 16  # 1-15 are cachestack's, 16-255 the application's

PLAIN: Final = {1: "msgpack", 2: "json", 3: "raw"}  # codecs without layers, by the id stored with an entry


class Codec(Protocol):
    """Turns values into bytes and back.

    ``id`` is stored with each entry; another codec's entry is a miss. 1-15 are cachestack's, 16-255 the application's.
    """

    @property
    def id(self) -> int:
        """The byte stored with each entry."""

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; raise CodecError if it has none."""

    def decode(self, payload: bytes) -> Any:
        """Return the value of ``payload``; raise CodecError if it is not one."""


@runtime_checkable
class KeyedCodec(Codec, Protocol):
    """A codec whose bytes are good for one Redis key only: moved to another key, they do not decode."""

    def encode_for(self, key: str, value: Any) -> bytes:
        """Return the bytes of ``value`` under ``key``; raise CodecError if it has none."""

    def decode_for(self, key: str, payload: bytes) -> Any:
        """Return the value of ``payload``, which stands under ``key``; raise CodecError if it was not made for it."""


class Layer(IntFlag):
    """What a wrapper adds to the id of a codec of cachestack's: 1-3 plain, then one bit for each wrapper."""

    COMPRESSED = 4
    ENCRYPTED = 8


def stack_id(layer: Layer, inner: Codec, given: int | None) -> int:
    """Return the id of ``layer`` around ``inner``.

    Raises:
        ConfigurationError: if the order of wrappers makes no sense, or the id cannot be the stack's.
    """
    name = str(layer.name).title()
    if inner.id < FIRST_OWN_ID:
        if inner.id >= layer:
            raise ConfigurationError(f"{name}(inner={inner!r}): each wrapper once, and Encrypted outside Compressed")
        if given is not None:
            raise ConfigurationError(f"{name}(id={given!r}): only for a codec of your own; cachestack's have theirs")
        return inner.id | layer
    if given is None or isinstance(given, bool) or not FIRST_OWN_ID <= given <= 255 or given == inner.id:  # noqa: PLR2004  a byte
        raise ConfigurationError(
            f"{name}(id={given!r}): around a codec of your own a whole number from {FIRST_OWN_ID} to 255, "
            f"other than its own ({inner.id})"
        )
    return given


def codec_name(codec_id: int) -> str:
    """Return what people call the codec of this id: ``msgpack``, ``json+compressed+encrypted``, ``own (17)``."""
    if codec_id >= FIRST_OWN_ID:
        return f"own ({codec_id})"
    layers = (layer for layer in Layer if codec_id & layer)
    return "+".join([PLAIN.get(codec_id & 3, "unknown"), *(str(layer.name).lower() for layer in layers)])


def optional(module: str, extra: str) -> Any:
    """Import a module that only an extra brings.

    Raises:
        ConfigurationError: if it is not installed; the text names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{module} is not installed: pip install 'cachestack[{extra}]'") from error
