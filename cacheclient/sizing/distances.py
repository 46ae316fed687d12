"""Reuse distances of L2's keys, estimated from a sample: SHARDS with a fixed number of keys.

The method is that of Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC construction with SHARDS", FAST 2015. Keys
are followed whose hash is below a threshold. When there are too many of them, the threshold is lowered and those above
it are forgotten, so memory is bounded and the sample is as large as that allows. Between two uses of a followed key
lie so many different followed ones; over their share of all keys, that is how large a cache that evicts the longest
unused must be to have it still.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from typing import Final

import msgspec

SPACE: Final = 2**24  # hashes are 0 to this
_PER_OCTAVE: Final = 8  # bins of the histogram for each doubling of the distance: 9 % wide
_LOWER: Final = 0.9  # by which the threshold is lowered


class _Seen(msgspec.Struct):
    turn: int
    hashed: int
    expires: float


class Distances:
    """The reuse distances of one stream of lookups.

    Lookups are counted by the distance within the sample, in a list. They are put into bins, scaled up to all keys,
    before the share changes and when somebody asks.

    Attributes:
        below: followed are the keys with a lower hash.
    """

    def __init__(self, most: int) -> None:
        """Follow at most ``most`` keys."""
        self._most = most
        self.below = SPACE
        self._new = [0] * (most + 2)  # lookups by distance, not yet in a bin; those of first uses are in none
        self._weights: Counter[int] = Counter()  # by bin
        self._seen: dict[str, _Seen] = {}
        self._turns: list[int] = []  # of the keys in ``_seen``, rising
        self._turn = 0

    def __len__(self) -> int:
        """Return how many keys are followed."""
        return len(self._seen)

    @property
    def share(self) -> float:
        """The followed share of all keys."""
        return self.below / SPACE

    def used(self, key: str, hashed: int, times: int, now: float, expires: float) -> None:
        """Take note of ``times`` lookups of a key at once; from now on it lives until ``expires``."""
        if hashed >= self.below:
            return
        turns = self._turns
        self._turn = turn = self._turn + 1
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = _Seen(turn, hashed, expires)
        else:
            place = bisect_left(turns, seen.turn)
            if seen.expires > now:
                self._new[len(turns) - place] += 1
            del turns[place]
            seen.turn, seen.expires = turn, expires
        self._new[1] += times - 1
        turns.append(turn)
        if len(turns) > self._most:
            self._lower()

    def gone(self, key: str) -> None:
        """Take note that a key was invalidated: its next lookup finds nothing, whatever the size."""
        seen = self._seen.pop(key, None)
        if seen is not None:
            del self._turns[bisect_left(self._turns, seen.turn)]

    def clear(self) -> None:
        """Forget all keys; the weights stay."""
        self._seen.clear()
        self._turns.clear()

    def expire(self, now: float) -> None:
        """Forget keys whose time is over: L2 gives their room to others."""
        self._keep({key: seen for key, seen in self._seen.items() if seen.expires > now})

    def keys(self) -> list[str]:
        """Return the followed keys."""
        return list(self._seen)

    def within(self, size: float) -> float:
        """Return the weight of the lookups that a cache of ``size`` entries would have answered."""
        self._tally()
        if size < 1:
            return 0.0
        last = _PER_OCTAVE * math.log2(size)  # a bin holds the distances from one octave's part below its place to it
        return sum(weight * min(1.0, max(0.0, last - place + 1)) for place, weight in self._weights.items())

    @property
    def alive(self) -> float:
        """Entries of the whole stream that are within their time, estimated."""
        return len(self._seen) / self.share

    def fade(self, kept: float) -> None:
        """Let what was counted up to now weigh so much less."""
        self._tally()
        for place in self._weights:
            self._weights[place] *= kept  # type: ignore[assignment]

    def _tally(self) -> None:
        """Put the new lookups into their bins."""
        for distance, times in enumerate(self._new):
            if times:
                scaled = max(1.0, distance / self.share)
                self._weights[math.ceil(_PER_OCTAVE * math.log2(scaled))] += times / self.share  # type: ignore[assignment]
        self._new = [0] * len(self._new)

    def _lower(self) -> None:
        self._tally()
        while len(self._seen) > self._most * _LOWER:
            self.below = round(self.below * _LOWER)
            self._keep({key: seen for key, seen in self._seen.items() if seen.hashed < self.below})

    def _keep(self, kept: dict[str, _Seen]) -> None:
        if len(kept) < len(self._seen):
            self._seen = kept
            self._turns = sorted(seen.turn for seen in kept.values())
