"""L1: the tier in the process. Bounded by entries and by bytes, with a time to live, and with fenced fills.

Which entry leaves when there is no more room is for ``queues`` to say.

Fenced fills close the race of reading L2 while the key is being invalidated: ``begin`` registers a fence before the
read, everything that drops the key drops the fence too, and ``commit`` stores only if its own fence still stands. Reads
of one key that overlap share a fence: were each to replace the one before, a key read more often than Redis answers
would never be stored. The first to commit takes the fence away, the others need not store the same again.

Epochs. When a change may have been missed (the listener connected anew, the master changed), everything here becomes
suspect: it keeps its place but does not answer until ``settle``, or a read of it, has found the same write in L2 (see
``revalidation``). A suspect entry is one whose ``expires`` is parked in the past, so that a hit compares nothing more.

All methods belong to one thread (the event loop's). Other threads may look into ``table``: a dict read is atomic.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from time import perf_counter
from typing import Any, Final

from cacheclient.clock import Clock, Gate, JointGate, boottime
from cacheclient.entry import KEPT, Stored
from cacheclient.held import Fence, Item, Mark, check_of
from cacheclient.missing import ABSENT, MISSING
from cacheclient.native import compiled
from cacheclient.options import L1Options
from cacheclient.queues import MAX_FREQUENCY, Queues
from cacheclient.sizing import MASK, Follower
from cacheclient.stats import Histogram, TierStats

_SAMPLE: Final = 64  # one hit in so many is timed
_PARKED: Final = -math.inf  # expiry of a suspect entry


class Local:
    """The L1 of one cache.

    Attributes:
        table: every entry by key.
        enabled: whether it may hold any.
        copies: whether it holds bytes, and every caller gets a value of its own.
        ttl: seconds that an entry lives at most which is stored from now on.
        max_bytes: encoded bytes that it may hold; after it was lowered, ``shrink``.
        follower: who is told what becomes of the keys that it follows, if there is one.
    """

    def __init__(
        self, options: L1Options, stats: TierStats, offline: float = 0.0, follower: Follower | None = None
    ) -> None:
        """Prepare; ``offline`` is for how many seconds after its last proof an entry may serve, see ``unproven``."""
        self._options = options
        self.ttl = options.ttl
        self.max_bytes = options.max_bytes
        self.follower = follower
        self._offline = offline
        self._proven = -math.inf
        self._gate = Gate(0.0)
        self._stats = stats
        self._jitter, self._max_entries = options.jitter, options.max_entries  # looked up with every fill
        self.enabled = options.max_entries > 0
        self.copies = options.copy
        self.table: dict[str, Item] = {}
        self._queues: Queues[Item] = Queues(options.max_entries)
        self._fences: dict[str, Fence] = {}
        self._doubted: tuple[deque[Item], ...] = ()  # suspect entries, by how often they were used: the most used first
        stats.capacity_bytes = options.max_bytes if options.max_entries else 0
        if follower is not None:
            follower.held_in(self.table.__contains__)

    def reader(
        self,
        gate: Gate,
        clock: Clock,
        all_lookups: Histogram,
        decode: Callable[[bytes, str], Any] = lambda payload, _: payload,
    ) -> Callable[[str], Any]:
        """Return the hit path: a function of the key that gives the value, or ABSENT.

        With ``copy`` the bytes are held here, and each hit is a call of ``decode`` with them and the key.

        A hit costs one dict lookup, one clock, two comparisons and two counters. One hit in 64 is timed, and stands for
        all of them. One entry in many counts its hits for the follower, by a call of 100 ns.
        """
        self._gate = gate
        peek = self._compiled(gate, clock, all_lookups) or self._interpreted(gate, clock, all_lookups)

        def peek_copy(key: str) -> Any:
            held = peek(key)
            return held if held is ABSENT or held is MISSING else decode(held, key)

        return peek_copy if self.copies else peek

    def _compiled(self, gate: Gate, clock: Clock, all_lookups: Histogram) -> Callable[[str], Any] | None:
        """Return what does the same as ``_interpreted``, in less time; None where there is none."""
        if compiled is None or type(gate) not in {Gate, JointGate}:  # it reads their field
            return None
        sample = partial(self._sample, clock=clock, all_lookups=all_lookups)
        found: Callable[[str], Any] = compiled.hit_path(
            self.table, None if clock is boottime else clock, gate, self._stats, sample, _SAMPLE, MAX_FREQUENCY, ABSENT
        )
        return found

    def _interpreted(self, gate: Gate, clock: Clock, all_lookups: Histogram) -> Callable[[str], Any]:
        """Return a closure, because its cells are read faster than attributes."""
        lookup, stats, sample = self.table.get, self._stats, self._sample

        def peek(key: str) -> Any:
            item = lookup(key)
            if item is None or not item.expires > clock() < gate.until:
                return ABSENT
            check = item.check
            if check is not None and not check():
                return ABSENT
            if item.frequency < MAX_FREQUENCY:
                item.frequency += 1
            stats.hits = hits = stats.hits + 1
            if not hits % _SAMPLE:
                sample(key, clock, all_lookups)
            return item.value

        return peek

    def _sample(self, key: str, clock: Clock, all_lookups: Histogram) -> None:
        began = perf_counter()
        item = self.table.get(key)
        if item is not None and clock() < item.expires:
            seconds = perf_counter() - began
            self._stats.lookup.observe(seconds, _SAMPLE)
            all_lookups.observe(seconds, _SAMPLE)

    def answering(self, key: str, now: float) -> Item | None:
        """Return the entry that answers for ``key`` while the gate is open; None if none does."""
        item = self.table.get(key)
        if item is None or item.expires <= now or not all(mark.stands for mark in item.guards):
            return None
        return item

    def note_proof(self, now: float) -> None:
        """Take note until when the listener has just proved what is here to be fresh."""
        if self._gate.until > now:
            self._proven = now if self._gate.until == math.inf else self._gate.until

    def unproven(self, key: str, now: float) -> Item | None:
        """Return the entry that may serve, marked stale, though the gate is shut and L2 away; None if none may.

        Only for ``offline`` seconds after the last proof, which bounds how old it can be; a suspect one never.
        """
        return self.answering(key, now) if self._offline and now < self._proven + self._offline else None

    def begin(self, key: str) -> Fence:
        """Register a fence for a fill that is about to read ``key``; ``commit`` or ``abandon`` it, whatever happens."""
        return self.begin_all((key,))[0]

    def begin_all(self, keys: Collection[str]) -> list[Fence]:
        """Do the same for different ``keys`` that are about to be read together."""
        own, held = Fence(), self._fences
        fences = [held.setdefault(key, own) for key in keys]
        if fences.count(own) < len(fences):
            for key, fence in zip(keys, fences, strict=True):
                if fence is not own:
                    fence.others[key] = fence.others.get(key, 0) + 1
        return fences

    def abandon(self, key: str, fence: Fence) -> None:
        """Give up one reader's claim: there is nothing to fill. The last one takes the fence away."""
        others = fence.others.get(key)
        if others:
            fence.others[key] = others - 1
        elif self._fences.get(key) is fence:
            del self._fences[key]

    def commit(
        self, key: str, fence: Fence, stored: Stored, now: float, remaining: float, guards: tuple[Mark, ...] = ()
    ) -> bool:
        """Store a value if its fence still stands, until its ttl here or its ``remaining`` seconds in L2 are over.

        ``guards`` are the tags it was valid under. Afterwards there is nothing to ``abandon``.

        Returns:
            Whether it was stored. The ttl is shortened by a random share (``jitter``).
        """
        if self._fences.get(key) is not fence:
            return False
        del self._fences[key]
        life = self.ttl * (1 - self._jitter * random.random())  # noqa: S311  spreads expiry only
        expires = now + (life if life < remaining else remaining)  # noqa: FURB136  `min` takes twice the time
        value = stored.value
        if self.copies and value is not MISSING:
            value = stored.payload
        item = Item(
            key, value, expires, expires, stored.size, stored.write_id, stored.written_ms,
            bool(stored.flags & KEPT), stored.tags, guards, check_of(guards, None) if guards else None,
        )  # fmt: skip
        kept = self._insert(item)
        if kept:
            self._follow(self.table[key], now)
        return kept

    def drop(self, key: str) -> None:
        """Forget ``key`` and void every fill of it in flight."""
        self._fences.pop(key, None)
        item = self.table.get(key)
        if item is not None:
            self._remove(item)
        if self.follower is not None and hash(key) & MASK < self.follower.below_l1:
            self.follower.dropped(key)

    def drop_matching(self, matches: Callable[[str], bool]) -> None:
        """Forget every key that ``matches``, and void every fill of one in flight."""
        for key in [key for key in {*self.table, *self._fences} if matches(key)]:
            self.drop(key)
        if self.follower is not None:
            self.follower.dropped_matching(matches)

    def prolong(self, key: str, seconds: float, now: float) -> bool:
        """Let an entry live ``seconds`` from now, at most its ttl here; return whether there is one that may answer."""
        item = self.table.get(key)
        if item is None or item.expires <= now or not all(mark.stands for mark in item.guards):
            return False
        self._renew(item, now + min(seconds, self.ttl), item.guards)
        return True

    def shrink(self, most: int) -> bool:
        """Give up at most so many entries, until the others fit into ``max_bytes``; return whether they do now."""
        for _ in range(most):
            if self._stats.size_bytes <= self.max_bytes:
                break
            self._forget(self._queues.evict())
            self._stats.evictions["capacity"] += 1
        return self._stats.size_bytes <= self.max_bytes

    def flush(self) -> None:
        """Forget everything and void every fill in flight."""
        self._fences.clear()
        self._doubted = ()
        self.table.clear()
        self._queues.clear()
        self._stats.size_bytes = self._stats.entries = self._stats.suspects = 0
        if self.follower is not None:
            self.follower.flushed()

    def switch_off(self) -> None:
        """Hold nothing until ``switch_on``."""
        self.enabled = False
        self.flush()

    def switch_on(self) -> None:
        """Hold entries again, if the options allow any."""
        self.enabled = self._options.max_entries > 0

    def suspect(self) -> None:
        """Answer with nothing of what is here until it is proved anew, and void every fill in flight.

        For when any key may have changed unseen.
        """
        self._fences.clear()
        self._doubted = tuple(deque() for _ in range(MAX_FREQUENCY + 1))
        for item in self.table.values():
            item.expires = _PARKED
            self._doubted[MAX_FREQUENCY - item.frequency].append(item)
        self._stats.suspects = len(self.table)

    def doubted(self, count: int) -> list[Item]:
        """Take out up to ``count`` suspect entries, the most used first: ``settle`` them, or ``doubt`` them again."""
        found: list[Item] = []
        for queue in self._doubted:
            while queue and len(found) < count:
                item = queue.popleft()
                if item.expires == _PARKED and self.table.get(item.key) is item:
                    found.append(item)
        return found

    def doubt(self, items: list[Item]) -> None:
        """Put suspect entries back whose write nobody could look up: they are the next."""
        if self._doubted:
            self._doubted[0].extendleft(reversed(items))

    def settle(self, item: Item, fence: Fence, guards: tuple[Mark, ...] | None) -> bool:
        """Trust a suspect entry again under ``guards``, or with None forget it: L2 holds another write, or none.

        Returns:
            Whether that was done. Not if the fence, registered before L2 was asked, has fallen: then the key was
            dropped, or became suspect once more, or a read of it was quicker.
        """
        if self._fences.get(item.key) is not fence or self.table.get(item.key) is not item:
            return False
        del self._fences[item.key]
        if guards is None:
            self._remove(item)
        else:
            self._renew(item, item.ends, guards)
        return True

    def _follow(self, item: Item, now: float) -> None:
        """Have the uses of a new entry counted, if its key is followed."""
        if self.follower is not None and hash(item.key) & MASK < self.follower.below_l1:
            uses = self.follower.filled(item.key, item.size, item.expires, now)
            item.check = check_of(item.guards, uses)

    def _insert(self, item: Item) -> bool:
        table, stats = self.table, self._stats
        if not self.enabled or item.size > self.max_bytes:
            return False
        old = table.get(item.key)
        if old is not None:  # a value is fetched again only when the one here is past its time, or not to be trusted
            if old.write_id == item.write_id and old.size == item.size:  # it is the same, and keeps its place
                old.value = item.value
                self._renew(old, item.expires, item.guards)
                return True
            self._remove(old)
            stats.evictions["replaced"] += 1
        while len(table) >= self._max_entries or stats.size_bytes + item.size > self.max_bytes:
            self._forget(self._queues.evict())
            stats.evictions["capacity"] += 1
        self._queues.add(item)
        table[item.key] = item
        stats.size_bytes += item.size
        stats.entries = len(table)
        return True

    def _renew(self, item: Item, expires: float, guards: tuple[Mark, ...]) -> None:
        self._stats.suspects -= item.expires == _PARKED
        if guards is not item.guards:
            item.check = check_of(guards, self.follower.tick_of(item.key) if self.follower is not None else None)
        item.guards = guards
        item.ends = expires
        item.expires = expires  # last: another thread may be looking

    def _remove(self, item: Item) -> None:
        self._forget(item)
        item.value = ABSENT  # its husk stays in the queues for a while, its value must not
        self._queues.gone(item)

    def _forget(self, item: Item) -> None:
        table, stats = self.table, self._stats
        del table[item.key]
        if item.expires == _PARKED:
            stats.suspects -= 1
        stats.size_bytes -= item.size
        stats.entries = len(table)
