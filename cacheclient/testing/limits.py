"""Rate limits in the fake second tier, by the rules of ``limit.lua``: held, failed and lost with it."""

# ruff: noqa: SLF001  the fake store and this are of one package

from __future__ import annotations

from cacheclient.gcra import Bucket, Limit, Verdict, decide
from cacheclient.testing.store import FakeStore


class FakeLimits:
    """Buckets in ``FakeStore.data``, in the form in which Redis has them; the call is named ``limit``."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def hit(self, key: str, limit: Limit, cost: int, *, take: bool = True) -> Verdict:
        """Decide by the store's clock."""
        return await self._store._call("limit", key, lambda: self._decide(key, limit, cost, take=take))

    async def forget(self, key: str) -> None:
        """Remove the bucket."""
        await self._store.unlink((key,))

    def _decide(self, key: str, limit: Limit, cost: int, *, take: bool) -> Verdict:
        raw, now = self._store._get(key), int(self._store._clock() * 1000)
        found = Bucket(*map(int, raw.split())) if raw else None
        bucket, verdict = decide(found, limit, cost, now, take=take)
        put_back = found is not None and now < found.at
        if bucket.level and (put_back or (take and verdict.allowed)):
            self._store._set(key, b"%d %d %d" % bucket, verdict.reset_ms / 1000)
        return verdict
