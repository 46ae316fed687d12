"""Making every tier of the fleet forget: a key (by a new value, too), a tag, a pattern, everything.

Each has the same shape. What this process holds goes first; then Redis is told, and through it every other process;
then what this process holds goes once more, because a read that began before Redis was told may have filled L1
meanwhile. If Redis cannot be told, the journal owes it, and until that is paid this process does not read from Redis
what it owes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from cacheclient import entry, events
from cacheclient.clock import Clock
from cacheclient.errors import ConfigurationError, UnavailableError
from cacheclient.events import Event, EventType, Priority
from cacheclient.flights import Flights
from cacheclient.jobs import Terms
from cacheclient.journal import Acknowledged, Debt, Journal
from cacheclient.keys import Glob, KeySpace, escape, id_of
from cacheclient.local import Local
from cacheclient.options import CacheOptions
from cacheclient.remote import Step, Store
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats
from cacheclient.tags import NAMESPACE, Tags

Progress = Callable[[int], None]


class Invalidation:
    """The invalidations of one cache by this process.

    Attributes:
        id: of this cache, in the events it sends.
        journal: what Redis must be told, or told again.
    """

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        flights: Flights,
        tags: Tags,
        options: CacheOptions,
        *,
        stats: Stats,
        clock: Clock,
    ) -> None:
        self._space = space
        older = options.sync.supersedes
        if older >= space.version:
            raise ConfigurationError(f"sync.supersedes={older!r}: a version below the cache's own, {space.version}")
        self._older = KeySpace(space.namespace, older).prefix if older else ""
        self._store = store
        self._local = local
        self._serializer = serializer
        self._flights = flights
        self._tags = tags
        self._asked: Callable[[str], None] = lambda _: None
        # Tombstones outlive every load that may have begun before them, markers every entry of the default ttl.
        self.grave = 2 * options.lock.lease
        self._marker_life = 2 * options.l2.ttl
        self._stats = stats
        self._clock = clock
        self.id = entry.new_write_id().hex()
        self._pod = os.uname().nodename
        self.journal = Journal(self._pay, options.sync.journal, clock)

    def time_with(self, asked: Callable[[str], None]) -> None:
        """Have ``asked`` called with each key that Redis is about to be told to forget."""
        self._asked = asked

    async def key(self, key: str, *, durable: bool) -> bool:
        """Forget one key; return whether Redis (with ``durable``: a replica) acknowledged it."""
        try:
            with self._owing(Debt("key", key), lambda: self.forget(key)):
                self._asked(key)
                return await self._bury(key, durable=durable) or not durable
        except UnavailableError:
            return False

    async def tag(self, name: str) -> bool:
        """Forget every entry that carries a tag; return whether Redis acknowledged it."""
        debt = Debt("tag", name)
        try:
            with self._owing(debt, lambda: self._forget_tag(name)):
                await self._pay(debt)
        except UnavailableError:
            return False
        return True

    async def pattern(self, glob: Glob, progress: Progress | None) -> int | None:
        """Forget every key that matches; return how many values Redis had, or None if it did not take all of it."""
        debt = Debt("pattern", glob.pattern)
        try:
            with self._owing(debt, lambda: self._forget_matching(glob)):
                buried = await self._bury_matching(glob.pattern, progress)
        except UnavailableError:
            return None
        self._announce(EventType.INVALIDATE, self._space.prefix + glob.pattern, Priority.HIGH)
        return buried

    async def count(self, glob: Glob, version: int | None) -> int:
        """Return how many values match, in ``version`` of the namespace, or where ``pattern`` would look."""
        own = (self._space.prefix, self._older) if self._older else (self._space.prefix,)
        prefixes = own if version is None else (KeySpace(self._space.namespace, version).prefix,)
        steps = (step for prefix in prefixes async for step in self._store.scan(prefix + glob.pattern))
        return sum([await self._values(step) async for step in steps])

    async def _values(self, step: Step) -> int:
        ids = await self._store.write_ids([key.decode("utf-8", "replace") for key in step.keys])
        return len(ids) - ids.count(None)

    async def pattern_everywhere(self, glob: Glob, progress: Progress | None) -> int | None:
        """Do the same in every namespace and version; what fails in the others is not owed."""
        own = await self.pattern(glob, progress)

        def others(full: str) -> bool:
            key = id_of(full)
            return key is not None and glob.matches(key) and not full.startswith(self._space.prefix)

        buried, everywhere = own or 0, f"*:v[1-9]*:{glob.pattern}"
        self._announce(EventType.INVALIDATE, everywhere, Priority.LOW)  # before, too: see _bury_matching
        try:
            async for count in self._store.bury_matching(everywhere, entry.new_write_id(), self.grave, others):
                buried += count
                if progress is not None:
                    progress(buried)
        except UnavailableError:
            return None
        self._announce(EventType.INVALIDATE, everywhere, Priority.HIGH)
        return None if own is None else buried

    async def version(self, version: int, progress: Progress | None) -> int | None:
        """Delete every entry of this or an older version; return how many, None if Redis did not answer to the end.

        Entries go with a push each, and loads in flight find nothing to compare with: there is no need of tombstones.
        """
        space = self._space.older(version)
        if space == self._space:
            self._local.flush()
            self._flights.detach_all()
        dropped = 0
        try:
            async for count in self._store.drop_matching(f"{escape(space.prefix)}*"):
                dropped += count
                if progress is not None:
                    progress(dropped)
        except UnavailableError:
            return None
        finally:
            if space == self._space:
                self._local.flush()
                self._flights.detach_all()
        return dropped

    async def put(self, key: str, value: Any, terms: Terms) -> bool:
        """Store ``value`` in place of what is there; return whether Redis acknowledged it.

        If not, a tombstone is owed: nobody knows whether it is stored.

        Raises:
            CodecError: if the value cannot be encoded; then nothing has changed.
        """
        full, debt = self._space.full(key), Debt("key", key)
        payload = self._serializer.encode(value, full)
        self.forget(key)
        try:
            held = terms.ttl + terms.stale
            tagged = await self._tags.take(terms.tags, held)
            data, stored = self._serializer.seal(value, payload, terms.ttl, tags=tagged)
            await self._store.put(full, data, held)
            if self._older:
                await self._store.bury(self._older + key, entry.new_write_id(), self.grave, durable=False)
        except UnavailableError:
            self.journal.owe(debt)
            return False
        except BaseException:  # a cancelled caller cannot tell either whether Redis has it
            self.journal.owe(debt)
            raise
        finally:
            self.forget(key)
        self.journal.note_set(key, Acknowledged(stored.write_id, stored.written_ms))
        self._announce(EventType.UPDATE, escape(full), before_ms=stored.written_ms)
        if not self._store.echoes:
            fence, guards = self._local.begin(key), self._tags.guards(tagged)
            self._local.commit(key, fence, stored, self._clock(), terms.ttl, guards or ())
        return True

    def forget(self, key: str) -> None:
        """Drop a key from this process: its L1 entry, fills in flight, and the flight that nobody may join any more."""
        self._local.drop(key)
        self._flights.detach(key)

    def event(self, kind: EventType, pattern: str, priority: Priority, *, plan: str = "", before_ms: int = 0) -> Event:
        """Return an event of this cache about the whole Redis keys that match ``pattern``."""
        return Event(
            event_type=kind, key_pattern=pattern, timestamp=time.time(), source_pod=self._pod, priority=priority,
            id=self.id, version=self._space.version, plan=plan,
            before_ms=before_ms,
        )  # fmt: skip

    def announce(self, event: Event) -> None:
        """Send an event to whoever listens."""
        self._store.publish(events.channel_of(event), events.encode(event))

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _owing(self, debt: Debt, forget: Callable[[], None]) -> Iterator[None]:
        """Around telling Redis: forget before and after, remember it, and owe it if Redis does not answer."""
        self._stats.invalidations[f"{debt.kind}/local"] += 1
        self.journal.note(debt)
        forget()
        try:
            yield
        except BaseException:  # Redis did not answer; or the caller was cancelled, and cannot tell whether Redis has it
            self.journal.owe(debt)
            raise
        finally:
            forget()

    async def _pay(self, debt: Debt) -> None:
        if debt.kind == "key":
            await self._bury(debt.name, durable=False)
        elif debt.kind == "set":
            await self._repair(self._space.full(debt.name), self.journal.last_set(debt.name))
        elif debt.kind == "tag":
            life, marker = None if debt.name == NAMESPACE else self._marker_life, self._space.marker(debt.name)
            self._announce(EventType.INVALIDATE, escape(marker))
            await self._store.remark(marker, entry.new_write_id(), life)
        else:
            await self._bury_matching(debt.name, None)

    async def _repair(self, full: str, last: Acknowledged | None) -> None:
        """Have Redis forget what is older than the last set; if it takes no writes now, tell the others about that."""
        if last is None:
            return
        try:
            await self._store.repair(full, last.write_id, entry.new_write_id(), self.grave)
        except UnavailableError:
            self._announce(EventType.UPDATE, escape(full), before_ms=last.written_ms)
            raise

    async def _bury_matching(self, pattern: str, progress: Progress | None) -> int:
        # Told before the search, too: a warm-up may store what it read before under a key that the search has passed.
        self._announce(EventType.INVALIDATE, self._space.prefix + pattern, Priority.LOW)
        buried = 0
        for prefix in (self._space.prefix, self._older) if self._older else (self._space.prefix,):
            async for count in self._store.bury_matching(prefix + pattern, entry.new_write_id(), self.grave):
                buried += count
                if progress is not None:
                    progress(buried)
        return buried

    async def _bury(self, key: str, *, durable: bool) -> bool:
        self._announce(EventType.INVALIDATE, escape(self._space.full(key)))  # before: whoever hears no more trusts less
        acknowledged = await self._store.bury(self._space.full(key), entry.new_write_id(), self.grave, durable=durable)
        if not self._older:
            return acknowledged
        too = await self._store.bury(self._older + key, entry.new_write_id(), self.grave, durable=durable)
        return acknowledged and too

    def _forget_tag(self, name: str) -> None:
        self._tags.changed(name)
        if name == NAMESPACE:
            self._local.flush()
        self._flights.detach_all()

    def _forget_matching(self, glob: Glob) -> None:
        self._local.drop_matching(glob.matches)
        self._flights.detach_all(glob.matches)

    def _announce(
        self, kind: EventType, pattern: str, priority: Priority = Priority.NORMAL, before_ms: int | None = None
    ) -> None:
        """Tell the others that what matches is void, if it was written before ``before_ms`` (default: before now)."""
        if before_ms is None:
            before_ms = self._serializer.now_ms()
        self.announce(self.event(kind, pattern, priority, before_ms=before_ms))
