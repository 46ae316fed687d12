"""Every key of a pattern, in bounded steps, on every master: SCAN, with what a Redis Cluster asks for beyond it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Protocol

from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection

SCAN_COUNT: Final = 500  # keys looked at in one step: well under a millisecond of Redis' time


class Masters(Protocol):
    """What a scan needs of a ``Link`` or a ``Cluster``."""

    @property
    def version(self) -> int:
        """A number that rises when keys may have changed their master."""

    def everywhere(self) -> list[Connection]:
        """Return the connections that together reach every key."""

    async def unmoved(self, version: int) -> bool:
        """Return whether no key has changed its master since ``version``."""


async def scan(masters: Masters, pattern: str, count: int = SCAN_COUNT) -> AsyncIterator[list[bytes]]:
    """Yield the keys that match, step by step: each that is there all the while at least once.

    A cursor means something to one server only, so a scan ends with its connections. In a cluster a key may move from a
    master that was not searched yet to one that was. So if any slot moved meanwhile all are searched once more: a key
    that was missed has moved already, and reshards move a key once.

    Raises:
        UnavailableError: if a master is away, or another one than before.
    """
    version = masters.version
    async for keys in _once(masters, pattern, count):
        yield keys
    if not await masters.unmoved(version):
        async for keys in _once(masters, pattern, count):
            yield keys


async def _once(masters: Masters, pattern: str, count: int) -> AsyncIterator[list[bytes]]:
    for connection in masters.everywhere():
        cursor = b"0"
        while True:
            if not any(connection is current for current in masters.everywhere()):
                raise UnavailableError("the masters changed during a search")
            step = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            cursor, keys = await connection.writes.call(*step)
            yield keys
            if cursor == b"0":
                break
