"""Encryption around a codec: AES-256 in Galois/counter mode (NIST SP 800-38D).

Payload: length of the key id (1 byte), key id, nonce (12 bytes, random), ciphertext, tag (16 bytes). The associated
data are the stack's id, the key id and the Redis key: bytes that were changed, moved to another Redis key or labelled
as another codec's do not decode.

Protected: what a value says, and that it was written by somebody who has a key, for this Redis key.

Not protected: Redis keys and tags, sizes and times, all of which are plain; that the value is the newest one (who can
write to Redis can put back an older value of the same key, or delete it); the values in the memory of the application.
With compression inside, the size also tells how much a value repeats itself: do not compress a secret together with
text that an attacker may choose.

A key may encrypt 2**32 values (SP 800-38D, 8.3: with random nonces the chance of a repeated one is then 2**-32), which
is 50 days at 1,000 writes a second in the whole fleet: rotate before. To rotate: add the new key to every pod, then
make it the active one, and drop the old one when the longest TTL has passed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from cacheclient.codec.protocol import Codec, Layer, optional, stack_id
from cacheclient.errors import CodecError, ConfigurationError

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MAX_ID: Final = 32


class Encrypted:
    """Encrypts what ``inner`` encodes. See the module for what that protects and what not.

    Entries under a key id that is not in ``keys`` are misses, as are entries that somebody tampered with.

    Attributes:
        id: 8 more than the id of a codec of cachestack's; the one given, around a codec of your own.
    """

    def __init__(
        self,
        inner: Codec,
        keys: Mapping[str, bytes],
        active: str,
        *,
        id: int | None = None,  # noqa: A002  the name in Codec
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: any codec, also a ``Compressed`` one, but not an ``Encrypted`` one.
            keys: key ids (1 to 32 printable ASCII characters, stored in plain) and their 32 secret random bytes.
            active: the id of the key that encrypts; the others only decrypt.
            id: 16 to 255, only around a codec of your own.

        Raises:
            ConfigurationError: if a value is not as said above, or the extra ``crypto`` is not installed.
        """
        for key_id, key in keys.items():
            _check_key(key_id, key)
        if active not in keys:
            raise ConfigurationError(
                f"active={active!r}: one of the key ids {', '.join(sorted(keys)) or '(none given)'}"
            )
        self.id = stack_id(Layer.ENCRYPTED, inner, id)
        self._inner = inner
        self._active = _label(active)
        aead = optional("cryptography.hazmat.primitives.ciphers.aead", "crypto")
        self._invalid: type[Exception] = optional("cryptography.exceptions", "crypto").InvalidTag
        # The ciphers hold the keys; this object does not, so that nothing that prints its attributes can show them.
        self._ciphers: dict[bytes, Any] = {_label(key_id): aead.AESGCM(key) for key_id, key in keys.items()}

    def __repr__(self) -> str:
        ids = ", ".join(sorted(repr(label[1:].decode()) for label in self._ciphers))
        return f"Encrypted({self._inner!r}, keys=<{ids}>, active={self._active[1:].decode()!r})"

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``, bound to no Redis key; raise CodecError if it has none."""
        return self.encode_for("", value)

    def decode(self, payload: bytes) -> Any:
        """Return the value of a ``payload`` that is bound to no Redis key; raise CodecError otherwise."""
        return self.decode_for("", payload)

    def encode_for(self, key: str, value: Any) -> bytes:
        """Return the bytes of ``value`` under the Redis key ``key``; raise CodecError if it has none."""
        data = self._inner.encode(value)
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._ciphers[self._active].encrypt(nonce, data, self._bound_to(self._active, key))
        return self._active + nonce + sealed

    def decode_for(self, key: str, payload: bytes) -> Any:
        """Return the value of ``payload``, which stands under the Redis key ``key``.

        Raises:
            CodecError: if its key id is unknown, or it was changed, cut off, or written for another Redis key.
        """
        end = 1 + payload[0] if payload else 1
        label, nonce, sealed = payload[:end], payload[end : end + _NONCE_BYTES], payload[end + _NONCE_BYTES :]
        cipher = self._ciphers.get(label)
        if cipher is None:
            raise CodecError(f"cannot decrypt: no key has the id {label[1:]!r}")
        try:
            data = cipher.decrypt(nonce, sealed, self._bound_to(label, key))
        except (self._invalid, ValueError) as error:  # ValueError: the nonce is cut off
            raise CodecError("cannot decrypt: changed, cut off, or written for another Redis key") from error
        return self._inner.decode(data)

    def _bound_to(self, label: bytes, key: str) -> bytes:
        return bytes((self.id,)) + label + key.encode("utf-8", "surrogatepass")


def _label(key_id: str) -> bytes:
    return bytes((len(key_id),)) + key_id.encode("ascii")


def _check_key(key_id: str, key: bytes) -> None:
    # No message shows the key, not even a wrong one.
    if (
        not isinstance(key_id, str)
        or not key_id.isascii()
        or not key_id.isprintable()
        or not 0 < len(key_id) <= _MAX_ID
    ):
        raise ConfigurationError(f"keys: id {key_id!r}: 1 to {_MAX_ID} printable ASCII characters")
    if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
        found = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise ConfigurationError(
            f"keys[{key_id!r}]: {_KEY_BYTES} bytes, as os.urandom({_KEY_BYTES}) gives, not {found}"
        )
