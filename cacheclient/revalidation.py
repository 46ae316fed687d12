"""After a gap: L1 entries prove themselves against L2 instead of being thrown away.

When pushes may have been lost (a new connection, another master, a ``null`` push), every entry of L1 becomes suspect.
To flush them would send every process of the fleet to L2 for its whole working set at once, just when a new master has
begun. So they stay, unanswered, and are compared: the nine bytes of an entry's header that hold its write id, in
batches, the most used entries first, with a pause as long as each batch took, so that a slow Redis is asked less. Who
reads a suspect entry meanwhile reads L2 as for any miss, together with the other reads of that tick; if it finds the
same write, the entry answers again and keeps its place. An entry is trusted if its write id is the one in L2, its tags
still have their tokens, no invalidation of it is owed by this process (the journal is replayed before the listener
connects to a new master), and none that a failover may have undone was heard of (see ``hearsay``). A push during the
comparison makes its fence fall, as with any fill.

What this cannot see is what nobody here can. An invalidation that a killed master acknowledged and never replicated,
and that this process did not hear of, is undone: the old value is back in L2, with its old write id, and an L1 entry
that holds it is trusted. But entries only ever come from L2, so what such an entry answers is what a read of L2 answers
here at that moment: L1 adds nothing to the loss. The invalidation's own process repairs it, and is told to L1 by a push
like any other. So the bound is that of the journal: from the moment its process reaches a new master that takes writes,
the time to send what is owed, plus ``max_staleness``; and with ``durable=True`` nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

from cacheclient.errors import UnavailableError
from cacheclient.held import Fence, Item, Mark
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.remote import Store
from cacheclient.stats import Stats
from cacheclient.tags import Tags

_BATCH: Final = 128  # entries compared at once
_PAUSE: Final = 0.01  # seconds between batches at least: 12,800 entries a second at most
_RETRY: Final = 0.1  # seconds before the next attempt while L2 does not answer


class Revalidation:
    """Compares the suspect entries of one cache's L1 with L2, while there are any."""

    def __init__(self, space: KeySpace, store: Store, local: Local, tags: Tags, stats: Stats) -> None:
        self._space = space
        self._store = store
        self._local = local
        self._tags = tags
        self._stats = stats
        self._void: Callable[[Item], bool] = lambda _: False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def distrust(self, void: Callable[[Item], bool]) -> None:
        """Have no entry trusted of which ``void`` says that it was invalidated, though Redis may still hold it."""
        self._void = void

    def begin(self) -> None:
        """Make every entry of L1 suspect, and compare them from now on."""
        self._local.suspect()
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="cacheclient-revalidation")

    async def close(self) -> None:
        """Stop comparing; what is suspect stays so."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while items := self._local.doubted(_BATCH):
            began = perf_counter()
            try:
                await self._compare(items)
            except UnavailableError:
                self._local.doubt(items)
                await asyncio.sleep(_RETRY)
            await asyncio.sleep(max(_PAUSE, perf_counter() - began))

    async def _compare(self, items: list[Item]) -> None:
        """Settle each of ``items`` by what L2 holds of it."""
        fences = [self._local.begin(item.key) for item in items]
        try:
            found = await self._store.write_ids([self._space.full(item.key) for item in items])
            standing = await self._tags.stand_all([item.tags for item in items])
            for item, fence, write_id, stands in zip(items, fences, found, standing, strict=True):
                trusted = stands and write_id == item.write_id and not self._void(item)
                self._settle(item, fence, self._tags.guards(item.tags) if trusted else None)
        finally:
            for item, fence in zip(items, fences, strict=True):
                self._local.abandon(item.key, fence)

    def _settle(self, item: Item, fence: Fence, guards: tuple[Mark, ...] | None) -> None:
        if self._local.settle(item, fence, guards):
            self._stats.revalidated["trusted" if guards is not None else "dropped"] += 1
