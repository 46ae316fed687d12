"""Verdicts: what holds, what is missed, what was not measured, and what that means for the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from cacheclient import Stats
from examples.fingerprint.checker import Fault, Findings
from examples.fingerprint.ledger import LedgerReport
from examples.fingerprint.report import (
    ExitCode,
    Failure,
    Row,
    Traffic,
    Verdict,
    aftermath,
    correctness,
    exit_code,
    hit_rates,
    latencies,
    throughput,
)

HOLDS, MISSED, NOT_MEASURED, NO_BAR = Verdict.HOLDS, Verdict.MISSED, Verdict.NOT_MEASURED, Verdict.NO_BAR


def counted(l1_hits: int, l2_hits: int, l2_misses: int) -> Stats:
    stats = Stats()
    stats.l1.hits, stats.l1.misses = l1_hits, l2_hits + l2_misses
    stats.l2.hits, stats.l2.misses = l2_hits, l2_misses
    stats.l3.hits = l2_misses
    return stats


def verdicts(rows: list[Row]) -> list[Verdict]:
    return [row.verdict for row in rows]


@pytest.mark.parametrize(
    ("stats", "expected", "seen"),
    [
        (counted(60, 36, 4), [HOLDS, HOLDS, HOLDS], ["60.0%", "90.0%", "96.0%"]),
        (counted(50, 40, 10), [MISSED, MISSED, HOLDS], ["50.0%", "80.0%", "90.0%"]),  # a bar is "more than"
        (counted(51, 34, 15), [HOLDS, MISSED, MISSED], ["51.0%", "69.4%", "85.0%"]),
        (counted(10, 0, 0), [HOLDS, NOT_MEASURED, HOLDS], ["100.0%", "-", "100.0%"]),
        (Stats(), [NOT_MEASURED] * 3, ["-"] * 3),
        (None, [NOT_MEASURED] * 3, ["-"] * 3),
    ],
)
def test_hit_rates_are_judged_tier_by_tier(stats: Stats | None, expected: list[Verdict], seen: list[str]) -> None:
    rows = hit_rates(stats, decides=True)
    assert verdicts(rows) == expected
    assert [row.seen for row in rows] == seen


def test_latencies_are_judged_at_the_95th_percentile_and_never_decide() -> None:
    stats = Stats()
    for seconds, times in ((0.0004, 90), (0.0300, 10)):
        stats.all_lookups.observe(seconds, times)
    stats.l1.lookup.observe(0.000004, 100)
    stats.l3.lookup.observe(0.4, 100)

    rows = latencies(stats)

    assert verdicts(rows) == [MISSED, HOLDS, NOT_MEASURED, NO_BAR]
    assert not any(row.decides for row in rows)
    assert [row.promise for row in rows] == ["P95 < 5 ms", "P95 < 1 ms", "P95 < 20 ms", ""]


@pytest.mark.parametrize(("seconds", "verdict"), [(0.019, HOLDS), (0.021, MISSED)])
def test_requests_per_second_are_lookups_over_seconds(seconds: float, verdict: Verdict) -> None:
    rate, saved = throughput(Traffic(seconds=seconds, stats=counted(60, 36, 4), findings=Findings()))
    assert rate.verdict is verdict
    assert rate.seen == f"{100 / seconds:,.0f}"
    assert saved.seen == "96 of 100 (96.0%)"


def test_without_a_lookup_there_is_no_rate_to_judge() -> None:
    rate, saved = throughput(Traffic(seconds=3.0, stats=None, findings=Findings()))
    assert rate.verdict is NOT_MEASURED
    assert saved.seen == "0 of 0 (-)"


CLEAN = Findings(reads=100, changed=40)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (CLEAN, [HOLDS, HOLDS, HOLDS]),
        (replace(CLEAN, faults=Counter({Fault.TOO_OLD: 1})), [MISSED, HOLDS, HOLDS]),
        (replace(CLEAN, faults=Counter({Fault.WRONG_KEY: 1})), [HOLDS, MISSED, HOLDS]),
        (replace(CLEAN, faults=Counter({Fault.WRONG_BODY: 2})), [HOLDS, MISSED, HOLDS]),
        (replace(CLEAN, failed=Counter(OSError=1)), [HOLDS, HOLDS, MISSED]),
        (Findings(failed=Counter(OSError=1)), [NOT_MEASURED, NOT_MEASURED, MISSED]),
        (replace(CLEAN, changed=0), [NOT_MEASURED, HOLDS, HOLDS]),  # nothing was invalidated: nothing could be stale
    ],
)
def test_one_wrong_value_is_a_missed_promise(findings: Findings, expected: list[Verdict]) -> None:
    rows = correctness(findings)
    assert verdicts(rows) == expected
    assert all(row.decides for row in rows)


STOP = Failure(
    event="planned stop",
    allowed=5.0,
    lossless=True,
    at=100.0,
    findings=CLEAN,
    ledger=LedgerReport(acknowledged=500, gap=1.5, last=110.0, lost=0),
)
KILL = replace(STOP, event="SIGKILL", allowed=20.0, lossless=False)


def with_ledger(failure: Failure, **changed: Any) -> Failure:
    assert failure.ledger is not None
    return replace(failure, ledger=replace(failure.ledger, **changed))


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (STOP, [HOLDS, HOLDS, HOLDS, HOLDS]),
        (with_ledger(STOP, gap=5.01), [MISSED, HOLDS, HOLDS, HOLDS]),
        (with_ledger(KILL, gap=19.9), [HOLDS, HOLDS, HOLDS, HOLDS]),
        (with_ledger(STOP, last=99.0), [MISSED, HOLDS, HOLDS, HOLDS]),  # never again, however short the phase was
        (with_ledger(STOP, last=None), [MISSED, HOLDS, HOLDS, HOLDS]),
        (with_ledger(STOP, lost=1, oldest_lost=99.9), [HOLDS, MISSED, HOLDS, HOLDS]),
        (with_ledger(KILL, lost=1, oldest_lost=99.1), [HOLDS, HOLDS, HOLDS, HOLDS]),
        (with_ledger(KILL, lost=9, oldest_lost=98.9), [HOLDS, MISSED, HOLDS, HOLDS]),
        (with_ledger(STOP, lost=None), [HOLDS, NOT_MEASURED, HOLDS, HOLDS]),
        (with_ledger(STOP, acknowledged=0, last=None), [MISSED, NOT_MEASURED, HOLDS, HOLDS]),
        (replace(STOP, ledger=None), [NOT_MEASURED, NOT_MEASURED, HOLDS, HOLDS]),
        (replace(STOP, at=None), [NOT_MEASURED, NOT_MEASURED, HOLDS, HOLDS]),
        (replace(STOP, findings=replace(CLEAN, faults=Counter({Fault.TOO_OLD: 1}))), [HOLDS, HOLDS, MISSED, HOLDS]),
        (replace(STOP, findings=replace(CLEAN, failed=Counter(OSError=1))), [HOLDS, HOLDS, HOLDS, MISSED]),
    ],
)
def test_each_promise_about_a_failure_is_judged_by_itself(failure: Failure, expected: list[Verdict]) -> None:
    rows = aftermath(failure)
    assert verdicts(rows) == expected
    assert all(row.decides for row in rows)


def test_a_failure_says_what_was_promised_and_seen() -> None:
    silence, loss, *_ = aftermath(with_ledger(KILL, lost=2, oldest_lost=99.25, last=99.9))
    assert (silence.promise, silence.seen) == ("<= 20 s", "1.5 s, and none since")
    assert (loss.promise, loss.seen) == ("none older than 1 s", "2 of 500, the oldest 0.75 s before")


def row(verdict: Verdict, *, decides: bool = True) -> Row:
    return Row("", "", "", verdict, decides)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row(HOLDS), row(NO_BAR)], ExitCode.HOLDS),
        ([row(HOLDS), row(MISSED, decides=False), row(NOT_MEASURED, decides=False)], ExitCode.HOLDS),
        ([row(HOLDS), row(NOT_MEASURED)], ExitCode.INCOMPLETE),
        ([row(NOT_MEASURED), row(MISSED)], ExitCode.MISSED),
    ],
)
def test_only_deciding_rows_decide_the_exit_code_and_a_missed_one_weighs_most(rows: list[Row], code: ExitCode) -> None:
    assert exit_code(rows) is code
