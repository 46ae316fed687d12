"""What L1 would answer if it were larger or smaller: miniature simulations of its own policy.

The method is that of Waldspurger, Saemundsson, Ahmad, Park: "Cache modeling and optimization using miniature
simulations", USENIX ATC 2017, on the sampling of SHARDS (FAST 2015): keys are chosen by their hash, so a key is
followed always or never, and a cache for one key in twenty behaves like the whole one at a twentieth of the size.
Stack distances would be simpler, but they tell of LRU, and S3-FIFO is up to thirty points away from that.

A hit is not simulated when it happens. A followed key counts its own uses (``Followed.tick``); S3-FIFO asks how often
an entry was used only when its turn comes, so that is when the count is read. Events are the misses and fills of
followed keys, and the hits of those that a smaller L1 would not have had: they are noticed, in their order, until the
next event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cacheclient.queues import GONE, MAX_FREQUENCY, Queues

Tick = Callable[[], bool]
_MOST: Final = 4096  # hits that are noticed between two events; of more, the last
_FEW: Final = 64  # keys that are followed anew between two looks at all of them, at least


class Followed:
    """One key that is followed, and its entry in each simulation.

    Attributes:
        uses: lookups of the key.
        absent: simulations that do not hold it.
    """

    __slots__ = ("_noticed", "absent", "entries", "uses")

    def __init__(self, key: str, simulations: int, noticed: deque[Followed]) -> None:
        self.uses = 0
        self.absent = simulations
        self.entries = [Simulated(key, self) for _ in range(simulations)]
        self._noticed = noticed

    def tick(self) -> bool:
        """Take note of a hit of the real L1; any thread may call it. Returns True."""
        self.uses += 1
        if self.absent:
            self._noticed.append(self)
        return True


class Simulated(msgspec.Struct, eq=False):
    """The entry of a followed key in one simulation.

    ``tallied`` are the uses whose outcome was counted there, ``base`` those before the ones that ``frequency`` counts.
    A Struct, because several are made for every key that is followed anew.
    """

    key: str
    followed: Followed
    place: int = GONE
    expires: float = 0.0
    size: int = 0
    tallied: int = 0
    base: int = 0

    @property
    def frequency(self) -> int:
        """Uses since its last turn, as ``Local`` counts them."""
        uses = self.followed.uses - self.base
        return uses if uses < MAX_FREQUENCY else MAX_FREQUENCY  # noqa: FURB136  `min` takes twice the time

    @frequency.setter
    def frequency(self, value: int) -> None:
        self.base = self.followed.uses - value


class Simulation:
    """An L1 of another size, over the followed keys. ``hits`` are those of the sample."""

    def __init__(self, max_entries: int, max_bytes: float) -> None:
        self.hits = 0.0
        self.max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries = self._size = 0
        self._queues: Queues[Simulated] = Queues(max_entries)

    def tally(self, entry: Simulated, uses: int, until: float) -> None:
        """Count the uses since the last tally, which the real L1 answered; it holds the entry ``until`` then."""
        new, entry.tallied = uses - entry.tallied, uses
        if new > 0:
            self.hits += new if entry.place else new - 1
            if not entry.place:
                self.add(entry, entry.size, until)

    def add(self, entry: Simulated, size: int, expires: float) -> None:
        """Take in an entry, and give up others for it; one that is here keeps its place."""
        if entry.place:
            self._size += size - entry.size
            entry.size, entry.expires = size, expires
            return
        entry.size, entry.expires = size, expires
        if size > self._max_bytes:
            return
        queues = self._queues
        while self._entries >= self.max_entries or self._size + size > self._max_bytes:
            self._give_up(queues.evict())
        followed = entry.followed
        entry.base = followed.uses
        queues.add(entry)
        followed.absent -= 1
        self._entries += 1
        self._size += size

    def drop(self, entry: Simulated) -> None:
        """Forget an entry for another reason than its turn."""
        if entry.place:
            self._queues.gone(entry)
            entry.followed.absent += 1
            self._entries -= 1
            self._size -= entry.size

    def _give_up(self, entry: Simulated) -> None:
        self._entries -= 1
        self._size -= entry.size
        followed = entry.followed
        followed.absent += 1
        self.hits += followed.uses - entry.tallied
        entry.tallied = followed.uses


class Miniature:
    """Follows ``share`` of the keys of one L1, and simulates it at several times its size.

    Attributes:
        simulations: one for each size.
        held: whether the real L1 holds a key.
    """

    def __init__(self, share: float, max_entries: int, max_bytes: int, factors: Sequence[float]) -> None:
        self.simulations = tuple(
            Simulation(max(1, round(share * max_entries * factor)), share * max_bytes * factor) for factor in factors
        )
        self.held: Callable[[str], bool] = lambda _: False
        self._followed: dict[str, Followed] = {}
        self._noticed: deque[Followed] = deque(maxlen=_MOST)
        self._every = max(_FEW, max(simulation.max_entries for simulation in self.simulations) // 4)
        self._new = 0  # keys followed since the last look at all of them

    def __len__(self) -> int:
        """Return how many keys are followed."""
        return len(self._followed)

    def keys(self) -> list[str]:
        """Return the followed keys."""
        return list(self._followed)

    def tick_of(self, key: str) -> Tick | None:
        """Return what is to be called at each use of ``key``, None if it is not followed."""
        found = self._followed.get(key)
        return None if found is None else found.tick

    def missed(self, key: str, times: int, now: float) -> None:
        """Take note that the real L1 missed ``key`` so many times at once."""
        if self._noticed:
            self._catch_up()
        found = self._follow(key)
        uses = found.uses
        for simulation, entry in zip(self.simulations, found.entries, strict=True):
            if uses > entry.tallied:
                simulation.tally(entry, uses, found.entries[-1].expires)
            entry.tallied += 1
            if entry.place and entry.expires > now:
                simulation.hits += times
        found.uses += 1

    def filled(self, key: str, size: int, expires: float, now: float) -> Tick:
        """Take note that the real L1 holds ``key`` now; return what is to be called at each use."""
        if self._noticed:
            self._catch_up()
        found = self._follow(key)
        for simulation, entry in zip(self.simulations, found.entries, strict=True):
            if not entry.place or entry.expires <= now:
                simulation.add(entry, size, expires)
        return found.tick

    def dropped(self, key: str) -> None:
        """Take note that ``key`` has changed: no L1 of any size holds it any more."""
        found = self._followed.get(key)
        if found is not None:
            self._catch_up()
            self._tally(found)
            for simulation, entry in zip(self.simulations, found.entries, strict=True):
                simulation.drop(entry)

    def settle(self, kept: float) -> None:
        """Count what was used up to now; of what was counted before, keep this share."""
        for simulation in self.simulations:
            simulation.hits *= kept
        self._tally_all()

    def alive_bytes(self, now: float) -> int:
        """Return the bytes that the largest simulation holds within their time."""
        largest = (found.entries[-1] for found in self._followed.values())
        return sum(entry.size for entry in largest if entry.place and entry.expires > now)

    def _follow(self, key: str) -> Followed:
        found = self._followed.get(key)
        if found is None:
            self._new += 1
            if self._new >= self._every:
                self._tally_all()
            found = self._followed[key] = Followed(key, len(self.simulations), self._noticed)
        return found

    def _tally_all(self) -> None:
        """Count what was used since, and forget keys that nobody holds: so there are never many more than are held."""
        self._new = 0
        self._catch_up()
        for key, found in list(self._followed.items()):
            self._tally(found)
            if found.absent == len(self.simulations) and not self.held(key):
                del self._followed[key]

    def _catch_up(self) -> None:
        """Let the simulations that did not hold what was used take it in, in the order in which it was used."""
        while self._noticed:
            self._tally(self._noticed.popleft())

    def _tally(self, found: Followed) -> None:
        uses, until = found.uses, found.entries[-1].expires
        for simulation, entry in zip(self.simulations, found.entries, strict=True):
            if uses > entry.tallied:
                simulation.tally(entry, uses, until)
