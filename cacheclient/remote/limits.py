"""Where rate limits are kept: in Redis, or in this process where there is none (``memory://``, or an outage)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from cacheclient.clock import Clock, boottime
from cacheclient.gcra import Bucket, Limit, Verdict, decide
from cacheclient.remote.locks import Scripts

_MOST: Final = 100_000  # buckets of one process; past that the oldest are given up: about 20 MB


class LimitStore(Protocol):
    """Keeps one bucket for each subject. Every method may raise UnavailableError, and may have done its work then."""

    async def hit(self, key: str, limit: Limit, cost: int, *, take: bool = True) -> Verdict:
        """Count a hit if it passes; without ``take`` say only whether it would."""

    async def forget(self, key: str) -> None:
        """Empty the bucket."""


class Unlinks(Scripts, Protocol):
    """What ``RedisLimits`` needs of ``RedisStore``."""

    async def unlink(self, keys: Sequence[str | bytes]) -> int:
        """Remove keys."""


class RedisLimits:
    """Limits in Redis: one string a subject, gone when its bucket is empty. One key a call, so any cluster will do."""

    def __init__(self, store: Unlinks) -> None:
        self._store = store

    async def hit(self, key: str, limit: Limit, cost: int, *, take: bool = True) -> Verdict:
        """Decide in Redis, by its clock (limit.lua). The hits of one event-loop tick travel together."""
        reply = await self._store.script("limit", (key,), limit.weight, limit.drain, limit.size, cost, int(take))
        return Verdict(bool(reply[0]), *reply[1:])

    async def forget(self, key: str) -> None:
        """Remove the bucket."""
        await self._store.unlink((key,))


class LocalLimits:
    """Limits of this process alone, by the same rules."""

    def __init__(self, clock: Clock = boottime) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, int]] = {}  # key -> bucket, ms when it is empty; oldest use first

    def decide(self, key: str, limit: Limit, cost: int, *, take: bool = True) -> Verdict:
        """Decide now."""
        now = int(self._clock() * 1000)
        found = self._buckets.get(key)
        bucket, verdict = decide(found and found[0], limit, cost, now, take=take)
        if take and verdict.allowed:
            self._sweep(now)
            self._buckets.pop(key, None)
            self._buckets[key] = bucket, now + verdict.reset_ms
        return verdict

    async def hit(self, key: str, limit: Limit, cost: int, *, take: bool = True) -> Verdict:
        """Decide now."""
        return self.decide(key, limit, cost, take=take)

    async def forget(self, key: str) -> None:
        """Empty the bucket."""
        self._buckets.pop(key, None)

    def _sweep(self, now: int) -> None:
        """Look at the two oldest buckets and drop the empty ones: two for each one added, so they never pile up."""
        for _ in range(min(2, len(self._buckets))):
            key = next(iter(self._buckets))
            kept = self._buckets.pop(key)
            if kept[1] > now and len(self._buckets) < _MOST:
                self._buckets[key] = kept  # to the end: it is looked at again when the others have been
