"""What the client needs to be allowed in Redis, and finding out whether it is.

Each command is tried in a form that does no harm: on a key of a random name below the cache's own prefixes, gone after
a millisecond, and with an event that names only that key. Redis checks rights before it looks at anything else.
``ACL DRYRUN`` is not asked: the users of applications may not, and a refusal raises the alert on refused commands.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cacheclient import events
from cacheclient.contract import AUDIT_LENGTH, Channel, Record
from cacheclient.errors import UnavailableError
from cacheclient.events import Event, EventType
from cacheclient.keys import KeySpace, escape
from cacheclient.lock import lock_key
from cacheclient.ratelimit import limit_key
from cacheclient.remote import Connection, Login, Pipe

_REFUSED: Final = "NOPERM"
_NO_SCRIPT: Final = "0" * 40  # SHA-1 of no script


@dataclass(frozen=True, slots=True)
class Need:
    """A command, what it is for, and how to ask for it.

    ``vital``: without it there is no second tier, or values stay that should go. ``listening``: it changes its
    connection, so it is tried on one of its own.
    """

    command: tuple[str | bytes | int, ...]
    purpose: str
    vital: bool = True
    listening: bool = False

    @property
    def name(self) -> str:
        """The command and what it is about, as a person would say it."""
        words = [word for word in self.command[:2] if isinstance(word, str)]
        return " ".join(words if words[0] in _TWO_WORDS else (*words[:1], *_about(self.command)))


_TWO_WORDS: Final = ("CLIENT",)
_KINDS: Final = {
    Channel.INVALIDATE: EventType.INVALIDATE,
    Channel.UPDATE: EventType.UPDATE,
    Channel.PREWARM: EventType.PREWARM,
}


def _about(command: Sequence[object]) -> list[str]:
    return [word for word in command[1:] if isinstance(word, str) and ":" in word][:1]


def needs(space: KeySpace) -> list[Need]:
    """Return everything that the cache of ``space`` asks of Redis."""
    probe = f"doctor-{secrets.token_hex(8)}"
    key = space.full(probe)
    found = [
        Need(("GET", key), "reads"),
        Need(("MGET", key), "reads of many callers at once"),
        Need(("PTTL", key), "explain", vital=False),
        Need(("GETRANGE", key, 0, 8), "scripts, and L1 after a gap"),
        Need(("SET", key, "", "PX", 1), "values and invalidations"),
        Need(("PEXPIRE", key, 1), "scripts of tags and locks"),
        Need(("PERSIST", key), "the marker of the namespace"),
        Need(("DEL", key), "giving leases and locks back"),
        Need(("UNLINK", key), "drop_version", vital=False),
        Need(("EVALSHA", _NO_SCRIPT, 1, key), "every fenced write"),
        Need(("EVAL", "return 0", 1, key), "scripts that a new master does not have yet"),
        Need(("SCAN", 0, "MATCH", key, "COUNT", 1), "invalidate_pattern"),
        Need(("SET", space.marker(probe), "", "PX", 1), "tags"),
        Need(("SET", space.claim(probe), "", "PX", 1), "early refresh"),
        Need(("SET", lock_key(space.namespace, probe), "", "PX", 1), "locks", vital=False),
        Need(("SET", space.record(Record.JOB, probe), "", "PX", 1), "jobs of the HTTP API", vital=False),
        Need(("SET", space.record(Record.ANSWER, probe), "", "PX", 1), "idempotency keys", vital=False),
        Need(
            ("XADD", space.record(Record.AUDIT, probe), "NOMKSTREAM", "MAXLEN", "~", AUDIT_LENGTH, "*", "", ""),
            "the audit log",
            vital=False,
        ),
        Need(("SET", limit_key(space.namespace, "doctor", probe), "", "PX", 1), "rate limits", vital=False),
        Need(("TIME",), "the server's clock"),
        Need(("ROLE",), "finding the master"),
        Need(("WAIT", 0, 1), "invalidate(durable=True)", vital=False),
        Need(("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", space.prefix), "L1", listening=True),
    ]
    for channel in Channel:
        event = Event(
            event_type=_KINDS[channel], key_pattern=escape(key), timestamp=time.time(), source_pod="doctor",
        )  # fmt: skip
        found.append(Need(("SUBSCRIBE", channel.value), "hearing events", vital=False, listening=True))
        found.append(Need(("PUBLISH", channel.value, events.encode(event)), "telling events", vital=False))
    return found


async def refused(connection: Connection, login: Login, space: KeySpace) -> list[Need]:
    """Return what the user of ``connection`` may not do.

    Raises:
        UnavailableError: if Redis does not answer.
    """
    own = await Pipe.open(connection.address, login)
    try:
        asked = ((need, own if need.listening else connection.writes) for need in needs(space))
        return [need for need, pipe in asked if not await _tried(pipe, need)]
    finally:
        own.close()


async def _tried(pipe: Pipe, need: Need) -> bool:
    try:
        await pipe.call(*need.command)
    except UnavailableError as error:
        if error.in_doubt:
            raise
        return _REFUSED not in str(error)
    return True
