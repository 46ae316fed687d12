"""Follows a sample of one cache's keys through both tiers, and tells what other sizes would have been worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from cacheclient.contract import SIZES
from cacheclient.sizing.curve import Curve
from cacheclient.sizing.distances import SPACE, Distances
from cacheclient.sizing.miniature import Miniature, Tick

MASK: Final = SPACE - 1
_MEMORY: Final = 600.0  # seconds after which a lookup weighs a third
_ENOUGH: Final = 50.0  # lookups of followed keys below which nothing is said
_SMALL_ENTRY: Final = 1024  # bytes; with smaller ones on average the sample is larger than asked for


class RedisMemory(msgspec.Struct, frozen=True):
    """What Redis says of its memory.

    Attributes:
        used: bytes.
        allowed: bytes; 0: no limit.
        keys: how many there are, of all namespaces.
        fixed: bytes of ``used`` that no key takes: the server itself and its clients.
        evicted: keys that it gave up since it was started.
    """

    used: int
    allowed: int
    keys: int
    fixed: int
    evicted: int

    def room(self, factor: float, *, full: bool) -> float | None:
        """Return the entries of the present mean size that fit into so many times the limit; None: nobody can tell.

        While Redis evicts, it is ``full`` with those that are there, whatever bursts of its clients take of its memory.
        """
        data = (self.allowed if full else self.used) - self.fixed
        if not self.allowed or not self.keys or data <= 0:
            return None
        return max(0.0, (self.allowed * factor - self.fixed) * self.keys / data)

    @property
    def mean(self) -> float:
        """Bytes of an entry, all that it takes included."""
        return max(0, self.used - self.fixed) / max(1, self.keys)


class Follower:
    """The sample of one cache.

    Attributes:
        below: followed are the keys for which ``hash(key) & MASK`` is below this; hash of the interpreter, which is
            seeded anew in each process: so the processes of a fleet follow different keys.
        below_l1: the same for those that are followed in L1.
        memory: of Redis as of the last look, None before it.
    """

    def __init__(self, keys: int, max_entries: int, max_bytes: int, l2_ttl: float) -> None:
        """Follow so many of the keys that an L1 of this size holds, and at most four times as many of L2's."""
        room = max(1, min(max_entries, max_bytes // _SMALL_ENTRY))
        self._share = min(1.0, keys / room) if max_entries else 0.0
        self._capacity = max_bytes if max_entries else 0
        self._l2_ttl = l2_ttl
        self._l1 = Miniature(self._share, max_entries, max_bytes, tuple(SIZES.values()))
        self._l2 = Distances(4 * keys)
        self.below_l1 = round(self._share * SPACE)
        self.below = max(self.below_l1, self._l2.below)
        self.memory: RedisMemory | None = None
        self._full = False
        self._weights = [0.0] * 4  # lookups and hits of L1, then those of L2, as they weigh now
        self._seen = (0, 0, 0, 0)
        self._settled = -math.inf

    def held_in(self, holds: Callable[[str], bool]) -> None:
        """Take note how to ask whether the real L1 holds a key."""
        self._l1.held = holds

    def looked_at(self, memory: RedisMemory) -> None:
        """Take note of what Redis says of its memory."""
        self._full = memory.evicted > (self.memory.evicted if self.memory is not None else 0)
        self.memory = memory

    def missed(self, key: str, times: int, now: float, left: float | None) -> None:
        """Take note of ``times`` lookups of a key (see ``below``) that L1 missed.

        L2 had it for another ``left`` seconds; None: it did not, and will.
        """
        hashed = hash(key) & MASK
        if hashed < self.below_l1:
            self._l1.missed(key, times, now)
        l2 = self._l2
        l2.used(key, hashed, times, now, now + (self._l2_ttl if left is None else left))
        if l2.below < self.below:
            self.below = max(self.below_l1, l2.below)

    def filled(self, key: str, size: int, expires: float, now: float) -> Tick:
        """Take note that L1 holds a key (see ``below_l1``) now; return what to call at each of its hits."""
        return self._l1.filled(key, size, expires, now)

    def tick_of(self, key: str) -> Tick | None:
        """Return what to call at each hit of ``key``, None if it is not followed."""
        return self._l1.tick_of(key)

    def dropped(self, key: str) -> None:
        """Take note that a key (see ``below_l1``) was dropped from L1, because it changed."""
        self._l1.dropped(key)

    def dropped_matching(self, matches: Callable[[str], bool]) -> None:
        """Take note that all keys that match were."""
        for key in filter(matches, self._l1.keys()):
            self._l1.dropped(key)

    def invalidated(self, key: str) -> None:
        """Take note that L2 does not hold ``key`` any more."""
        self._l2.gone(key)

    def invalidated_matching(self, matches: Callable[[str], bool]) -> None:
        """Take note that L2 holds no key any more that matches."""
        for key in filter(matches, self._l2.keys()):
            self._l2.gone(key)

    def flushed(self) -> None:
        """Take note that L1 was emptied, as for the end of all that L2 holds."""
        self.dropped_matching(lambda _: True)

    def settle(self, now: float, l1: tuple[int, int], l2: tuple[int, int]) -> dict[str, Curve]:
        """Return the curve of each tier that has one; ``l1`` and ``l2`` are their lookups and hits since the start.

        Call it every few seconds; what was counted before weighs less each time.
        """
        kept = 1.0 if self._settled == -math.inf else math.exp(-max(0.0, now - self._settled) / _MEMORY)
        self._settled = now
        self._l1.settle(kept)
        self._l2.expire(now)
        self._l2.fade(kept)
        seen = (*l1, *l2)
        new = [count - before for count, before in zip(seen, self._seen, strict=True)]
        self._weights = [weight * kept + more for weight, more in zip(self._weights, new, strict=True)]
        self._seen = seen
        found = {"l1": self._curve_of_l1(), "l2": self._curve_of_l2()}
        return {tier: curve for tier, curve in found.items() if curve is not None}

    def _curve_of_l1(self) -> Curve | None:
        lookups, hits = self._weights[:2]
        if not self._share or lookups * self._share < _ENOUGH:
            return None
        found = dict(zip(SIZES, (one.hits for one in self._l1.simulations), strict=True))
        return Curve(
            lookups=lookups, hits=hits,
            gained=tuple((size, (count - found["1x"]) / self._share) for size, count in found.items()),
            followed=len(self._l1), working_set_bytes=self._l1.alive_bytes(self._settled) / self._share,
            capacity_bytes=self._capacity,
        )  # fmt: skip

    def _curve_of_l2(self) -> Curve | None:
        lookups, hits = self._weights[2:]
        if self.memory is None or lookups * self._l2.share < _ENOUGH:
            return None
        found: dict[str, float] = {}
        for size, factor in SIZES.items():
            room = self.memory.room(factor, full=self._full)
            if room is None:
                return None
            found[size] = self._l2.within(room)
        return Curve(
            lookups=lookups, hits=hits,
            gained=tuple((size, weight - found["1x"]) for size, weight in found.items()),
            followed=len(self._l2), working_set_bytes=self._l2.alive * self.memory.mean,
            capacity_bytes=self.memory.allowed,
        )  # fmt: skip
