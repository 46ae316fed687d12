"""The checker must find every kind of wrong value, and must never accuse a right one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.fingerprint.checker import Fault, Findings, Floors, Promises, judge
from examples.fingerprint.profiles import FIRST_VERSION, Profile, digest

if TYPE_CHECKING:
    from pathlib import Path


def profile(user: int, version: int, body: str = "{}") -> Profile:
    return Profile(user, version, body, digest(user, version, body))


def test_the_right_value_is_right_at_its_floor_and_above() -> None:
    assert judge(7, profile(7, 3), floor=3) is None
    assert judge(7, profile(7, 4), floor=3) is None


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (profile(8, 3), Fault.WRONG_KEY),
        (Profile(7, 3, "{}", digest(7, 4, "{}")), Fault.WRONG_BODY),
        (Profile(7, 3, "{ }", digest(7, 3, "{}")), Fault.WRONG_BODY),
        (None, Fault.WRONG_BODY),
        ({"user": 7}, Fault.WRONG_BODY),
        (profile(7, 2), Fault.TOO_OLD),
    ],
)
def test_every_kind_of_wrong_value_is_found(value: object, fault: Fault) -> None:
    findings = Findings()
    findings.check(7, value, 3)

    assert findings.faults == Counter({fault: 1})
    assert findings.wrong == 1
    assert str(fault) in findings.examples[0]


def test_findings_add_up_over_processes_and_keep_only_the_first_examples() -> None:
    first, second = Findings(), Findings()
    for user in range(4):
        first.check(user, profile(user, FIRST_VERSION), FIRST_VERSION + 1)
        second.error(user, TimeoutError("late"))
    second.check(1, profile(1, FIRST_VERSION), FIRST_VERSION)

    both = first.plus(second)

    assert (both.reads, both.changed, both.wrong, both.failed) == (5, 4, 4, Counter(TimeoutError=4))
    assert len(both.examples) == 5
    assert both.examples[4] == "user 0: TimeoutError: late"


def test_floors_are_seen_through_another_mapping_and_never_fall(tmp_path: Path) -> None:
    Floors.create(tmp_path / "floors", users=3)
    with Floors(tmp_path / "floors") as writer, Floors(tmp_path / "floors") as reader:
        writer.lift(1, 5)
        writer.lift(1, 4)
        assert [reader[user] for user in range(3)] == [FIRST_VERSION, 5, FIRST_VERSION]


def test_a_promise_binds_only_after_the_staleness_bound_has_passed() -> None:
    promises = Promises(max_staleness=1.0)
    promises.acknowledged(user=7, version=2, now=10.0)
    promises.acknowledged(user=8, version=5, now=10.5)

    assert promises.due(now=11.0) == []
    assert promises.due(now=11.01) == [(7, 2)]
    assert promises.due(now=12.0) == [(8, 5)]
    assert promises.due(now=99.0) == []


pauses_between_writes = st.lists(st.floats(0.01, 2.0), min_size=1, max_size=20)


@given(pauses=pauses_between_writes, delay=st.floats(0.0, 1.0), asked=st.floats(0.0, 40.0))
def test_a_cache_that_is_behind_by_no_more_than_the_bound_is_never_accused(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], delay: float, asked: float
) -> None:
    """A model: write n is acknowledged some time after the one before; the cache shows it ``delay`` after that."""
    path = tmp_path_factory.mktemp("floors") / "floors"
    Floors.create(path, users=1)
    promises, now, shown = Promises(max_staleness=1.0), 0.0, FIRST_VERSION
    with Floors(path) as floors:
        for version, pause in enumerate(pauses, FIRST_VERSION + 1):
            now += pause
            promises.acknowledged(0, version, now)
            if now + delay <= asked:
                shown = version
        for user, version in promises.due(asked):
            floors.lift(user, version)
        assert judge(0, profile(0, shown), floors[0]) is None


@given(behind=st.floats(1.001, 5.0))
def test_a_cache_that_is_behind_by_more_than_the_bound_is_found(
    tmp_path_factory: pytest.TempPathFactory, behind: float
) -> None:
    path = tmp_path_factory.mktemp("floors") / "floors"
    Floors.create(path, users=1)
    promises = Promises(max_staleness=1.0)
    promises.acknowledged(0, FIRST_VERSION + 1, now=100.0)
    with Floors(path) as floors:
        for user, version in promises.due(100.0 + behind):
            floors.lift(user, version)
        assert judge(0, profile(0, FIRST_VERSION), floors[0]) is Fault.TOO_OLD
