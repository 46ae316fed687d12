"""Events on the three channels of requirement 2.7. Pure.

An event is a JSON object with ``event_type`` (invalidate, update, prewarm), ``key_pattern``, ``timestamp`` (Unix
seconds), ``source_pod`` and ``priority`` (high, normal, low), and our optional ``id`` (of the sending cache),
``version``, ``before_ms`` (what was written before is void: Unix milliseconds of the Redis server) and, of a pre-warm,
``plan``. Whoever publishes one, in whatever language, is understood; unknown fields are ignored.

Coherence does not rest on events, which can be lost: the tracking connection tells of every change of a key. Events say
what no key change can (a pattern, a wish for a pre-warm), and tell systems that are not caches.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from cacheclient.contract import Channel


class EventType(StrEnum):
    """What happened."""

    INVALIDATE = "invalidate"
    UPDATE = "update"
    PREWARM = "prewarm"


class Priority(StrEnum):
    """How soon a receiver should act; what that means here is in ``hearing``."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. ``key_pattern`` is a whole Redis key or a glob over whole Redis keys."""

    event_type: EventType
    key_pattern: str
    timestamp: float
    source_pod: str
    priority: Priority = msgspec.field(default=Priority.NORMAL)
    id: str = ""
    version: int = 0
    plan: str = ""
    before_ms: int = 0


_CHANNELS = {
    EventType.INVALIDATE: Channel.INVALIDATE,
    EventType.UPDATE: Channel.UPDATE,
    EventType.PREWARM: Channel.PREWARM,
}
_decoder = msgspec.json.Decoder(Event)


def channel_of(event: Event) -> Channel:
    """Return the channel that ``event`` belongs on."""
    return _CHANNELS[event.event_type]


def encode(event: Event) -> bytes:
    """Return the JSON of ``event``; the five required fields are always present."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return msgspec.json.encode({**fields, "priority": event.priority})


def misfit(data: bytes) -> Literal["unknown", "malformed"]:
    """Return what is the matter with ``data``, which ``decode`` refused: a type of a later release, or no event."""
    try:
        said = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "malformed"
    kind = said.get("event_type")
    return "unknown" if isinstance(kind, str) and kind not in tuple(EventType) else "malformed"


def decode(data: bytes) -> Event | None:
    """Return the event in ``data``; None if it is not one: an unknown type, a missing field, no JSON."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
