"""Own invalidations and sets, kept until they are safe. A set counts as the invalidation of what was there before.

Two things can undo an invalidation. It may not get through: Redis is away, writes are paused, the answer is late. And
it may get through and be lost: a master that dies takes with it what no replica had yet, and the old value is back on
the new one. So each process keeps its own invalidations. What did not get through is sent again until it does, never
dropped; what did is sent again for ``keep`` seconds whenever the master was restarted or is another one.

Sending a tombstone twice costs a reload, never a wrong value.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from cacheclient.clock import Clock
from cacheclient.errors import UnavailableError

_RETRY: Final = 0.1  # seconds between attempts while something is owed
_BATCH: Final = 128  # tombstones on their way at once: what follows a failover must not delay the callers' own commands


class Journal:
    """The invalidations of one cache. ``send`` stores one tombstone, or raises UnavailableError."""

    def __init__(self, send: Callable[[str], Awaitable[object]], keep: float, clock: Clock) -> None:
        self._send = send
        self._keep = keep
        self._clock = clock
        self._recent: OrderedDict[str, float] = OrderedDict()
        self._owed: dict[str, object] = {}  # the object is new with each debt
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many invalidations are owed to Redis."""
        return len(self._owed)

    def __contains__(self, key: str) -> bool:
        """Return whether Redis may still hold what an own invalidation of ``key`` was to remove."""
        return key in self._owed

    def note(self, key: str) -> None:
        """Remember that ``key`` was invalidated now."""
        now = self._clock()
        self._recent[key] = now
        self._recent.move_to_end(key)
        while self._recent and next(iter(self._recent.values())) < now - self._keep:
            self._recent.popitem(last=False)

    def owe(self, key: str) -> None:
        """Send the tombstone of ``key`` until it gets through."""
        self._owed[key] = object()
        self._wake.set()

    def replay(self) -> None:
        """Send everything of the last ``keep`` seconds again: the master may have lost it, or is another one."""
        horizon = self._clock() - self._keep
        for key, noted in self._recent.items():
            if noted >= horizon:
                self._owed[key] = object()
        self._wake.set()

    def start(self) -> None:
        """Start the task that pays what is owed."""
        self._task = asyncio.create_task(self._run(), name="cacheclient-journal")

    async def close(self) -> None:
        """Stop; what is still owed is tried once more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._pay()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._pay():
                await asyncio.sleep(_RETRY)
                self._wake.set()

    async def _pay(self) -> bool:
        """Send all that is owed; what does not get through stays. Return whether nothing is left."""
        owed = list(self._owed.items())
        for start in range(0, len(owed), _BATCH):
            batch = owed[start : start + _BATCH]
            results = await asyncio.gather(*(self._send(key) for key, _ in batch), return_exceptions=True)
            for (key, debt), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    if not isinstance(result, UnavailableError):
                        raise result
                elif self._owed.get(key) is debt:  # else it was owed anew meanwhile, and this came too early for that
                    del self._owed[key]
            if any(isinstance(result, UnavailableError) for result in results):
                break
        return not self._owed
