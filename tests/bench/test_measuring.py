"""The parts of the benchmarks that decide: verdicts, turns, traces."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest

from bench.figures import OURS, Check, Limit, Series, Verdict
from bench.rounds import BenchError, Setting, rotations
from bench.traces import read

AT_MOST = Limit(6.0, "x", stretch=4.0, at_most=True)
AT_LEAST = Limit(8.0, "x", stretch=14.0)


@pytest.mark.parametrize(
    ("limit", "seen", "verdict"),
    [
        (AT_MOST, 4.0, Verdict.STRETCH),
        (AT_MOST, 4.1, Verdict.PASS),
        (AT_MOST, 6.0, Verdict.PASS),
        (AT_MOST, 6.1, Verdict.MISSED),
        (AT_LEAST, 14.0, Verdict.STRETCH),
        (AT_LEAST, 13.9, Verdict.PASS),
        (AT_LEAST, 8.0, Verdict.PASS),
        (AT_LEAST, 7.9, Verdict.MISSED),
    ],
)
def test_a_bar_is_reached_by_touching_it(limit: Limit, seen: float, verdict: Verdict) -> None:
    assert limit.verdict(seen) is verdict


def test_without_a_stretch_there_is_nothing_above_a_pass() -> None:
    assert Limit(1.0, "", at_most=True).verdict(0.0) is Verdict.PASS


def test_the_verdict_is_on_the_median_of_the_rounds_ratios_not_on_the_ratio_of_the_medians() -> None:
    series = Series("reads", "reads/s", {OURS: [10.0, 90.0, 40.0], "peer": [1.0, 30.0, 20.0]}, higher_is_better=True)
    assert series.versus("peer", AT_LEAST).rounds == (10.0, 3.0, 2.0)
    assert series.versus("peer", AT_LEAST).seen == 3.0


def test_a_count_that_must_never_be_exceeded_is_judged_by_its_worst_round() -> None:
    check = Check("loads", Limit(1, "", at_most=True), (1, 1, 2), worst=True)
    assert (check.seen, check.verdict) == (2, Verdict.MISSED)
    assert Check("rate", AT_LEAST, (9.0, 7.0), worst=True).seen == 7.0


def test_every_candidate_has_one_turn_a_round_and_is_first_equally_often() -> None:
    orders = list(rotations(["a", "b", "c"], 6))
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert sorted(order[0] for order in orders) == ["a", "a", "b", "b", "c", "c"]


def test_nobody_always_follows_the_same_candidate() -> None:
    pairs = {pair for order in rotations(["a", "b", "c"], 6) for pair in pairwise(order)}
    assert {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")} <= pairs


async def test_turns_give_each_candidates_figures_in_the_order_of_the_rounds() -> None:
    taken: list[str] = []

    def turn(name: str) -> Callable[[], Awaitable[int]]:
        async def take() -> int:
            taken.append(name)
            return len(taken)

        return take

    setting = Setting(rounds=2, quick=False, redis_port=1, traces=None, tell=lambda _: None)
    assert await setting.take_turns("x", {"a": turn("a"), "b": turn("b")}) == {"a": [1, 4], "b": [2, 3]}
    assert taken == ["a", "b", "b", "a"]


def test_traces_are_read_in_both_formats(tmp_path: Path) -> None:
    (tmp_path / "lirs.trace.gz").write_bytes(gzip.compress(b"7\n*\n\n300\n7\n"))
    (tmp_path / "web.trace.xz").write_bytes(lzma.compress(b"\x00\x00\x00\x07\x00\x00\x01\x2c"))
    (tmp_path / "notes.txt").write_text("no trace")
    assert read(tmp_path) == {"lirs": [7, 300, 7], "web": [7, 300]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gz", b"no gzip"),
        ("a.gz", gzip.compress(b"seven\n", mtime=0)),
        ("a.xz", b"no xz"),
        ("a.xz", lzma.compress(b"\x00\x01")),
    ],
)
def test_a_file_that_is_no_trace_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BenchError, match=name):
        read(tmp_path)


def test_a_folder_without_traces_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BenchError, match="--traces"):
            read(folder)
