"""What a warm-up did: for each source, and as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_ERRORS: Final = 100  # of a source, told one by one; all are counted


class Outcome(StrEnum):
    """How a source, or a whole warm-up, ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # the source or Redis gave up; what was written stays
    LATE = "late"  # the deadline came first
    ELSEWHERE = "elsewhere"  # another process is doing it


@dataclass(slots=True)
class SourceReport:
    """How far one source has come.

    Attributes:
        name: of the source.
        read: items that it gave, those included that could not be read.
        written: entries that the cache has now (in a dry run: would have).
        skipped: what was there already, changed meanwhile, or has no value in the source.
        failed: items that could not be read, loaded or encoded.
        seconds: it took, without what came before a resumption.
        resumed: whether it went on where an earlier warm-up was interrupted.
        share: how much of the source is behind, 0 to 1; None if that is not known.
        errors: where and why, of the first 100 that failed.
        outcome: how it ended.
        error: why it ended early.
    """

    name: str
    read: int = 0
    written: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    resumed: bool = False
    share: float | None = None
    errors: list[tuple[str, str]] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    error: str = ""

    def fail(self, where: str, why: str) -> None:
        """Count an item that failed."""
        self.failed += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((where, why))


@dataclass(slots=True)
class Report:
    """How far a warm-up has come.

    Attributes:
        plan: which one.
        sources: in the order in which they are read; those not begun yet are missing.
        seconds: it took.
        outcome: ``done`` only if every source is.
        error: why it ended early, if not for a source.
        dry_run: whether nothing was written.
    """

    plan: str
    sources: list[SourceReport] = field(default_factory=list)
    seconds: float = 0.0
    outcome: Outcome = Outcome.RUNNING
    error: str = ""
    dry_run: bool = False

    @property
    def written(self) -> int:
        """Entries written by all sources."""
        return sum(source.written for source in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        totals = {
            name: sum(getattr(s, name) for s in self.sources) for name in ("read", "written", "skipped", "failed")
        }
        return {
            "plan": self.plan, "outcome": self.outcome.value, "error": self.error, "dry_run": self.dry_run,
            "seconds": round(self.seconds, 3), **totals,
            "sources": [
                {
                    "name": s.name, "outcome": s.outcome.value, "error": s.error, "read": s.read, "written": s.written,
                    "skipped": s.skipped, "failed": s.failed, "seconds": round(s.seconds, 3), "resumed": s.resumed,
                    "errors": [{"where": where, "why": why} for where, why in s.errors],
                }
                for s in self.sources
            ],
        }  # fmt: skip


Progress = Callable[[Report], None]
