"""The ledger's figures: the longest time without an acknowledged write, and acknowledged writes that are gone."""

from __future__ import annotations

from examples.fingerprint.ledger import Ledger


def test_the_gap_is_the_longest_time_between_two_acknowledgements() -> None:
    ledger = Ledger(began=100.0)
    for number, now in enumerate([100.5, 101.0, 104.0, 104.25]):
        ledger.acknowledged(number, now)
    assert ledger.gap(now=104.5) == 3.0


def test_a_gap_that_is_still_open_counts() -> None:
    ledger = Ledger(began=100.0)
    ledger.acknowledged(1, 101.0)
    assert ledger.gap(now=150.0) == 49.0


def test_without_any_acknowledgement_the_whole_phase_is_a_gap() -> None:
    assert Ledger(began=100.0).report(now=107.0).gap == 7.0
    assert Ledger(began=100.0).report(now=107.0).last is None


def test_the_report_counts_lost_writes_and_dates_the_first_of_them() -> None:
    ledger = Ledger(began=100.0, refused=2)
    for number, now in ((1, 101.0), (2, 101.5), (3, 102.0)):
        ledger.acknowledged(number, now)

    report = ledger.report(now=103.0, missing=[3, 2])

    assert (report.acknowledged, report.refused, report.last) == (3, 2, 102.0)
    assert (report.lost, report.oldest_lost) == (2, 101.5)


def test_nothing_lost_is_told_apart_from_not_read_back() -> None:
    ledger = Ledger(began=100.0)
    ledger.acknowledged(1, 101.0)
    assert ledger.report(now=102.0, missing=[]).lost == 0
    assert ledger.report(now=102.0).lost is None
