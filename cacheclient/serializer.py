"""Values to stored bytes and back: codec and envelope in one step, with the Redis server's clock."""

from __future__ import annotations

from typing import Any

import msgspec

from cacheclient import entry
from cacheclient.clock import ServerClock
from cacheclient.codec import Codec, KeyedCodec, parser
from cacheclient.contract import ErrorType, Tier
from cacheclient.entry import KEPT, NEGATIVE, Stored, Tagged
from cacheclient.errors import CodecError
from cacheclient.missing import MISSING
from cacheclient.stats import Stats


class Serializer:
    """Encodes and decodes the values of one cache.

    Attributes:
        codec: what it encodes with.
        parse: what decodes a payload, and may raise anything; not for a codec that has to know the key (``keyed``).
        readable: format and codec id, the two bytes by which a script knows entries that this cache can read.
    """

    def __init__(self, codec: Codec, clock: ServerClock, stats: Stats) -> None:
        self.codec = codec
        self._codec_id, self._decode = codec.id, codec.decode  # looked up once, not with every read
        self.parse = parser(codec)
        # A codec that takes the key binds the bytes to it: nobody who can write to Redis can move them to another key.
        self._keyed = codec if isinstance(codec, KeyedCodec) else None
        self._clock = clock
        self._stats = stats
        self.readable = bytes((entry.FORMAT, codec.id))

    @property
    def keyed(self) -> bool:
        """Whether the codec has to know the key."""
        return self._keyed is not None

    def encode(self, value: Any, key: str) -> bytes:
        """Return the payload of ``value`` under the Redis key ``key``; MISSING (a negative entry) has none.

        Raises:
            CodecError: if the codec cannot encode ``value``.
        """
        if value is MISSING:
            return b""
        try:
            return self._keyed.encode_for(key, value) if self._keyed else self.codec.encode(value)
        except CodecError:
            self._stats.errors[f"{Tier.L2}/{ErrorType.SERIALIZATION}"] += 1
            raise

    def seal(
        self, value: Any, payload: bytes, ttl: float, *, load_time: float = 0.0, tags: Tagged = ()
    ) -> tuple[bytes, Stored]:
        """Return the bytes to store, with a new write id; ``ttl`` and ``load_time`` in seconds."""
        return self._packed(
            Stored(
                entry.new_write_id(),
                self.codec.id,
                self._clock.now_ms(),
                round(ttl * 1000),
                load_time,
                payload,
                NEGATIVE if value is MISSING else 0,
                tags,
                value=value,
            )
        )

    def keep(self, stored: Stored, seconds: float) -> tuple[bytes, Stored]:
        """Return a stale value anew, to be served for ``seconds`` more because its loader failed."""
        kept = msgspec.structs.replace(
            stored,
            write_id=entry.new_write_id(),
            written_ms=self._clock.now_ms(),
            lifetime_ms=round(seconds * 1000),
            load_time=0.0,
            flags=stored.flags | KEPT,
        )
        return self._packed(kept)

    def prolong(self, stored: Stored, seconds: float) -> bytes:
        """Return the bytes of the same value, with a new write id, that is stale ``seconds`` from now."""
        lifetime = max(1, self._clock.now_ms() - stored.written_ms + round(seconds * 1000))
        return entry.pack(msgspec.structs.replace(stored, write_id=entry.new_write_id(), lifetime_ms=lifetime))

    def load(self, raw: bytes | None, key: str) -> Stored | None:
        """Return what ``raw``, read under ``key``, holds, stale or not; None for nothing, a marker, or no entry.

        The last is counted.
        """
        if raw is None:
            return None
        stored = entry.unpack(raw)
        if stored is None:
            if entry.is_marker(raw):
                return None
        elif stored.codec_id == self._codec_id:
            if stored.flags & NEGATIVE:
                stored.value = MISSING
                return stored
            try:
                payload = stored.payload
                stored.value = self._keyed.decode_for(key, payload) if self._keyed else self.parse(payload)
            except Exception:  # noqa: BLE001, S110  the application's codec may raise anything: it fails this entry alone
                pass
            else:
                return stored
        self._stats.errors[f"{Tier.L2}/{ErrorType.SERIALIZATION}"] += 1
        return None

    def decode(self, payload: bytes, key: str) -> Any:
        """Return the value of a payload that has been decoded before.

        Raises:
            CodecError: if the codec has changed its mind.
        """
        return self._keyed.decode_for(key, payload) if self._keyed else self._decode(payload)

    def copy(self, value: Any, key: str) -> Any:
        """Return a value that shares nothing with ``value``: what a reader of its entry would get.

        Raises:
            CodecError: if it cannot be encoded.
        """
        return value if value is MISSING else self.decode(self.encode(value, key), key)

    def remaining(self, stored: Stored) -> float:
        """Return the seconds until ``stored`` is stale; negative if it is."""
        return stored.remaining(self._clock.now_ms())

    def now_ms(self) -> int:
        """Return the Redis server's time as ``Stored.remaining`` wants it."""
        return self._clock.now_ms()

    def age(self, written_ms: int) -> float:
        """Return the seconds since ``written_ms`` on the Redis server's clock, at least 0."""
        return max(0, self._clock.now_ms() - written_ms) / 1000

    @staticmethod
    def _packed(stored: Stored) -> tuple[bytes, Stored]:
        data = entry.pack(stored)
        stored.size = len(data)
        return data, stored
