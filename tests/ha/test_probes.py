"""The probe scripts, with made-up answers: what restarts a pod, and what only takes it out of service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import Script

if TYPE_CHECKING:
    from conftest import Stage

SELF = "127.0.0.1"


@pytest.mark.parametrize("which", ["startup", "liveness"])
@pytest.mark.parametrize(
    "reply",
    [
        "PONG",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "NOAUTH Authentication required.",
    ],
)
def test_whoever_answers_is_alive(stage: Stage, which: str, reply: str) -> None:
    stage.answer(SELF, "PING", reply)
    run = stage.run(Script.REDIS_PROBE, which)
    assert (run.code, run.out) == (0, f"alive: {reply}\n")


@pytest.mark.parametrize("which", ["startup", "liveness", "readiness"])
def test_a_node_that_does_not_answer_fails_every_probe(stage: Stage, which: str) -> None:
    run = stage.run(Script.REDIS_PROBE, which)
    assert run.code == 1
    assert "no answer to PING" in run.out


def test_a_node_that_hangs_fails_within_the_call_budget(stage: Stage) -> None:
    (stage.root / "bin" / "redis-cli").write_text("#!/bin/sh\nexec sleep 30\n")
    run = stage.run(Script.REDIS_PROBE, "liveness", CACHE_CALL_S="1")
    assert run.code == 1
    assert "no answer to PING within 1 s" in run.out


def test_a_master_is_ready_and_records_itself(stage: Stage) -> None:
    stage.node(SELF, "master")
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (0, "ready: master\n")
    assert stage.recorded == "redis-0"


def test_a_replica_with_its_link_up_is_ready_and_records_its_master(stage: Stage) -> None:
    stage.node(SELF, "slave", master="redis-2")
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (0, "ready: slave\n")
    assert stage.recorded == "redis-2"


def test_a_replica_without_its_master_is_not_ready_and_records_nothing(stage: Stage) -> None:
    stage.node(SELF, "slave", link="down", master="redis-2")
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (1, "not ready: the link to the master is down\n")
    assert stage.recorded == ""


def test_a_replica_that_copies_from_its_master_is_not_ready(stage: Stage) -> None:
    stage.node(SELF, "slave")
    info = (stage.root / "answers" / SELF / "INFO").read_bytes()
    copying = info.replace(b"master_sync_in_progress:0", b"master_sync_in_progress:1")
    (stage.root / "answers" / SELF / "INFO").write_bytes(copying)
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (1, "not ready: a full copy from the master is running\n")


def test_a_node_that_loads_is_alive_but_not_ready(stage: Stage) -> None:
    stage.answer(SELF, "PING", "LOADING Redis is loading the dataset in memory")
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (1, "not ready: LOADING Redis is loading the dataset in memory\n")


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("loading:1\r\nrole:master", "no INFO, or still loading"),
        ("NOPERM this user has no permissions", "no INFO, or still loading"),
        ("loading:0\r\nrole:sentinel", "role sentinel"),
        ("loading:0\r\n", "role unknown"),
    ],
)
def test_a_node_that_does_not_say_that_it_serves_is_not_ready(stage: Stage, info: str, reason: str) -> None:
    stage.answer(SELF, "PING", "PONG")
    stage.answer(SELF, "INFO", info)
    run = stage.run(Script.REDIS_PROBE, "readiness")
    assert (run.code, run.out) == (1, f"not ready: {reason}\n")
    assert stage.recorded == ""


def test_a_full_disk_does_not_make_a_node_unready(stage: Stage) -> None:
    stage.node(SELF, "master")
    (stage.data / "last-master.new").mkdir()  # the record cannot be written
    assert stage.run(Script.REDIS_PROBE, "readiness").code == 0


def test_the_bind_address_is_asked_where_one_is_given(stage: Stage) -> None:
    stage.answer("127.0.0.9", "PING", "PONG")
    assert stage.run(Script.REDIS_PROBE, "liveness", CACHE_BIND="127.0.0.9").code == 0


@pytest.mark.parametrize("name", [Script.REDIS_PROBE, Script.SENTINEL_PROBE])
@pytest.mark.parametrize("arguments", [(), ("ready",)])
def test_an_unknown_probe_is_refused_with_the_usage(stage: Stage, name: Script, arguments: tuple[str, ...]) -> None:
    run = stage.run(name, *arguments)
    assert run.code == 1
    assert f"usage: {name} startup|liveness|readiness" in run.out


@pytest.mark.parametrize("which", ["startup", "liveness"])
def test_a_sentinel_that_answers_is_alive(stage: Stage, which: str) -> None:
    assert stage.run(Script.SENTINEL_PROBE, which, host="sentinel-0").code == 1
    stage.answer(SELF, "PING", "PONG")
    assert stage.run(Script.SENTINEL_PROBE, which, host="sentinel-0").code == 0


@pytest.mark.parametrize(
    ("reply", "code", "out"),
    [
        ("redis-1\n6379", 0, "ready: names redis-1\n"),
        (None, 1, "not ready: no answer\n"),
        ("", 1, f'not ready: {SELF} says ""\n'),
        ("10.9.9.9\n6379", 1, f'not ready: {SELF} says "10.9.9.9 6379"\n'),
    ],
)
def test_a_sentinel_is_ready_when_it_names_a_master_of_the_set(
    stage: Stage, reply: str | None, code: int, out: str
) -> None:
    if reply is not None:
        stage.answer(SELF, "SENTINEL get-master-addr-by-name cache-test", reply)
    run = stage.run(Script.SENTINEL_PROBE, "readiness", host="sentinel-0")
    assert (run.code, run.out) == (code, out)
