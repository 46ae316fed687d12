"""Every key of a pattern, in bounded steps, on every master: SCAN, with what a Redis Cluster asks for beyond it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Final, NamedTuple, Protocol

from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection

SCAN_COUNT: Final = 500  # keys looked at in one step: well under a millisecond of Redis' time
END: Final = "end"
_START: Final = b"0"


class Masters(Protocol):
    """What a scan needs of a ``Link`` or a ``Cluster``."""

    @property
    def version(self) -> int:
        """A number that rises when keys may have changed their master."""

    def everywhere(self) -> list[Connection]:
        """Return the connections that together reach every key."""

    async def unmoved(self, version: int) -> bool:
        """Return whether no key has changed its master since ``version``."""


class Step(NamedTuple):
    """The keys that one step found, and where the next begins: the data's history (replication id) and its cursor."""

    keys: list[bytes]
    history: str
    cursor: str


async def scan(
    masters: Masters, pattern: str, count: int = SCAN_COUNT, at: Mapping[str, str] | None = None
) -> AsyncIterator[Step]:
    """Yield the keys that match, step by step: each that is there all the while at least once.

    ``at`` has a cursor for each history where an earlier scan was interrupted. A cursor means something to one server
    only, so a scan ends with its connections, and after a restart or a promotion, which draw a new id, it begins anew.

    In a cluster a key may move from a master that was not searched yet to one that was. So if any slot moved meanwhile
    all are searched once more: a key that was missed has moved already, and reshards move a key once.

    Raises:
        UnavailableError: if a master is away, or another one than before.
    """
    version = masters.version
    async for step in _once(masters, pattern, count, at or {}):
        yield step
    if not await masters.unmoved(version):
        async for step in _once(masters, pattern, count, {}):
            yield step


async def _once(masters: Masters, pattern: str, count: int, at: Mapping[str, str]) -> AsyncIterator[Step]:
    for connection in masters.everywhere():
        cursor = at.get(connection.history, _START.decode())
        while cursor != END:
            if not any(connection is current for current in masters.everywhere()):
                raise UnavailableError("the masters changed during a search")
            following, keys = await connection.writes.call("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            cursor = END if following == _START else following.decode()
            yield Step(keys, connection.history, cursor)
