"""L2: what the cache asks of Redis. One choke point for time-outs, counting and error mapping."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from cacheclient import entry
from cacheclient.contract import Tier
from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection, Link
from cacheclient.remote.pipe import Argument
from cacheclient.remote.protocol import Accept, Held, Leased, Take
from cacheclient.remote.scan import SCAN_COUNT, Step, scan
from cacheclient.scripts import script
from cacheclient.stats import Stats

if TYPE_CHECKING:
    from cacheclient.remote.cluster import Cluster  # brings redis-py

_BATCH: Final = 100  # keys that one command changes: Redis does nothing else meanwhile
_NO_EXPIRY: Final = -1  # what PTTL answers for a key that stays


class RedisStore:
    """L2 on the master that ``link`` leads to."""

    echoes = True

    def __init__(self, link: Link | Cluster, stats: Stats, timeout: float) -> None:
        self._link = link
        self._stats = stats
        self._timeout = timeout

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """MGET, in parts of ``max_batch`` keys, which leave at once."""
        try:
            pipe = self._link.current(keys[0]).reads
        except UnavailableError as error:
            self._fetched(keys, take, error)
            return
        size = self._link.login.max_batch
        for start in range(0, len(keys), size):
            part = keys[start : start + size]
            pipe.send(("MGET", *part), partial(self._fetched, part, take))
        pipe.flush()

    def _fetched(self, part: Sequence[str], take: Take, reply: Any) -> None:
        if isinstance(reply, UnavailableError):
            self.count(reply, len(part))
        elif not isinstance(reply, list) or len(reply) != len(part):
            raise ValueError(f"MGET of {len(part)} keys was answered by {str(reply)[:40]}")
        take(part, reply)

    async def write_ids(self, keys: Sequence[str]) -> list[bytes | None]:
        """GETRANGE of the header, pipelined: a tenth of what Redis pays in a script, and none of the values' bytes."""
        try:
            current = self._link.current
            heads = await asyncio.gather(*(current(k).reads.call("GETRANGE", k, 0, entry.ID_BYTES) for k in keys))
        except UnavailableError as error:
            self.count(error)
            raise
        return [entry.value_id(head) for head in heads]

    async def inspect(self, keys: Sequence[str]) -> list[Held]:
        """GET and PTTL of each, pipelined."""
        calls = (self._link.current(key).reads.call(name, key) for key in keys for name in ("GET", "PTTL"))
        try:
            replies = await asyncio.gather(*calls)
        except UnavailableError as error:
            self.count(error)
            raise
        return [
            Held(raw, math.inf if left_ms == _NO_EXPIRY else max(0, left_ms) / 1000)
            for raw, left_ms in zip(replies[::2], replies[1::2], strict=True)
        ]

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        """Return the value, or take the lease (lease.lua)."""
        raw: bytes = await self.script("lease", (key,), token, _ms(seconds), readable, reject)
        if raw == b"G":
            return Leased(granted=True)
        return Leased(raw) if raw[:1] == entry.VALUE else Leased()

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:
        """Compare-and-set (fill.lua)."""
        return bool(await self.script("fill", (key,), expected, data, 0 if seconds is None else _ms(seconds)))

    async def claim(self, key: str, token: bytes, seconds: float) -> bool:
        """SET NX: one caller of the fleet gets it."""
        reply = await self._write(
            key, lambda to: to.writes.call("SET", key, entry.lease(token), "NX", "PX", _ms(seconds))
        )
        return reply is not None

    async def mark(self, key: str, token: bytes, seconds: float | None) -> tuple[bytes, float]:
        """Read or create a marker (mark.lua)."""
        marker, left_ms = await self.script("mark", (key,), token, 0 if seconds is None else _ms(seconds))
        return marker, math.inf if left_ms < 0 else left_ms / 1000

    async def remark(self, key: str, token: bytes, seconds: float | None) -> None:
        """Replace a marker's token."""
        life = () if seconds is None else ("PX", _ms(seconds))
        await self._write(key, lambda to: to.writes.call("SET", key, token, *life))

    async def release(self, key: str, token: bytes) -> None:
        """Give the lease back (release.lua)."""
        await self.script("release", (key,), token)

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        """Store ``data``: its new write id voids every lease and refresh in flight."""
        await self._write(key, lambda to: to.writes.call("SET", key, data, "PX", _ms(seconds)))

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        """Store a tombstone. A DEL would not do: deleting what is not there tells no other pod."""
        command = ("SET", key, entry.tombstone(write_id), "PX", _ms(seconds))
        if not durable:
            await self._write(key, lambda to: to.writes.call(*command))
            return False

        async def send(to: Connection) -> bool:
            # WAIT counts the replicas that have all earlier writes of its own connection, so all goes down one pipe.
            written = to.writes.call(*command)
            _, everywhere = await asyncio.gather(written, to.replicas.have_all(to.writes, self._timeout / 2))
            return everywhere

        return bool(await self._write(key, send))

    async def repair(self, key: str, expected: bytes, write_id: bytes, seconds: float) -> bool:
        """Compare and bury (repair.lua)."""
        return bool(await self.script("repair", (key,), expected, write_id, _ms(seconds)))

    async def bury_matching(
        self, pattern: str, write_id: bytes, seconds: float, only: Accept | None = None
    ) -> AsyncIterator[int]:
        """SCAN in bounded steps, and bury what each finds (bury.lua): Redis is never held up."""
        async for step in self.scan(pattern):
            found = step.keys
            keys = found if only is None else [key for key in found if only(key.decode("utf-8", "replace"))]
            yield await self._in_parts(keys, lambda part: self.script("bury", part, write_id, _ms(seconds)))

    async def drop_matching(self, pattern: str) -> AsyncIterator[int]:
        """SCAN in bounded steps, and UNLINK what each finds: Redis frees the memory in the background."""
        async for step in self.scan(pattern):
            yield await self.unlink(step.keys)

    async def unlink(self, keys: Sequence[str | bytes]) -> int:
        """UNLINK: Redis frees the memory in the background."""

        async def unlink(part: Sequence[str | bytes]) -> int:
            dropped: int = await self._write(part[0], lambda to: to.writes.call("UNLINK", *part))
            return dropped

        return await self._in_parts(keys, unlink)

    async def _in_parts(
        self, keys: Sequence[str | bytes], act: Callable[[Sequence[str | bytes]], Awaitable[int]]
    ) -> int:
        """Have ``act`` take the keys in parts that one command may name; return the sum of what it returns."""
        done = 0
        for start in range(0, len(keys), _BATCH):
            parts = self._link.together(keys[start : start + _BATCH])
            done += sum(await asyncio.gather(*map(act, parts)))
        return done

    async def scan(
        self, pattern: str, count: int = SCAN_COUNT, at: Mapping[str, str] | None = None
    ) -> AsyncIterator[Step]:
        """Yield the keys that match, in bounded steps, on every master: see ``scan``."""
        try:
            async for step in scan(self._link, pattern, count, at):
                yield step
        except UnavailableError as error:
            self.count(error)
            raise

    async def adopt(self, key: str, data: bytes, seconds: float | None) -> bool:
        """Compare and set (adopt.lua)."""
        return bool(await self.script("adopt", (key,), data, 0 if seconds is None else _ms(seconds)))

    def publish(self, channel: str, message: bytes) -> None:
        """PUBLISH, together with the other commands of this event-loop tick."""
        try:
            sent = self._link.current(channel).writes.call("PUBLISH", channel, message)
        except UnavailableError:
            return
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def command(self, key: str, *words: Argument) -> Any:
        """Send a command to the master of ``key``, and return its reply."""
        return await self._write(key, lambda to: to.writes.call(*words))

    async def script(self, name: str, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
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

        return await self._write(keys[0], send)

    async def _write(self, key: str | bytes, send: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Send to the master of ``key``; where that says that another node has the key, once more to that one."""
        began = perf_counter()
        try:
            try:
                reply = await send(self._link.current(key))
            except UnavailableError as error:
                elsewhere = self._link.elsewhere(error)
                if elsewhere is None:
                    raise
                reply = await send(elsewhere)
        except UnavailableError as error:
            self.count(error)
            raise
        self._stats.l2.write.observe(perf_counter() - began)
        return reply

    def count(self, error: UnavailableError, keys: int = 1) -> None:
        """Count ``error``, the answer for so many keys, and look for the master if it says that this is not it."""
        self._stats.errors[f"{Tier.L2}/{error.kind}"] += keys
        self._link.suspect(error)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
