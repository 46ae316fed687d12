"""The ledger: unique keys written one after another, so that afterwards every acknowledged write can be asked for.

From the acknowledgements follow the two figures of a failover: how long nothing could be written, and which
acknowledged writes are gone. Pure: the writer process does the writing and reads back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """One phase of the ledger.

    Attributes:
        acknowledged: writes that were acknowledged.
        refused: writes that were not.
        gap: the longest time in seconds without an acknowledged write, the still open one included.
        last: monotonic seconds of the newest acknowledgement; None without one.
        lost: acknowledged writes that were gone when they were read back; None before they were.
        oldest_lost: monotonic seconds of the first acknowledgement among the lost; None if nothing is lost.
    """

    acknowledged: int = 0
    refused: int = 0
    gap: float = 0.0
    last: float | None = None
    lost: int | None = None
    oldest_lost: float | None = None


@dataclass(slots=True)
class Ledger:
    """Acknowledgements of one phase that began at ``began``, in monotonic seconds."""

    began: float
    acknowledgements: dict[int, float] = field(default_factory=dict)
    refused: int = 0
    last: float | None = None
    _gap: float = 0.0

    def acknowledged(self, number: int, now: float) -> None:
        """Note that write ``number`` was acknowledged."""
        self._gap = self.gap(now)
        self.acknowledgements[number] = self.last = now

    def gap(self, now: float) -> float:
        """Return the longest time in seconds without an acknowledged write so far."""
        return max(self._gap, now - (self.began if self.last is None else self.last))

    def report(self, now: float, missing: Iterable[int] | None = None) -> LedgerReport:
        """Return the figures; ``missing`` are the writes that a read-back did not find, None before one."""
        lost = None if missing is None else [self.acknowledgements[number] for number in missing]
        return LedgerReport(
            len(self.acknowledgements), self.refused, self.gap(now), self.last,
            None if lost is None else len(lost), min(lost) if lost else None,
        )  # fmt: skip
