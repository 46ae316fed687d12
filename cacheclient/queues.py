"""S3-FIFO: which entry L1 gives up.

The policy is that of Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache eviction", SOSP 2023. New
entries enter a small queue, a tenth of the capacity. Whoever is asked for again before reaching its end moves to the
main queue; the others leave, and only their hash is remembered in a ghost queue for a while: who returns from there
goes to the main queue at once. The main queue is a FIFO that gives used entries another round. So a hit moves nothing:
it raises a counter up to three, and one-time scans never displace what is in use.

An entry that leaves for another reason stays in its queue as a husk, which is skipped when its turn comes; when there
are more husks than entries, all are swept out. That makes a queue a plain deque: eight bytes an entry, where an ordered
dict, from whose middle it could be taken, needs a hundred.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Generic, Protocol, TypeVar

SMALL_SHARE: Final = 10  # the small queue holds one part in ten, as in the paper
MAX_FREQUENCY: Final = 3  # uses of an entry that count
GONE, SMALL, MAIN = 0, 1, 2  # where an entry is
_FEW: Final = 64  # husks that are not worth a sweep


class Queued(Protocol):
    """What the queues know of an entry: hits since it last had its turn, and where it is."""

    key: str
    frequency: int
    place: int


Entry = TypeVar("Entry", bound=Queued)


class Queues(Generic[Entry]):
    """The order in which entries leave a cache of at most ``max_entries``."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._max_small = max(1, max_entries // SMALL_SHARE)
        self.clear()

    def clear(self) -> None:
        """Forget everything, and who has left lately."""
        self._queues: tuple[deque[Entry], ...] = (deque(), deque(), deque())  # nothing is ever in the first
        self._held = [0, 0, 0]  # by place: entries that are there, and the husks of all
        self._ghost: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many entries are there."""
        return self._held[SMALL] + self._held[MAIN]

    def add(self, entry: Entry) -> None:
        """Take in a new entry."""
        ghost = hash(entry.key)
        place = SMALL
        if ghost in self._ghost:
            del self._ghost[ghost]
            place = MAIN
        entry.place = place
        self._held[place] += 1
        self._queues[place].append(entry)

    def gone(self, entry: Entry) -> None:
        """Take note that an entry has left for another reason than its turn."""
        held = self._held
        held[entry.place] -= 1
        entry.place = GONE
        held[GONE] += 1
        if held[GONE] > len(self) + _FEW:
            self._queues = (deque(), *(deque(e for e in queue if e.place) for queue in self._queues[SMALL:]))
            held[GONE] = 0

    def evict(self) -> Entry:
        """Take out the entry whose turn it is; there must be one."""
        if self._held[SMALL] >= self._max_small or not self._held[MAIN]:
            entry = self._from_small()
            if entry is not None:
                return entry
        return self._from_main()

    def _from_small(self) -> Entry | None:
        """Pass used entries on to the main queue; take out the first unused one, None if all were used."""
        (_, queue, main), held = self._queues, self._held
        while queue:
            entry = queue.popleft()
            held[entry.place] -= 1
            if not entry.place:
                continue
            if entry.frequency:
                entry.frequency = 0
                entry.place = MAIN
                held[MAIN] += 1
                main.append(entry)
                continue
            entry.place = GONE
            self._ghost[hash(entry.key)] = None
            if len(self._ghost) > self._max_entries:
                self._ghost.popitem(last=False)
            return entry
        return None

    def _from_main(self) -> Entry:
        """Give used entries another round; take out the first unused one."""
        queue, held = self._queues[MAIN], self._held
        while True:
            entry = queue.popleft()
            if entry.place and entry.frequency:
                entry.frequency -= 1
                queue.append(entry)
                continue
            held[entry.place] -= 1
            if entry.place:
                entry.place = GONE
                return entry
