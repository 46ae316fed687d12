"""L2: what the cache asks of Redis. One choke point for time-outs, counting and error mapping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from cacheclient import entry
from cacheclient.contract import Tier
from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection, Link
from cacheclient.remote.pipe import Argument
from cacheclient.scripts import script
from cacheclient.stats import Stats


@dataclass(frozen=True, slots=True)
class Leased:
    """The answer to a lease request: exactly one of a value entry, my lease, or neither (somebody else loads)."""

    value: bytes | None = None
    granted: bool = False


class Store(Protocol):
    """The tier that pods share. Keys are whole Redis keys, times seconds; every method may raise UnavailableError.

    ``echoes`` says whether every write comes back as a push that drops the key from L1: then filling L1 after a write
    would only evict something else.
    """

    @property
    def echoes(self) -> bool:
        """Whether writes come back as pushes."""

    async def read(self, key: str) -> bytes | None:
        """Return the stored bytes, or None."""

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        """Return the value, or take the lease under ``token`` if there is none that can be read."""

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float) -> bool:
        """Store ``data`` if the write id ``expected`` still stands; return whether it was stored."""

    async def release(self, key: str, token: bytes) -> None:
        """Give the lease ``token`` back."""

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``, whatever stands there."""

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        """Store a tombstone; with ``durable`` return whether every replica has it too, and there is one."""


class RedisStore:
    """L2 on the master that ``link`` leads to."""

    echoes = True

    def __init__(self, link: Link, stats: Stats, timeout: float) -> None:
        self._link = link
        self._stats = stats
        self._timeout = timeout

    async def read(self, key: str) -> bytes | None:
        """Return the stored bytes, or None: one MGET for all reads of this event-loop tick."""
        began = perf_counter()
        try:
            raw = await self._link.current().reads.read(key)
        except UnavailableError as error:
            self._count(error)
            raise
        self._stats.l2.lookup.observe(perf_counter() - began)
        return raw

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        """Return the value, or take the lease (lease.lua)."""
        raw: bytes = await self.script("lease", (key,), token, _ms(seconds), readable, reject)
        if raw == b"G":
            return Leased(granted=True)
        return Leased(raw) if raw[:1] == entry.VALUE else Leased()

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float) -> bool:
        """Compare-and-set (fill.lua)."""
        return bool(await self.script("fill", (key,), expected, data, _ms(seconds)))

    async def release(self, key: str, token: bytes) -> None:
        """Give the lease back (release.lua)."""
        await self.script("release", (key,), token)

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``: its new write id voids every lease and refresh in flight."""
        await self._write(lambda to: to.writes.call("SET", key, data, "PX", _ms(seconds)))

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        """Store a tombstone. A DEL would not do: deleting what is not there tells no other pod."""
        command = ("SET", key, entry.tombstone(write_id), "PX", _ms(seconds))
        if not durable:
            await self._write(lambda to: to.writes.call(*command))
            return False

        async def send(to: Connection) -> bool:
            # WAIT counts the replicas that have all earlier writes of its own connection, so all goes down one pipe.
            _, role = await asyncio.gather(to.writes.call(*command), to.writes.call("ROLE"))
            if role[0] != b"master":
                return False
            # All of them: a partition may leave the others on the far side, and one of those be promoted there.
            replicas = max(1, len(role[2]))
            return bool(await to.writes.call("WAIT", replicas, _ms(self._timeout / 2)) >= replicas)

        return bool(await self._write(send))

    async def script(self, name: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run ``<name>.lua`` and return its reply."""
        lua = script(name)

        async def send(to: Connection) -> Any:
            try:
                return await to.writes.call("EVALSHA", lua.sha, len(keys), *keys, *arguments)
            except UnavailableError as error:
                if "NOSCRIPT" not in str(error):
                    raise
            # Scripts are not replicated: a promoted or restarted server has none yet.
            return await to.writes.call("EVAL", lua.text, len(keys), *keys, *arguments)

        return await self._write(send)

    async def _write(self, send: Callable[[Connection], Awaitable[Any]]) -> Any:
        began = perf_counter()
        try:
            reply = await send(self._link.current())
        except UnavailableError as error:
            self._count(error)
            raise
        self._stats.l2.write.observe(perf_counter() - began)
        return reply

    def _count(self, error: UnavailableError) -> None:
        self._stats.errors[f"{Tier.L2}/{error.kind}"] += 1
        self._link.suspect(error)


class NoStore:
    """The absent L2 of ``memory://``: never holds anything, grants every lease."""

    echoes = False

    async def read(self, key: str) -> bytes | None:  # noqa: ARG002  the signatures are Store's
        """Return None."""
        return None

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:  # noqa: ARG002
        """Grant it."""
        return Leased(granted=True)

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float) -> bool:  # noqa: ARG002
        """Return True: nobody else can have written."""
        return True

    async def release(self, key: str, token: bytes) -> None:
        """Do nothing."""

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Do nothing."""

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:  # noqa: ARG002
        """Return True."""
        return True


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
