"""The promises of the cache, applied to a recorded history. Pure.

A write of version v is *due* from the moment its invalidation was acknowledged plus ``max_staleness``: whatever begins
later must return v or something newer. So each key needs two sorted lists, times and the newest version due from each
time on, and a read costs one bisection.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from tests.fuzz.history import NOTHING, WRONG_KEY, Mode, Op, Read, Write, mode_of

EXAMPLES: Final = 20


class Rule(StrEnum):
    """Which promise was broken."""

    FLEET = "fleet"
    OWN = "own"
    FUTURE = "future"
    KEY = "key"


class Lapse(NamedTuple):
    """An unplanned change of master: what it may undo, and until when. Monotonic seconds.

    Writes that the master alone acknowledged from ``lost_from`` to ``lost_to`` may be undone by it, until their
    writers have repeated them: at ``repaired_by`` at the latest.
    """

    lost_from: float
    lost_to: float
    repaired_by: float


class Violation(NamedTuple):
    """A read that broke a promise. ``late`` is by how many seconds the promise had been due when the read began."""

    rule: Rule
    worker: int
    read: Read
    due: int
    late: float

    def __str__(self) -> str:
        read = self.read
        return (
            f"{self.rule}: worker {self.worker} {Op(read.op).name.lower()} key {read.key} ({mode_of(read.key)}) "
            f"returned version {read.version}, {self.due} was due for {self.late:.3f} s "
            f"when it began at {read.begin:.3f}; it took {(read.end - read.begin) * 1000:.1f} ms"
        )


@dataclass(slots=True)
class Verdict:
    """What a history shows.

    Attributes:
        reads: reads of one key each, those that found nothing included.
        checked: reads for which a newer version than the first was due, by mode: only these could be stale.
        broken: reads that broke a promise, by "mode/rule".
        excused: reads of versions that a crashed master had undone, by mode.
        undone: the versions behind those, as (key, version).
        longest_lapse: seconds by which the latest excused read was late.
        examples: the first violations.
    """

    reads: int = 0
    checked: Counter[Mode] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    excused: Counter[Mode] = field(default_factory=Counter)
    undone: set[tuple[int, int]] = field(default_factory=set)
    longest_lapse: float = 0.0
    examples: list[Violation] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """Broken promises in all."""
        return self.broken.total()

    @property
    def consistency(self) -> float | None:
        """Share of the checked reads that were neither wrong nor excused; None if nothing could be checked."""
        checked = self.checked.total()
        return 1 - (self.violations + self.excused.total()) / checked if checked else None


class _Dues:
    """The writes of one key that bind readers: when each became due, and the newest version due by then."""

    def __init__(self, writes: Iterable[Write], grace: float) -> None:
        self._writes = sorted(writes, key=lambda write: write.returned)
        self._times = [write.returned + grace for write in self._writes]
        self._newest: list[int] = []
        for write in self._writes:
            self._newest.append(max(write.version, self._newest[-1] if self._newest else 0))

    def newest(self, when: float) -> int:
        """Return the newest version due at ``when``; 0 if none is."""
        count = bisect_right(self._times, when)
        return self._newest[count - 1] if count else 0

    def missed(self, version: int, when: float) -> list[Write]:
        """Return the writes newer than ``version`` that were due at ``when``, the first due first."""
        return [write for write in self._writes[: bisect_right(self._times, when)] if write.version > version]


class Checker:
    """Checks the reads of one run."""

    def __init__(self, writes: Sequence[Sequence[Write]], max_staleness: float, lapses: Sequence[Lapse] = ()) -> None:
        """Take all writes, by worker."""
        self._grace = max_staleness
        self._lapses = lapses
        everything = [write for own in writes for write in own]
        self._committed = {(write.key, write.version): write.committed for write in everything}
        self._fleet = _by_key((write for write in everything if write.acknowledged), max_staleness)
        self._own = [_by_key(own, 0.0) for own in writes]
        self.verdict = Verdict()

    def check(self, worker: int, reads: Iterable[Read]) -> None:
        """Judge what a worker read."""
        for read in reads:
            self.verdict.reads += 1
            if read.version != NOTHING:
                self._judge(worker, read)

    def _judge(self, worker: int, read: Read) -> None:
        mode = mode_of(read.key)
        if read.version == WRONG_KEY:
            self._break(Violation(Rule.KEY, worker, read, 0, 0.0))
            return
        if self._committed.get((read.key, read.version), 0.0) > read.end:
            self._break(Violation(Rule.FUTURE, worker, read, 0, 0.0))
        fleet, own = self._fleet[read.key], self._own[worker][read.key]
        due = fleet.newest(read.begin)
        self.verdict.checked[mode] += due > 1
        if read.version < own.newest(read.begin):
            first = own.missed(read.version, read.begin)[0]
            self._break(Violation(Rule.OWN, worker, read, own.newest(read.begin), read.begin - first.returned))
        elif read.version < due:
            self._judge_stale(Violation(Rule.FLEET, worker, read, due, 0.0), mode, fleet)

    def _judge_stale(self, violation: Violation, mode: Mode, fleet: _Dues) -> None:
        read = violation.read
        missed = fleet.missed(read.version, read.begin)
        late = read.begin - missed[0].returned - self._grace
        if mode is not Mode.DURABLE and any(_explains(lapse, missed, read) for lapse in self._lapses):
            self.verdict.excused[mode] += 1
            self.verdict.undone.update((write.key, write.version) for write in missed)
            self.verdict.longest_lapse = max(self.verdict.longest_lapse, late)
        else:
            self._break(violation._replace(late=late))

    def _break(self, violation: Violation) -> None:
        self.verdict.broken[f"{mode_of(violation.read.key)}/{violation.rule}"] += 1
        if len(self.verdict.examples) < EXAMPLES:
            self.verdict.examples.append(violation)


def _by_key(writes: Iterable[Write], grace: float) -> defaultdict[int, _Dues]:
    grouped: dict[int, list[Write]] = {}
    for write in writes:
        grouped.setdefault(write.key, []).append(write)
    nothing_due = _Dues((), grace)
    return defaultdict(lambda: nothing_due, {key: _Dues(own, grace) for key, own in grouped.items()})


def _explains(lapse: Lapse, missed: Sequence[Write], read: Read) -> bool:
    """Whether one crash undid every write that this read missed, and could not have been repaired yet."""
    lost = all(lapse.lost_from <= write.returned <= lapse.lost_to for write in missed)
    return lost and read.begin <= lapse.repaired_by
