"""The read path below L1: L2, tags, and the fill of L1, for all reads of an event-loop tick at once.

Theory of operation. A read that L1 did not answer puts its key and a waiter into the batch of this tick, each key once,
however many wait for it. At the end of the tick the batch leaves as one MGET. When its answer is parsed, one loop goes
over the whole of it: header, tags, codec, fence, L1, waiters; each entry is decoded once. So a read costs its caller
one future and one wake-up, and no coroutine, task or callback of its own. The counters are raised per batch.

What must hold for each read is kept where the batch is handled. The fence stands before the batch leaves. What this
process owes Redis is checked when the batch leaves: nobody joins it later, so a caller who comes after an invalidation
never shares a read that began before it. A token of a tag that is not known is asked of Redis by one more MGET, behind
which only the entries that carry it wait. An entry that cannot be decoded is a miss of its own, not of its batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from cacheclient.clock import Clock
from cacheclient.codec import codec_name
from cacheclient.contract import Tier
from cacheclient.entry import KEPT, UNPROVEN, Stored, Tagged, unpack_tags
from cacheclient.errors import UnavailableError
from cacheclient.hearsay import Hearsay
from cacheclient.held import Mark
from cacheclient.jobs import LOAD_FAILED, OFFLINE
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.missing import ABSENT, MISSING
from cacheclient.native import compiled
from cacheclient.provenance import Entry
from cacheclient.reads import NOTHING, Batch, Found, Waiter
from cacheclient.remote import Store
from cacheclient.serializer import Serializer
from cacheclient.sizing import MASK
from cacheclient.stats import Stats
from cacheclient.tags import Tags, names

_Settled = tuple[str, Stored | None, tuple[Mark, ...] | None]  # Redis key, what may be used, what L1 must watch
Unsure = list[tuple[str, Stored]]  # by Redis key
Settler = Callable[..., tuple[int, int, Sequence[int]]]


def _stale(flags: int) -> str:
    """Return why a value with these flags is past its time, or not proved to be within it."""
    if flags & UNPROVEN:
        return OFFLINE
    return LOAD_FAILED if flags & KEPT else ""


class Reader:
    """Reads for one cache.

    Attributes:
        peek: look into L1 only: the value, or ABSENT. Counts a hit, but no miss. Any thread may call it.
    """

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        tags: Tags,
        journal: Journal,
        hearsay: Hearsay,
        *,
        peek: Callable[[str], Any],
        stats: Stats,
        clock: Clock,
    ) -> None:
        self.full = space.full
        self._cut = len(space.prefix)  # what a Redis key has before the id
        self._store = store
        self._local = local
        self._serializer = serializer
        self._codec = codec_name(serializer.readable[1])
        self._tags = tags
        self._journal = journal
        self._hearsay = hearsay
        self.peek = peek
        self._stats = stats
        self._clock = clock
        self._batch: Batch | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._settler = self._compiled()

    def _compiled(self) -> Settler | None:
        """Return what settles ordinary reads; None where it is not compiled, or the codec has to know the key."""
        if compiled is None or self._serializer.keyed:
            return None
        parse, local = self._serializer.parse, self._local
        settler: Settler = compiled.settler(
            self._serializer.codec.id, parse, Stored, NOTHING, unpack_tags, local, local.abandon, MASK
        )
        return settler

    def read(self, key: str) -> asyncio.Future[Found]:
        """Look into L2 after L1 missed; the future gives what may be used, and for how long it is fresh.

        What is fresh fills L1.
        """
        full, loop, batch = self.full(key), asyncio.get_running_loop(), self._batch
        if batch is None:
            loop.call_soon(self.leave)
            batch = self._batch = Batch()
        future: asyncio.Future[Found] = loop.create_future()
        batch.add(full, future)
        return future

    def join(self, full: str, waiter: Waiter) -> None:
        """Have ``waiter`` told of the Redis key ``full``; whoever calls this also sees to it that the batch leaves."""
        batch = self._batch
        if batch is None:
            batch = self._batch = Batch()
        batch.add(full, waiter)

    async def entry(self, key: str) -> Entry[Any] | None:
        """Return the value of ``key`` with its provenance, or None."""
        item = self._local.table.get(key)
        if item is not None and (value := self.peek(key)) is not ABSENT:
            return Entry(
                value=value, tier=Tier.L1, age=self._serializer.age(item.written_ms),
                remaining=max(0.0, item.ends - self._clock()), write_id=item.write_id.hex(),
                stale=LOAD_FAILED if item.kept else "", tags=names(item.tags), size=item.size, codec=self._codec,
            )  # fmt: skip
        stored, fresh = await self.read(key)
        if stored is None or not fresh:
            return None
        return Entry(
            value=stored.value, tier=Tier.L1 if stored.flags & UNPROVEN else Tier.L2,
            age=self._serializer.age(stored.written_ms),
            remaining=max(0.0, self._serializer.remaining(stored)), write_id=stored.write_id.hex(),
            stale=_stale(stored.flags), tags=names(stored.tags), size=stored.size, codec=self._codec,
        )  # fmt: skip

    async def close(self) -> None:
        """Tell everybody who still waits for a token that there is nothing."""
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Send the batch; who comes now makes another."""
        batch, self._batch = self._batch, None
        if batch is not None and (keys := self.depart(batch)):
            self.send(batch, keys)

    def depart(self, batch: Batch) -> list[str]:
        """Return what Redis is to be asked for; what it still has to forget is answered at once."""
        self._stats.l1.misses += len(batch.first) + sum(map(len, batch.more.values()))
        cut, journal = self._cut, self._journal
        ids = batch.ids = {full: full[cut:] for full in batch.first}
        if len(journal):
            # While Redis lacks the tombstone of an own invalidation, what it holds must not be read.
            owed = [full for full, key in ids.items() if key in journal]
            self._settle(batch, [(full, None, None) for full in owed])
            for full in owed:
                del batch.first[full], ids[full]
                batch.more.pop(full, None)
        if self._local.enabled:
            batch.fences = dict(zip(ids, self._local.begin_all(ids.values()), strict=True))
        return list(batch.first)

    def send(self, batch: Batch, keys: Sequence[str]) -> None:
        """Ask Redis. Runs on the event loop."""
        self._store.fetch(keys, partial(self.arrive, batch))

    def arrive(self, batch: Batch, keys: Sequence[str], values: Sequence[bytes | None] | UnavailableError) -> None:
        """Take the answer to a part of a batch. Runs on the event loop."""
        if isinstance(values, UnavailableError):
            self._go_without(batch, keys)
        elif unsure := self.take(batch, keys, values):
            self.ask_for_tags(batch, unsure)

    def take(self, batch: Batch, keys: Sequence[str], values: Sequence[bytes | None]) -> Unsure:
        """Settle what was read; return the entries whose tokens Redis must be asked for."""
        rest = self._take_ordinary(batch, keys, values)
        if rest is not None:
            if not rest:
                return []
            keys, values = [keys[place] for place in rest], [values[place] for place in rest]
        load = self._serializer.load
        found = [load(raw, full) for raw, full in zip(values, keys, strict=True)]
        if self._hearsay.doubts:
            found = list(map(self._believed, found, keys))
        watched = self._watched(found)
        if None not in watched:
            self._settle(batch, zip(keys, found, watched, strict=True))
            return []
        sure: list[_Settled] = []
        unsure: Unsure = []
        for full, stored, guards in zip(keys, found, watched, strict=True):
            if stored is not None and guards is None:
                unsure.append((full, stored))
            else:
                sure.append((full, stored, guards))
        self._settle(batch, sure)
        return unsure

    def _take_ordinary(self, batch: Batch, keys: Sequence[str], values: Sequence[bytes | None]) -> Sequence[int] | None:
        """Have compiled code settle what nothing is special about; return the places of the rest, None for all."""
        if self._settler is None or self._hearsay.doubts or (standing := self._standing()) is None:
            return None
        now, now_ms = self._clock(), self._serializer.now_ms()
        hits, misses, rest = self._settler(batch, keys, values, standing, now, now_ms, self._local.follower)
        self._count(batch, hits, misses)
        return rest

    def _believed(self, stored: Stored | None, full: str) -> Stored | None:
        """Return ``stored``, unless others have said that it is void."""
        if stored is None or self._hearsay.refutes(full, stored.written_ms, stored.tags):
            return None
        return stored

    def ask_for_tags(self, batch: Batch, unsure: Unsure) -> None:
        """Settle entries when their tokens are known. Runs on the event loop."""
        task = asyncio.create_task(self._verify(batch, unsure), name="cacheclient-tags-of-reads")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _standing(self) -> Mapping[Tagged, tuple[Mark, ...]] | None:
        """Return the tags that are known to stand; None if nothing that is known of any may be trusted now."""
        return None if len(self._journal) else self._tags.standing()

    def _watched(self, found: Sequence[Stored | None]) -> list[tuple[Mark, ...] | None]:
        """Return what L1 must watch of each entry; None for one whose tokens Redis must be asked for."""
        standing = self._standing()
        if standing is None:
            return [() if stored is None else None for stored in found]
        watched = [() if stored is None else standing.get(stored.tags) for stored in found]
        if None not in watched:
            return watched
        known = self._tags.guards
        return [
            known(stored.tags) if stored is not None and guards is None else guards
            for stored, guards in zip(found, watched, strict=True)
        ]

    async def _verify(self, batch: Batch, unsure: Unsure) -> None:
        """Settle entries with tokens that Redis must be asked for."""
        stand = [False] * len(unsure)
        try:
            stand = await self._tags.stand_all([stored.tags for _, stored in unsure])
        except UnavailableError:
            self._go_without(batch, [full for full, _ in unsure])
            unsure, stand = [], []
        finally:
            self._settle(
                batch,
                [
                    (full, stored, self._tags.guards(stored.tags)) if stands else (full, None, None)
                    for (full, stored), stands in zip(unsure, stand, strict=True)
                ],
            )

    def _go_without(self, batch: Batch, keys: Sequence[str]) -> None:
        """Answer what L1 may serve without a proof while Redis is away; the rest are misses."""
        local, now, ids = self._local, self._clock(), batch.ids
        rest: list[_Settled] = []
        for full in keys:
            item = local.unproven(ids[full], now)
            if item is None:
                rest.append((full, None, None))
                continue
            if batch.fences:
                local.abandon(ids[full], batch.fences[full])
            value = item.value
            if local.copies and value is not MISSING:
                value = self._serializer.decode(value, full)
            waiters = batch.waiters(full)
            self._stats.stale_served[OFFLINE] += len(waiters)
            stored = item.unproven(value, now, self._serializer.now_ms())
            self._tell_each(waiters, (stored, item.ends - now), full)
        self._settle(batch, rest)

    def _tell_each(self, waiters: Sequence[Waiter], found: Found, full: str) -> None:
        """Tell everybody who waits; where callers are to have values of their own, each of one of its own."""
        stored, left = found
        for number, waiter in enumerate(waiters):
            if number and stored is not None and self._local.copies:
                value = self._serializer.copy(stored.value, full)
                found = (msgspec.structs.replace(stored, value=value), left)
            if not waiter.done():
                waiter.set_result(found)

    def _settle(self, batch: Batch, settled: Iterable[_Settled]) -> None:
        """Fill L1 with what is fresh, and tell everybody who waits."""
        local, follower = self._local, self._local.follower
        first, more, ids, fences = batch.first, batch.more, batch.ids, batch.fences
        now, now_ms = self._clock(), self._serializer.now_ms()
        hits = misses = 0
        for full, stored, guards in settled:
            found, left, key = NOTHING, 0.0, ids[full]
            if stored is not None:
                left = stored.remaining(now_ms)
                found = (stored, left if left > 0 else 0.0)
            times = 1 + len(more[full]) if full in more else 1
            if follower is not None and hash(key) & MASK < follower.below:
                follower.missed(key, times, now, left if left > 0 else None)
            if left > 0:
                hits += times
            else:
                misses += times
            if fences:
                if stored is not None and left > 0 and guards is not None:
                    local.commit(key, fences[full], stored, now, left, guards)
                else:
                    local.abandon(key, fences[full])
            if times > 1:
                self._tell_each(batch.waiters(full), found, full)
                continue
            waiter = first[full]
            if not waiter.done():  # its caller may have been cancelled
                waiter.set_result(found)
        self._count(batch, hits, misses)

    def _count(self, batch: Batch, hits: int, misses: int) -> None:
        """Count what reads of ``batch`` found that took until now."""
        seconds = perf_counter() - batch.began
        self._stats.l2.hits += hits
        self._stats.l2.misses += misses
        self._stats.l2.lookup.observe(seconds, hits + misses)
        self._stats.all_lookups.observe(seconds, hits)
