"""Putting the items of one source into the cache, so that nothing old ever replaces something newer.

Keys are loaded as misses are: under a lease, compare-and-set, see ``loads``. So the database is read after the lease
stands, and whoever invalidates meanwhile wins.

Values were read before anybody knew of them here. Each has four fences:

1. What is stored gives way: a value is written only over nothing, or (``renew``) over one that is older than the
   reading of the source; a lease and a tombstone stay (``scripts/adopt.lua``, which compares the Redis server's times).
2. What was invalidated since the source began to be read, and whose tombstone may have expired, is known from events
   (``watch``). A value is written only while the gate proves that the listener hears them.
3. A pattern that was searched for before the value was written leaves nothing under its key. It is announced before the
   search, but the word may still be on its way. So each batch is looked at again when the listener has proved that it
   has heard everything up to the batch's end, and what was invalidated meanwhile is taken back. Tags are looked at
   then, too: their tokens must be those from before the source was read (``tokens``).
4. Where anything may have been missed (the connection broke), what is not proved is taken back, and read again.

What no fence can know is what was invalidated before the source was read: a file is as old as its export.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from cacheclient import entry
from cacheclient.batch import Batch
from cacheclient.cache import AsyncCache
from cacheclient.contract import Tier
from cacheclient.entry import NEGATIVE, Stored
from cacheclient.errors import ClosedError, UnavailableError
from cacheclient.jobs import Job, Landed, Terms
from cacheclient.missing import ABSENT, MISSING
from cacheclient.tags import NAMESPACE
from cacheclient.warming.items import Bad, Cursor, Item, Source
from cacheclient.warming.report import MAX_ERRORS, SourceReport
from cacheclient.warming.tokens import Tokens
from cacheclient.warming.watch import Watch

_POLL: Final = 0.01  # seconds between looks at the gate
_HEARING: Final = 10.0  # seconds to wait until Redis tells of changes
_SLICE: Final = 8  # values that are encoded, and stored, together
_HOPELESS: Final = 3  # batches in a row of which no key could be loaded


class SourceError(Exception):
    """A source cannot go on; the text says why."""


@dataclass(slots=True)
class _Written:
    """What was stored: its id; of a value also its write id, its tags, and the seconds it lives.

    What was loaded under a lease needs no proof, is never taken back, and has no write id here.
    """

    key: str
    write_id: bytes
    tags: tuple[str, ...] = ()
    life: float = 0.0


@dataclass(slots=True)
class _Unproved:
    """A batch that was stored at ``ended`` (the cache's clock); what came of it, and where the source goes on."""

    ended: float
    entries: list[_Written]
    result: SourceReport
    at: Cursor


class Filling:
    """Fills the cache from one source.

    Attributes:
        at: where the source goes on after everything that is proved.
    """

    def __init__(
        self, cache: AsyncCache[Any], source: Source, report: SourceReport, at: Cursor, *, renew: bool, dry_run: bool
    ) -> None:
        self.at = at
        self._cache = cache
        self._parts = cache._parts  # noqa: SLF001  of one package
        self._clock = self._parts.clock
        self._source = source
        self._report = report
        self._renew = renew
        self._dry_run = dry_run
        self._unproved: deque[_Unproved] = deque()
        self._graves: dict[str, bytes] = {}  # what was taken back to be read again, and the write ids of the tombstones
        self._hopeless = 0
        self._watch = Watch(cache.space.prefix)
        self._tokens = Tokens(self._parts.shared.store, cache.space, self._clock)
        self._began_ms = self._parts.serializer.now_ms()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[Watch]:
        """Look at what changes as long as the block lasts, in which the source is read from ``at`` on.

        Raises:
            UnavailableError: if Redis does not answer, or does not tell of changes.
        """
        while self._unproved:
            self._graves |= await self._take_back(self._unproved[0].entries)
            self._unproved.popleft()
        give_up = self._clock() + _HEARING
        while self._clock() >= self._parts.shared.gate.until:
            await self._poll(give_up)
        self._watch = watch = Watch(self._cache.space.prefix)
        with self._parts.hearing.witnesses.joined_by(watch):
            await self._tokens.begin(watch)
            self._began_ms = self._parts.serializer.now_ms()
            yield watch

    async def put(self, batch: Sequence[Item | Bad]) -> list[str]:
        """Store a batch; return the ids of what the cache has now.

        Raises:
            UnavailableError: if Redis does not answer. What was stored is proved, or taken back, later.
            SourceError: if loading fails again and again.
        """
        result = SourceReport(self._source.name, read=len(batch))
        wanted: dict[str, Item] = {}
        for item in batch:
            if isinstance(item, Bad):
                result.fail(item.where, item.why)
            elif (why := self._fault(item)) is not None:
                result.fail(item.where or repr(item.key), why)
            else:
                result.skipped += item.key in wanted
                wanted.setdefault(item.key, item)
        there = await self._present(list(wanted))
        missing = [item for key, item in wanted.items() if (self._renew or key not in there) and not self._owed(item)]
        result.skipped += len(wanted) - len(missing)
        written = _Unproved(0.0, [], result, batch[-1].at)
        try:
            await self._carry_out(missing, written)
        finally:
            written.ended = self._clock()
            self._unproved.append(written)
        return [key for key in wanted if key in there] + [one.key for one in written.entries]

    async def settle(self, *, wait: bool) -> None:
        """Count the batches that are proved, and take back what was invalidated meanwhile; with ``wait``, of all.

        Raises:
            UnavailableError: if Redis does not answer.
        """
        gate, lag = self._parts.shared.gate, self._cache.options.sync.max_staleness
        give_up = self._clock() + _HEARING
        while self._unproved and not self._watch.lost:
            batch = self._unproved[0]
            if batch.ended > gate.until - lag:
                if not wait:
                    return
                await self._poll(give_up)
                continue
            ours = [one for one in batch.entries if one.write_id]
            tags = {tag for one in ours for tag in one.tags}
            if ours and not await self._tokens.stand(tags, max(one.life for one in ours)):
                return
            swept = [one for one in ours if self._watch.hit(one.key)]
            await self._take_back(swept)
            self._unproved.popleft()
            batch.result.written -= len(swept)
            batch.result.skipped += len(swept)
            self._count(batch.result)
            self.at = batch.at

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _poll(self, give_up: float) -> None:
        if self._clock() >= give_up:
            raise UnavailableError(f"Redis has told of no changes for {_HEARING:g} s")
        await asyncio.sleep(_POLL)

    def _terms(self, item: Item) -> Terms:
        return self._cache._terms(item.ttl, tags=item.tags)  # noqa: SLF001  of one package

    def _fault(self, item: Item) -> str | None:
        try:
            self._cache.space.full(item.key)
            self._terms(item)
        except (ValueError, TypeError) as error:
            return str(error)
        if item.value is ABSENT and self._source.load_many is None:
            return "no value, and the source has no loader"
        return None

    def _owed(self, item: Item) -> bool:
        """Return whether Redis still lacks an own invalidation of the item's key or tags."""
        journal = self._parts.invalidation.journal
        return item.key in journal or journal.owes_tag((NAMESPACE, *item.tags))

    async def _present(self, keys: list[str]) -> set[str]:
        """Return those of ``keys`` that have a value. Also asked for ``renew``: it fails while Redis is away."""
        space = self._cache.space
        ids = await self._parts.shared.store.write_ids([space.full(key) for key in keys])
        return {key for key, write_id in zip(keys, ids, strict=True) if write_id is not None}

    async def _carry_out(self, items: list[Item], batch: _Unproved) -> None:
        if self._dry_run:
            batch.result.written += len(items)
            batch.entries += [_Written(item.key, b"") for item in items]
            return
        await self._load([item for item in items if item.value is ABSENT], batch)
        await self._store([item for item in items if item.value is not ABSENT], batch)

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def _load(self, items: list[Item], batch: _Unproved) -> None:
        if not items or self._source.load_many is None:
            return
        together = Batch(self._source.load_many)
        fly, renew = self._parts.flights.fly, self._renew
        jobs = (Job(item.key, together.load, self._terms(item), anew=renew) for item in items)
        landed = await together.gather([(job.key, partial(fly, job)) for job in jobs])
        failed = batch.result.failed
        for item, outcome in zip(items, landed, strict=True):
            if isinstance(outcome, Landed):
                stored = outcome.stored is not None and outcome.tier is Tier.L3
                batch.result.written += stored
                batch.result.skipped += not stored
                if stored:
                    batch.entries.append(_Written(item.key, b""))
            elif isinstance(outcome, ClosedError) or not isinstance(outcome, Exception):
                raise outcome
            else:
                last = f"{type(outcome).__name__}: {outcome}"
                batch.result.fail(item.where or repr(item.key), last)
        self._hopeless = self._hopeless + 1 if batch.result.failed - failed == len(items) else 0
        if self._hopeless >= _HOPELESS:
            raise SourceError(f"no key of {_HOPELESS} batches in a row could be loaded; {last}")

    # -- values -------------------------------------------------------------------------------------------------------

    async def _store(self, items: list[Item], batch: _Unproved) -> None:
        """Store values a few at a time: who else asks Redis meanwhile waits for that many at most."""
        if not self._parts.shared.store.echoes:  # no second tier: L1 has it
            for item in items:
                await self._cache.set(item.key, item.value, ttl=item.ttl, tags=item.tags)
                batch.entries.append(_Written(item.key, b""))
            batch.result.written += len(items)
            return
        await self._tokens.take({tag for item in items for tag in item.tags})  # all that are new in one go
        for start in range(0, len(items), _SLICE):
            ready: list[tuple[_Written, bytes]] = []
            for item in items[start : start + _SLICE]:
                try:
                    ready.append(await self._packed(item, self._terms(item)))
                except UnavailableError:
                    raise
                except Exception as error:  # noqa: BLE001  the application's codec may raise anything
                    batch.result.fail(item.where or repr(item.key), f"{type(error).__name__}: {error}")
            await self._send(ready, batch)

    async def _send(self, ready: list[tuple[_Written, bytes]], batch: _Unproved) -> None:
        # Without an await before they leave: what is written now was not invalidated by anything that is known now.
        heard = self._clock() < self._parts.shared.gate.until
        sent = [one for one in ready if heard and not self._watch.hit(one[0].key)]
        entries = [written for written, _ in sent]
        batch.entries += entries  # before the answer: one that is lost may have been stored all the same
        stored = await asyncio.gather(*(self._sent(written, data) for written, data in sent))
        refused = {w.key for w, done in zip(entries, stored, strict=True) if not done}
        batch.entries = [one for one in batch.entries if one.key not in refused]
        batch.result.written += len(entries) - len(refused)
        batch.result.skipped += len(ready) - len(entries) + len(refused)

    async def _sent(self, written: _Written, data: bytes) -> bool:
        """Store a value unless something newer stands there, a tombstone included, but for one that was put here."""
        store, full = self._parts.shared.store, self._cache.space.full(written.key)
        grave = self._graves.pop(written.key, None)
        if grave is not None:
            return await store.fill(full, grave, data, written.life)
        return await store.adopt(full, data, written.life)

    async def _packed(self, item: Item, terms: Terms) -> tuple[_Written, bytes]:
        """Return the entry to store. Its time is that of the source's reading, so that what is newer is known for it.

        Raises what the codec raises, and ValueError if the entry would not be one of the cache's type.
        """
        serializer, full = self._parts.serializer, self._cache.space.full(item.key)
        payload = serializer.encode(self._shaped(item.value), full)
        tagged = await self._tokens.take(terms.tags)
        read_ms = self._began_ms if item.as_of is None else min(self._began_ms, int(item.as_of * 1000))
        life_ms = max(0, serializer.now_ms() - read_ms) + round(terms.ttl * 1000)
        flags, write_id = NEGATIVE if item.value is MISSING else 0, entry.new_write_id()
        data = entry.pack(Stored(write_id, serializer.codec.id, read_ms, life_ms, 0.0, payload, flags, tagged))
        if serializer.load(data, full) is None:
            raise ValueError("it does not decode to the cache's type")
        return _Written(item.key, write_id, terms.tags, terms.ttl + terms.stale), data

    def _shaped(self, value: Any) -> Any:
        """Return what a source gave, which is plain, as a value of the cache's type: texts of a CSV file, too."""
        shape = self._cache._type  # noqa: SLF001  of one package
        return value if value is MISSING or shape is Any else msgspec.convert(value, shape, strict=False)

    async def _take_back(self, entries: Sequence[_Written]) -> dict[str, bytes]:
        """Put a tombstone over what was stored here, unless something else stands there by now; return its write id."""
        store, space, grave = self._parts.shared.store, self._cache.space, self._parts.invalidation.grave
        write_id = entry.new_write_id()
        marker = entry.tombstone(write_id)
        ours = [one for one in entries if one.write_id]
        await asyncio.gather(*(store.fill(space.full(one.key), one.write_id, marker, grave) for one in ours))
        return dict.fromkeys((one.key for one in ours), write_id)

    def _count(self, result: SourceReport) -> None:
        report, warmed = self._report, self._parts.stats.warmed
        for name in ("written", "skipped", "failed"):
            setattr(report, name, getattr(report, name) + getattr(result, name))
            warmed[name] += 0 if self._dry_run else getattr(result, name)
        report.read += result.read
        report.errors += result.errors[: max(0, MAX_ERRORS - len(report.errors))]
