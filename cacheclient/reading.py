"""The read path below L1: L2, tags, and the fill of L1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from cacheclient.clock import Clock
from cacheclient.contract import Tier
from cacheclient.entry import Flag
from cacheclient.errors import UnavailableError
from cacheclient.jobs import LOAD_FAILED
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.remote import Store
from cacheclient.serializer import Serializer, Stored
from cacheclient.stats import Stats
from cacheclient.tags import Tags

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """A value and where it came from.

    Attributes:
        tier: the tier that answered.
        age: seconds since it was written to L2, by the Redis server's clock.
        write_id: the id of that write, in hex.
        stale: why it is past its time (``load_failed``); empty if it is not.
    """

    value: T
    tier: Tier
    age: float
    write_id: str
    stale: str = ""


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
        *,
        peek: Callable[[str], Any],
        stats: Stats,
        clock: Clock,
    ) -> None:
        self._space = space
        self._store = store
        self._local = local
        self._serializer = serializer
        self._tags = tags
        self._journal = journal
        self.peek = peek
        self._stats = stats
        self._clock = clock

    async def read(self, key: str) -> tuple[Stored | None, bool]:
        """Look into L2 after L1 missed; return what may be used, and whether it is fresh. What is fresh fills L1."""
        full = self._space.full(key)
        began = perf_counter()
        stats = self._stats
        stats.l1.misses += 1
        # While Redis lacks the tombstone of an own invalidation, what it holds must not be read.
        stored = None if key in self._journal else await self._fetch(key, full)
        if stored is None or self._serializer.remaining(stored) <= 0:
            stats.l2.misses += 1
            return stored, False
        stats.l2.hits += 1
        stats.all_lookups.observe(perf_counter() - began)
        return stored, True

    async def entry(self, key: str) -> Entry[Any] | None:
        """Return the value of ``key`` with its provenance, or None."""
        item = self._local.table.get(key)
        if item is not None and self.peek(key) is not ABSENT:
            age = self._serializer.age(item.written_ms)
            return Entry(item.value, Tier.L1, age, item.write_id.hex(), LOAD_FAILED if item.kept else "")
        stored, fresh = await self.read(key)
        if stored is None or not fresh:
            return None
        envelope = stored.envelope
        stale = LOAD_FAILED if envelope.flags & Flag.KEPT else ""
        age = self._serializer.age(envelope.written_ms)
        return Entry(stored.value, Tier.L2, age, envelope.write_id.hex(), stale)

    async def _fetch(self, key: str, full: str) -> Stored | None:
        fence = self._local.begin(key)
        try:
            stored = self._serializer.load(await self._store.read(full), full)
            if stored is None or not await self._tags.stand(stored.envelope.tags):
                return None
            remaining, guards = self._serializer.remaining(stored), self._tags.guards(stored.envelope.tags)
            if remaining > 0 and guards is not None:
                self._local.commit(key, fence, stored, self._clock(), remaining, guards)
        except UnavailableError:
            return None
        finally:
            self._local.abandon(key, fence)
        return stored
