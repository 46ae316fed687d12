"""Figures against promises: what was measured, what was promised, and whether it held.

A promise *decides* the exit code if it must hold on any machine: right values, hit rates, acknowledged writes kept, the
time without writes. Latency and throughput are printed with their bars too, but readers, writer, three Redis and three
Sentinels share this machine's cores, so missing one of those says something about the machine.

Pure: rows in, verdicts out. ``examples.fingerprint.view`` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final

from examples.fingerprint.checker import Fault, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cacheclient.stats import Stats
    from examples.fingerprint.ledger import LedgerReport

# Acceptance figures of the cache, and the promises for each event.
L1_HIT_RATE: Final = 0.50
L2_HIT_RATE: Final = 0.80
COMBINED_HIT_RATE: Final = 0.85
LOOKUP_P95: Final = 0.005  # seconds
L1_P95: Final = 0.001
L2_P95: Final = 0.020
REQUESTS_PER_SECOND: Final = 5_000
HANDOVER_SECONDS: Final = 5.0  # without writes, when the master is stopped as planned
CRASH_MARGIN: Final = 15.0  # without writes after a kill: the Sentinels' down-after and at most this many seconds
LOSS_WINDOW: Final = 1.0  # seconds before a kill in which acknowledged writes may be lost


_INDENT: Final = "  "


class Verdict(StrEnum):
    """How a figure compares with its bar."""

    HOLDS = "holds"
    MISSED = "missed"
    NOT_MEASURED = "not measured"
    NO_BAR = ""


class ExitCode(IntEnum):
    """Exit codes of the show."""

    HOLDS = 0  # every deciding promise holds
    MISSED = 1  # one was missed
    BAD_INPUT = 2
    INCOMPLETE = 3  # something ended meanwhile, so that a deciding promise could not be measured
    INTERRUPTED = 130  # Ctrl-C


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table."""

    what: str
    promise: str
    seen: str
    verdict: Verdict
    decides: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the readers counted in one phase, merged. ``stats`` is None if no reader reported."""

    seconds: float
    stats: Stats | None
    findings: Findings

    @property
    def rate(self) -> float:
        """Lookups per second."""
        return self.stats.lookups / self.seconds if self.stats and self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One event of the second half.

    Attributes:
        event: what was done to whom.
        allowed: seconds without writes that are promised at most.
        lossless: whether no acknowledged write may be lost; else those of the last second before the event may.
        at: monotonic seconds of the event; None if it could not be brought about.
        ledger: what the writer saw.
        findings: what the readers found wrong meanwhile.
        reason: why something could not be measured.
    """

    event: str
    allowed: float
    lossless: bool
    at: float | None = None
    ledger: LedgerReport | None = None
    findings: Findings = field(default_factory=Findings)
    reason: str = ""


def _verdict(*, held: bool | None) -> Verdict:
    """Return the verdict; None means that there was nothing to judge."""
    return Verdict.NOT_MEASURED if held is None else Verdict.HOLDS if held else Verdict.MISSED


def hit_rates(stats: Stats | None, *, decides: bool) -> list[Row]:
    """Return the rows of the three hit rates."""
    rates = (
        ("L1 hit rate", L1_HIT_RATE, stats.l1.hit_rate if stats else None),
        ("L2 hit rate, after L1", L2_HIT_RATE, stats.l2.hit_rate if stats else None),
        ("combined hit rate", COMBINED_HIT_RATE, stats.combined_hit_rate if stats else None),
    )
    return [
        Row(what, f"> {bar:.0%}", _share(rate), _verdict(held=None if rate is None else rate > bar), decides)
        for what, bar, rate in rates
    ]


def _share(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1%}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e6:.0f} us" if seconds < 0.001 else f"{seconds * 1e3:.3g} ms"  # noqa: PLR2004  one millisecond


def latencies(stats: Stats | None) -> list[Row]:
    """Return one row for each tier with P50, P95 and P99 in milliseconds; the bar is on the P95."""
    bars = (
        ("lookup, P50 / P95 / P99", "all", LOOKUP_P95),
        (_INDENT + "answered by L1", "l1", L1_P95),
        (_INDENT + "answered by L2", "l2", L2_P95),
        (_INDENT + "answered by L3 (SQLite)", "l3", None),
    )
    rows = []
    for what, tier, bar in bars:
        p50, p95, p99 = (stats.latency(tier).quantile(q) if stats else None for q in (0.5, 0.95, 0.99))
        seen = f"{_time(p50)} / {_time(p95)} / {_time(p99)}"
        verdict = Verdict.NO_BAR if bar is None else _verdict(held=None if p95 is None else p95 < bar)
        rows.append(Row(what, f"P95 < {bar * 1000:g} ms" if bar else "", seen, verdict))
    return rows


def throughput(traffic: Traffic) -> list[Row]:
    """Return the rows of requests per second and of loader calls saved, of a phase without a given rate."""
    lookups = traffic.stats.lookups if traffic.stats else 0
    loads = traffic.stats.loads if traffic.stats else 0
    held = traffic.rate > REQUESTS_PER_SECOND if lookups else None
    saved = f"{lookups - loads:,} of {lookups:,} ({_share(1 - loads / lookups if lookups else None)})"
    return [
        Row("requests per second", f"> {REQUESTS_PER_SECOND:,}", f"{traffic.rate:,.0f}", _verdict(held=held)),
        Row("loader calls saved", "", saved, Verdict.NO_BAR),
    ]


def correctness(findings: Findings) -> list[Row]:
    """Return the rows on values and errors; without reads that could show a fault nothing was measured."""
    stale = findings.faults[Fault.TOO_OLD]
    return [
        _count("stale reads of changed rows", stale, findings.changed),
        _count("other wrong values found", findings.wrong - stale, findings.reads),
        _raised("reads that raised", findings),
    ]


def _count(what: str, faults: int, among: int) -> Row:
    verdict = _verdict(held=faults == 0 if among else None)
    return Row(what, "0", f"{faults:,} of {among:,}", verdict, decides=True)


def _raised(what: str, findings: Findings) -> Row:
    failed = findings.failed.total()
    return _count(what, failed, findings.reads + failed)


def aftermath(failure: Failure) -> list[Row]:
    """Return the rows of one event: time without writes, acknowledged writes lost, wrong values, errors."""
    findings = failure.findings
    return [
        _silence(failure),
        _loss(failure),
        _count(_INDENT + "wrong values served", findings.wrong, findings.reads),
        _raised(_INDENT + "reads that raised", findings),
    ]


def _silence(failure: Failure) -> Row:
    """Return the row on the time without acknowledged writes; one that is still going on has missed its promise."""
    what, promise, ledger = f"{failure.event}: without writes", f"<= {failure.allowed:g} s", failure.ledger
    if ledger is None or failure.at is None:
        return Row(what, promise, "-", Verdict.NOT_MEASURED, decides=True, reason=failure.reason)
    resumed = ledger.last is not None and ledger.last > failure.at
    seen = f"{ledger.gap:.1f} s" if resumed else f"{ledger.gap:.1f} s, and none since"
    return Row(what, promise, seen, _verdict(held=resumed and ledger.gap <= failure.allowed), decides=True)


def _loss(failure: Failure) -> Row:
    """Return the row on acknowledged writes that were gone afterwards."""
    what, ledger, at = _INDENT + "acknowledged writes lost", failure.ledger, failure.at
    promise = "0" if failure.lossless else f"none older than {LOSS_WINDOW:g} s"
    if ledger is None or at is None or ledger.lost is None or not ledger.acknowledged:
        return Row(what, promise, "-", Verdict.NOT_MEASURED, decides=True)
    seen, held = f"{ledger.lost:,} of {ledger.acknowledged:,}", True
    if ledger.oldest_lost is not None:
        age = at - ledger.oldest_lost
        seen, held = f"{seen}, the oldest {age:.2f} s before", not failure.lossless and age <= LOSS_WINDOW
    return Row(what, promise, seen, _verdict(held=held), decides=True)


def exit_code(rows: Iterable[Row]) -> ExitCode:
    """Return what the deciding rows say together; a missed promise weighs more than one that was not measured."""
    verdicts = {row.verdict for row in rows if row.decides}
    if Verdict.MISSED in verdicts:
        return ExitCode.MISSED
    return ExitCode.INCOMPLETE if Verdict.NOT_MEASURED in verdicts else ExitCode.HOLDS
