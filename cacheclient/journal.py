"""Own invalidations and sets, kept until they are safe. A set invalidates what was there before.

Two things can undo an invalidation. It may not get through: Redis is away, writes are paused, the answer is late. And
it may get through and be lost: a master that dies takes with it what no replica had yet, and the old value is back on
the new one. So each process keeps its own invalidations. What did not get through is sent again until it does, never
dropped; what did is sent again for ``keep`` seconds whenever the master was restarted or is another one. The seconds
count from when a master last took it: that one may be lost as well.

Sending a tombstone twice costs a reload, never a wrong value.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Literal, NamedTuple

from cacheclient.clock import Clock
from cacheclient.errors import UnavailableError
from cacheclient.keys import Glob

_RETRY: Final = 0.1  # seconds between attempts while something is owed
# After a failure the newest debt is tried for all, but for every so many attempts: what keeps it may not keep the
# others (another shard, a pattern that takes long), and who listens only now is told of them (see ``hearsay``).
_ROUND: Final = 10
_BATCH: Final = 128  # tombstones on their way at once: what follows a failover must not delay the callers' own commands


class Debt(NamedTuple):
    """One invalidation: of a key, of a key unless it holds what was set, of a tag, of every key that matches."""

    kind: Literal["key", "set", "tag", "pattern"]
    name: str


class Acknowledged(NamedTuple):
    """A set that Redis acknowledged: what it wrote, and when, in Unix milliseconds of the server."""

    write_id: bytes
    written_ms: int


class Journal:
    """The invalidations of one cache. ``send`` makes one in Redis, or raises UnavailableError."""

    def __init__(self, send: Callable[[Debt], Awaitable[object]], keep: float, clock: Clock) -> None:
        self._send = send
        self._keep = keep
        self._clock = clock
        self._recent: OrderedDict[Debt, float] = OrderedDict()
        self._set: dict[str, Acknowledged] = {}
        self._owed: dict[Debt, object] = {}  # the object is new each time it is owed
        self._wake = asyncio.Event()
        self._attempts = 0  # since the last that left nothing, or since this master
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many invalidations are owed to Redis."""
        return len(self._owed)

    def __contains__(self, key: str) -> bool:
        """Return whether Redis may still hold what an own invalidation of ``key`` was to remove."""
        owed = self._owed
        return bool(owed) and (
            Debt("key", key) in owed
            or Debt("set", key) in owed
            or any(d.kind == "pattern" and Glob(d.name).matches(key) for d in owed)
        )

    def owes_tag(self, names: Iterable[str]) -> bool:
        """Return whether Redis may still hold the old token of one of these tags."""
        return bool(self._owed) and any(Debt("tag", name) in self._owed for name in names)

    def note(self, debt: Debt) -> None:
        """Remember an invalidation made now."""
        now = self._clock()
        self._recent[debt] = now
        self._recent.move_to_end(debt)
        while self._recent and next(iter(self._recent.values())) < now - self._keep:
            old, _ = self._recent.popitem(last=False)
            if old.kind == "set":
                self._set.pop(old.name, None)

    def note_set(self, key: str, acknowledged: Acknowledged) -> None:
        """Remember that ``key`` was set now: if that is lost, the value before it is back."""
        self._set[key] = acknowledged
        self.note(Debt("set", key))

    def last_set(self, key: str) -> Acknowledged | None:
        """Return the last acknowledged set of ``key``; None if it is long ago."""
        return self._set.get(key)

    def owe(self, debt: Debt) -> None:
        """Make an invalidation again until it gets through, and once more if the master that takes it is lost."""
        self.note(debt)
        self._owed[debt] = object()
        self._wake.set()

    def replay(self) -> None:
        """Send everything of the last ``keep`` seconds again: the master may have lost it, or is another one."""
        horizon = self._clock() - self._keep
        for debt, noted in self._recent.items():
            if noted >= horizon:
                self._owed[debt] = object()
        self._attempts = 0
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
            one_for_all = self._attempts % _ROUND
            self._attempts += 1
            if await self._pay(1 if one_for_all else _BATCH):
                self._attempts = 0
            else:
                await asyncio.sleep(_RETRY)
                self._wake.set()

    async def _pay(self, first: int = _BATCH) -> bool:
        """Send all that is owed, at most ``first`` to begin with; what does not get through stays.

        Return whether nothing is left. The newest go first: after a failover that is what was lost, if anything was.
        """
        owed = list(reversed(self._owed.items()))
        start, size = 0, first
        while batch := owed[start : start + size]:
            start, size = start + size, _BATCH
            results = await asyncio.gather(*(self._send(debt) for debt, _ in batch), return_exceptions=True)
            for (debt, since), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    if not isinstance(result, UnavailableError):
                        raise result
                elif self._owed.get(debt) is since:  # else it was owed anew meanwhile, and this came too early for it
                    del self._owed[debt]
                    self.note(debt)  # this master, too, may be lost before a replica has it
            if any(isinstance(result, UnavailableError) for result in results):
                break
        return not self._owed
