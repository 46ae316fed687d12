"""The checker finds what is planted, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from cacheclient.remote import Address
from tests.fuzz.checker import Checker, Lapse, Rule, Verdict
from tests.fuzz.database import Database
from tests.fuzz.faults import Done
from tests.fuzz.history import NOTHING, WRONG_KEY, Mode, Op, Read, Recorder, Write, mode_of, reads, writes
from tests.fuzz.incidents import RECIPES, Fault, Incident, Kind, incidents
from tests.fuzz.run import Change, lapses_of

DURABLE, FAST, SET = 0, 1, 3  # keys
GRACE = 1.0


def write(key: int, version: int, at: float, *, acknowledged: bool = True) -> Write:
    return Write(key, acknowledged, version, at - 0.002, at)


def read(key: int, version: int, begin: float, seconds: float = 0.001) -> Read:
    return Read(key, Op.GET, version, begin, begin + seconds)


def judged(writes: list[list[Write]], reads: list[Read], *lapses: Lapse, reader: int = 1) -> Verdict:
    """The writes of workers 0, 1, ... against what one worker read."""
    checker = Checker([*writes, []] if len(writes) < 2 else writes, GRACE, lapses)
    checker.check(reader, reads)
    return checker.verdict


def test_the_keys_stand_for_their_modes() -> None:
    assert [mode_of(key) for key in (DURABLE, FAST, SET)] == [Mode.DURABLE, Mode.FAST, Mode.SET]


@pytest.mark.parametrize("key", [DURABLE, FAST, SET])
def test_an_old_version_is_right_until_the_grace_is_over(key: int) -> None:
    history = [[write(key, 2, 10.0)]]
    assert judged(history, [read(key, 1, 10.999)]).violations == 0
    late = judged(history, [read(key, 1, 11.001)])
    assert late.broken == {f"{mode_of(key)}/fleet": 1}
    assert late.examples[0].late == pytest.approx(0.001)
    assert judged(history, [read(key, 2, 11.001)]).violations == 0


def test_a_long_read_is_judged_by_its_beginning() -> None:
    history = [[write(DURABLE, 2, 10.0)]]
    assert judged(history, [read(DURABLE, 1, 10.9, seconds=8.0)]).violations == 0
    assert judged(history, [read(DURABLE, 1, 11.1, seconds=8.0)]).violations == 1


def test_a_newer_version_than_the_one_due_is_right() -> None:
    history = [[write(DURABLE, 2, 10.0), write(DURABLE, 3, 10.5)]]
    assert judged(history, [read(DURABLE, 3, 11.2)]).violations == 0


def test_acknowledgements_out_of_order_leave_the_newest_due() -> None:
    history = [[write(DURABLE, 3, 10.0)], [write(DURABLE, 2, 10.4)]]
    found = judged(history, [read(DURABLE, 2, 12.0)], reader=0)
    assert [violation.due for violation in found.examples] == [3]


def test_what_was_not_acknowledged_binds_nobody_else() -> None:
    assert judged([[write(DURABLE, 2, 10.0, acknowledged=False)]], [read(DURABLE, 1, 20.0)]).violations == 0


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_process_must_see_its_own_writes_at_once(acknowledged: bool) -> None:  # noqa: FBT001
    history = [[write(FAST, 2, 10.0, acknowledged=acknowledged)]]
    found = judged(history, [read(FAST, 1, 9.999), read(FAST, 1, 10.001)], reader=0)
    assert found.broken == {"fast/own": 1}
    assert found.examples[0].read.begin == 10.001


def test_a_version_from_the_future_is_found() -> None:
    history = [[write(DURABLE, 2, 10.0)]]
    assert judged(history, [read(DURABLE, 2, 9.0)]).broken == {"durable/future": 1}
    assert judged(history, [read(DURABLE, 2, 9.0, seconds=1.0)]).violations == 0


def test_another_keys_row_is_found() -> None:
    assert judged([[]], [read(DURABLE, WRONG_KEY, 1.0)]).broken == {f"durable/{Rule.KEY}": 1}


def test_finding_nothing_is_never_wrong_and_never_checked() -> None:
    found = judged([[write(DURABLE, 2, 10.0)]], [read(DURABLE, NOTHING, 20.0)])
    assert (found.violations, found.reads, found.checked.total(), found.consistency) == (0, 1, 0, None)


LAPSE = Lapse(lost_from=9.5, lost_to=10.5, repaired_by=15.0)


@pytest.mark.parametrize(
    ("key", "written", "begin", "excused"),
    [
        (FAST, [10.0], 12.0, True),
        (SET, [10.0], 12.0, True),
        (DURABLE, [10.0], 12.0, False),  # no crash may undo it
        (FAST, [10.0], 15.1, False),  # it should have been repeated by then
        (FAST, [9.4], 12.0, False),  # acknowledged too early to be lost
        (FAST, [10.6], 12.0, False),  # acknowledged by the next master
        (FAST, [9.4, 10.0], 12.0, False),  # the one before was not lost, so what came before that may not come back
        (FAST, [10.0, 10.2], 12.0, True),
    ],
)
def test_a_crash_excuses_what_it_may_have_undone_and_no_more(
    key: int, written: list[float], begin: float, *, excused: bool
) -> None:
    history = [[write(key, version, at) for version, at in enumerate(written, start=2)]]
    found = judged(history, [read(key, 1, begin)], LAPSE)
    assert (found.violations, found.excused.total()) == ((0, 1) if excused else (1, 0))
    assert found.consistency == 0.0, "an excused read is still not consistent"


def test_own_writes_are_never_excused() -> None:
    assert judged([[write(FAST, 2, 10.0)]], [read(FAST, 1, 12.0)], LAPSE, reader=0).broken == {"fast/own": 1}


def test_one_planted_stale_read_among_many_is_found() -> None:
    draw = random.Random(5)  # noqa: S311
    history = [[write(DURABLE, version, 10.0 * version) for version in range(2, 40)]]
    good = [read(DURABLE, int(begin // 10), begin) for begin in sorted(draw.uniform(20, 390) for _ in range(2000))]
    assert judged(history, good).violations == 0
    planted = draw.randrange(100, 2000)
    bad = good[planted]._replace(version=good[planted].version - 1, begin=good[planted].begin // 10 * 10 + 1.5)
    found = judged(history, [*good[:planted], bad, *good[planted + 1 :]])
    assert [violation.read for violation in found.examples] == [bad]


def incident(kind: Kind) -> Incident:
    return Incident("planted", (Fault(kind, "master", 0.0, 1.0),), 1.0)


def change(at: float, writable: float) -> Change:
    return Change(at, Address("a", 1), Address("b", 1), writable)


def test_an_unplanned_change_of_master_is_a_lapse_from_before_the_fault_until_journals_had_their_time() -> None:
    done = Done(incident(Kind.KILL), began=100.0, master_hit=100.5, clients_free=103.0, ended=120.0)
    (lapse,) = lapses_of([change(106.0, 107.0)], [done])
    assert lapse.lost_from < 100.5
    assert lapse.lost_to == 106.0
    assert 107.0 < lapse.repaired_by < 112.0
    (frozen,) = lapses_of([change(106.0, 107.0)], [Done(incident(Kind.KILL), 100.0, 100.5, 111.0, 120.0)])
    assert frozen.repaired_by > 111.0, "a writer that was frozen repeats nothing until it goes on"


def test_a_handover_excuses_nothing() -> None:
    done = Done(incident(Kind.STOP), began=100.0, master_hit=100.5, ended=120.0, handed_over=True)
    assert lapses_of([change(106.0, 107.0)], [done]) == []
    assert len(lapses_of([change(130.0, 131.0)], [done])) == 1, "a later change is another matter"


def test_a_seed_always_draws_the_same_incidents() -> None:
    def drawn(seed: str, workers: int = 3) -> list[Incident]:
        return [found for found, _ in zip(incidents(seed, workers), range(200), strict=False)]

    assert drawn("7") == drawn("7")
    assert drawn("7") != drawn("8")
    assert {found.name for found in drawn("7")} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_an_incident_takes_one_redis_node_away_at_most(name: str) -> None:
    for found, _ in zip(incidents("1", 3, name), range(50), strict=False):
        down = [fault.target for fault in found.faults if fault.kind not in {Kind.CUT, Kind.SLOW}]
        nodes = {target for target in down if target.startswith(("master", "replica"))}
        assert len(nodes) <= 1
        for fault in found.faults:
            assert bool(fault.other) == (fault.kind in {Kind.CUT, Kind.SLOW})
            assert not set(fault.target.split("+")) & set(fault.other.split("+"))


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 2)
    recorder.read(7, Op.ENTRY_L1, 3, 1.5, 1.75)
    recorder.write(Write(7, True, 4, 2.5, 2.75))
    recorder.close()
    assert list(reads(tmp_path, 2)) == [Read(7, Op.ENTRY_L1, 3, 1.5, 1.75)]
    assert writes(tmp_path, 2) == [Write(7, True, 4, 2.5, 2.75)]


def test_a_torn_record_at_the_end_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 0)
    for version in (1, 2):
        recorder.read(0, Op.GET, version, 1.0, 1.0)
    recorder.close()
    path = tmp_path / "reads-0"
    path.write_bytes(path.read_bytes()[:-3])
    assert [found.version for found in reads(tmp_path, 0)] == [1]


def test_the_database_counts_versions_for_all_who_map_it(tmp_path: Path) -> None:
    Database.create(tmp_path / "database", 3)
    with Database(tmp_path / "database") as one, Database(tmp_path / "database") as other:
        commit = one.commit(1)
        assert commit is not None
        assert (commit.version, other[1], other[0], len(other)) == (2, 2, 1, 3)
