"""Where public locks are kept: in Redis, or in this process where there is none (``memory://``)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from cacheclient.clock import Clock, boottime
from cacheclient.remote.pipe import Argument

# The last token needs to outlive its lock only because clocks may step back; a week is more than any such step.
_TOKEN_LIFE_MS: Final = 7 * 86_400_000


class Attempt(msgspec.Struct, frozen=True):
    """The answer to an attempt: my fencing token, or None and the seconds until the holder's lock expires."""

    token: int | None
    expires_in: float = 0.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: ``host:pid`` of a Lock of this library, and the seconds until it expires (inf: never)."""

    name: str
    expires_in: float


class LockStore(Protocol):
    """Keeps locks. ``holder`` tells one acquisition from all others; times are seconds.

    Every method may raise UnavailableError, and may then have done its work or not.
    """

    async def acquire(self, key: str, holder: str, seconds: float) -> Attempt:
        """Take the lock if it is free, or held by ``holder`` already."""

    async def extend(self, key: str, holder: str, seconds: float) -> bool:
        """Let it live at least ``seconds`` from now; return whether it was ``holder``'s."""

    async def release(self, key: str, holder: str) -> bool:
        """Free it; return whether it was ``holder``'s."""

    async def holder(self, key: str) -> Holder | None:
        """Return who holds it now, None if nobody does."""


class Scripts(Protocol):
    """What ``RedisLocks`` needs of ``RedisStore``."""

    async def script(self, name: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run the script of this name."""

    async def command(self, key: str, *words: Argument) -> Any:
        """Send a command to the master of ``key``."""


class RedisLocks:
    """Locks in Redis: one string each, and one with the last fencing token beside it."""

    def __init__(self, store: Scripts) -> None:
        self._store = store

    async def acquire(self, key: str, holder: str, seconds: float) -> Attempt:
        """Take the lock (lock_acquire.lua)."""
        # Of a key with braces a Redis Cluster hashes what is between them: so both keys are in one slot.
        keys = (key, f"{key}:token:{{{key}}}")
        won, number = await self._store.script("lock_acquire", keys, holder, _ms(seconds), _TOKEN_LIFE_MS)
        if won:
            return Attempt(number)
        return Attempt(None, number / 1000 if number >= 0 else math.inf)  # -1: somebody made this key without expiry

    async def extend(self, key: str, holder: str, seconds: float) -> bool:
        """Prolong it (lock_extend.lua)."""
        return bool(await self._store.script("lock_extend", (key,), holder, _ms(seconds)))

    async def release(self, key: str, holder: str) -> bool:
        """Free it (lock_release.lua)."""
        return bool(await self._store.script("lock_release", (key,), holder))

    async def holder(self, key: str) -> Holder | None:
        """Ask who holds it. Life first: a lock that ends between both questions is free."""
        left_ms, held = await self._store.command(key, "PTTL", key), await self._store.command(key, "GET", key)
        return None if held is None else _named(held.decode("utf-8", "replace"), left_ms / 1000)


class LocalLocks:
    """Locks of one cache without Redis, by the same rules: they exclude each other among this object's users only."""

    def __init__(self, clock: Clock = boottime) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}  # key -> holder, expiry
        self._last_token = 0

    async def acquire(self, key: str, holder: str, seconds: float) -> Attempt:
        """Take the lock."""
        now = self._clock()
        self._held = {name: lock for name, lock in self._held.items() if lock[1] > now}
        other, expiry = self._held.get(key, (holder, 0.0))
        if other != holder:
            return Attempt(None, expiry - now)
        self._held[key] = (holder, now + seconds)
        self._last_token = max(self._last_token + 1, time.time_ns() // 1000)
        return Attempt(self._last_token)

    async def extend(self, key: str, holder: str, seconds: float) -> bool:
        """Prolong it."""
        other, expiry = self._held.get(key, ("", 0.0))
        if other != holder or expiry <= self._clock():
            return False
        self._held[key] = (holder, max(expiry, self._clock() + seconds))
        return True

    async def release(self, key: str, holder: str) -> bool:
        """Free it."""
        other, expiry = self._held.get(key, ("", 0.0))
        if other != holder:
            return False
        del self._held[key]
        return expiry > self._clock()

    async def holder(self, key: str) -> Holder | None:
        """Look who holds it."""
        held, expiry = self._held.get(key, ("", 0.0))
        return None if expiry <= self._clock() else _named(held, expiry - self._clock())


def _named(held: str, left: float) -> Holder:
    """Leave out what only the holder may know: with all of it, anybody could free the lock."""
    name = held.rpartition(":")[0] if held.count(":") > 1 else held
    return Holder(name, left if left >= 0 else math.inf)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
