"""Values to stored bytes and back: codec and envelope in one step, with the Redis server's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cacheclient import entry
from cacheclient.clock import ServerClock
from cacheclient.codec import Codec
from cacheclient.contract import ErrorType, Tier
from cacheclient.entry import Envelope
from cacheclient.errors import CodecError
from cacheclient.stats import Stats


@dataclass(frozen=True, slots=True)
class Stored:
    """A value and the envelope around it."""

    value: Any
    envelope: Envelope
    size: int


class Serializer:
    """Encodes and decodes the values of one cache.

    Attributes:
        readable: format and codec id, the two bytes by which a script knows entries that this cache can read.
    """

    def __init__(self, codec: Codec, clock: ServerClock, stats: Stats) -> None:
        self._codec = codec
        self._clock = clock
        self._stats = stats
        self.readable = bytes((entry.FORMAT, codec.id))

    def dump(self, value: Any, ttl: float, load_time: float = 0.0) -> tuple[bytes, Stored]:
        """Return the bytes to store, with a new write id; ``ttl`` and ``load_time`` in seconds.

        Raises:
            CodecError: if the codec cannot encode ``value``.
        """
        envelope = Envelope(
            entry.new_write_id(), self._codec.id, self._clock.now_ms(), round(ttl * 1000), load_time,
            self._codec.encode(value),
        )  # fmt: skip
        data = entry.pack(envelope)
        return data, Stored(value, envelope, len(data))

    def load(self, raw: bytes | None) -> Stored | None:
        """Return what ``raw`` holds; None for nothing, a marker, a stale value, or (counted) undecodable bytes."""
        if raw is None or entry.is_marker(raw):
            return None
        envelope = entry.unpack(raw)
        if envelope is not None and envelope.codec_id == self._codec.id:
            if envelope.remaining(self._clock.now_ms()) <= 0:
                return None
            try:
                return Stored(self._codec.decode(envelope.payload), envelope, len(raw))
            except CodecError:
                pass
        self._stats.errors[f"{Tier.L2}/{ErrorType.SERIALIZATION}"] += 1
        return None

    def remaining(self, stored: Stored) -> float:
        """Return the seconds until ``stored`` is stale."""
        return stored.envelope.remaining(self._clock.now_ms())

    def age(self, written_ms: int) -> float:
        """Return the seconds since ``written_ms`` on the Redis server's clock, at least 0."""
        return max(0, self._clock.now_ms() - written_ms) / 1000
