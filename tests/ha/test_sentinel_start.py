"""sentinel-start.sh: where a Sentinel takes its master from, and what it keeps over a restart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import RESTORE_MARK, SENTINEL_AUTH_FILE, SENTINEL_CONF, RedisUser, Script, ScriptEnv

if TYPE_CHECKING:
    from conftest import Run, Stage


def start(stage: Stage, host: str = "sentinel-0", **changed: str) -> Run:
    return stage.run(Script.SENTINEL_START, host=host, **changed)


def state(stage: Stage) -> list[str]:
    return (stage.data / "sentinel.conf").read_text().splitlines()


def identity(host: str) -> str:
    return hashlib.sha1(f"cache-test/{host}".encode(), usedforsecurity=False).hexdigest()


def assert_monitors(stage: Stage, run: Run, master: str) -> None:
    assert run.code == 0, run.log
    assert run.out == f"started {stage.data}/sentinel.conf --sentinel\n"
    assert [line for line in state(stage) if line.startswith("sentinel monitor ")] == [
        f"sentinel monitor cache-test {master} 6379 2"
    ]


def assert_waits_in_vain(stage: Stage, run: Run) -> None:
    assert run.code == 1
    assert "refused: no master was found within 1 s" in run.log
    assert not (stage.data / "sentinel.conf").exists()


def test_a_new_sentinel_takes_the_only_master(stage: Stage) -> None:
    stage.node("redis-0", "slave")
    stage.node("redis-1", "master")
    assert_monitors(stage, start(stage), "redis-1")


def test_a_new_sentinel_never_invents_a_master(stage: Stage) -> None:
    stage.node("redis-0", "slave")
    assert_waits_in_vain(stage, start(stage))


def test_a_new_sentinel_does_not_choose_between_two_masters(stage: Stage) -> None:
    stage.node("redis-0", "master")
    stage.node("redis-1", "master")
    assert_waits_in_vain(stage, start(stage))


def test_what_most_other_sentinels_say_counts_more_than_roles(stage: Stage) -> None:
    stage.node("redis-0", "master")
    stage.sentinels_name("", "redis-1", "redis-1")
    assert_monitors(stage, start(stage), "redis-1")


def test_one_other_sentinel_that_names_the_only_master_agrees_with_it(stage: Stage) -> None:
    stage.node("redis-1", "master")
    stage.sentinels_name("", "redis-1", "")
    assert_monitors(stage, start(stage), "redis-1")


def test_one_other_sentinel_that_names_another_node_is_a_reason_to_wait(stage: Stage) -> None:
    stage.node("redis-1", "master")
    stage.sentinels_name("", "redis-2", "")
    assert_waits_in_vain(stage, start(stage))


def test_a_restarted_sentinel_keeps_what_it_learnt_of_its_own_set_and_nothing_else(stage: Stage) -> None:
    other = identity("sentinel-1")
    kept = [
        "sentinel config-epoch cache-test 7",
        "sentinel leader-epoch cache-test 8",
        "sentinel current-epoch 9",
        "sentinel known-replica cache-test redis-0 6379",
        f"sentinel known-sentinel cache-test sentinel-1 26379 {other}",
    ]
    dropped = [
        "sentinel known-replica cache-test 10.9.9.9 6379",
        "sentinel known-replica cache-test redis-0 6379",
        "sentinel known-replica other-set redis-1 6379",
        f"sentinel known-sentinel cache-test sentinel-2 26379 {'0' * 40}",
        "sentinel down-after-milliseconds cache-test 1",
        "requirepass an-old-password",
        "user default on nopass",
    ]
    (stage.data / "sentinel.conf").write_text(
        "\n".join(["sentinel monitor cache-test redis-2 6379 9", *kept, *dropped])
    )
    assert_monitors(stage, start(stage), "redis-2")
    lines = state(stage)
    for line in kept:
        assert lines.count(line) == 1
    for line in dropped[:1] + dropped[2:]:
        assert line not in lines
    assert "sentinel sentinel-pass password-of-sentinel-auth" in lines
    assert stage.calls == []  # what is remembered is not asked for


def test_a_remembered_master_that_is_not_ours_is_forgotten(stage: Stage) -> None:
    (stage.data / "sentinel.conf").write_text("sentinel monitor cache-test 10.9.9.9 6379 2\n")
    stage.node("redis-1", "master")
    assert_monitors(stage, start(stage), "redis-1")


@pytest.mark.parametrize("host", ["sentinel-0", "sentinel-2"])
def test_the_identity_depends_on_set_and_name_only(stage: Stage, host: str) -> None:
    stage.node("redis-1", "master")
    assert_monitors(stage, start(stage, host), "redis-1")
    assert f"sentinel myid {identity(host)}" in state(stage)
    assert f"sentinel announce-ip {host}" in state(stage)


def test_sentinel_state_is_private_and_passwords_stay_out_of_argument_lists(stage: Stage) -> None:
    stage.node("redis-1", "master")
    start(stage)
    assert (stage.data / "sentinel.conf").stat().st_mode & 0o077 == 0
    assert "sentinel auth-pass cache-test password-of-sentinel" in state(stage)
    assert stage.calls
    assert not [call for call in stage.calls if "password-of" in call]


def test_after_a_restore_the_restored_node_is_monitored_once_whatever_is_remembered(stage: Stage) -> None:
    (stage.root / "restore").mkdir()
    (stage.root / "restore" / RESTORE_MARK).write_text("id-1 redis-0\n")
    mark = {ScriptEnv.RESTORE_DIR: str(stage.root / "restore")}
    remembered = ["sentinel monitor cache-test redis-2 6379 2", "sentinel config-epoch cache-test 7"]
    (stage.data / "sentinel.conf").write_text("\n".join(remembered) + "\n")
    run = start(stage, **mark)
    assert_monitors(stage, run, "redis-0")
    assert "decision: monitor redis-0: restore id-1" in run.log
    assert "sentinel config-epoch cache-test 7" in state(stage)
    (stage.data / "sentinel.conf").write_text("\n".join(remembered) + "\n")  # a failover since then
    assert_monitors(stage, start(stage, **mark), "redis-2")


def test_a_restore_that_names_a_stranger_is_refused(stage: Stage) -> None:
    (stage.root / "restore").mkdir()
    (stage.root / "restore" / RESTORE_MARK).write_text("id-1 redis-9\n")
    run = start(stage, **{ScriptEnv.RESTORE_DIR: str(stage.root / "restore")})
    assert run.code == 1
    assert "refused: restore id-1: redis-9 is not in this set" in run.log


def test_a_restore_that_cannot_be_remembered_is_refused(stage: Stage) -> None:
    (stage.root / "restore").mkdir()
    (stage.root / "restore" / RESTORE_MARK).write_text("id-1 redis-0\n")
    (stage.data / "restore-obeyed.new").mkdir()  # as good as a full disk, for root, too
    run = start(stage, **{ScriptEnv.RESTORE_DIR: str(stage.root / "restore")})
    assert run.code == 1
    assert "refused: restore id-1: the data directory cannot be written" in run.log
    assert not (stage.data / "sentinel.conf").exists()


@pytest.mark.parametrize("lacks", [SENTINEL_AUTH_FILE, RedisUser.SENTINEL, SENTINEL_CONF])
def test_half_a_configuration_starts_nothing(stage: Stage, lacks: str) -> None:
    """Without its password a Sentinel would let anybody in, or see no node."""
    stage.node("redis-1", "master")
    (stage.data / "sentinel.conf").write_text("sentinel monitor cache-test redis-1 6379 2\n")
    if lacks == SENTINEL_CONF:
        with (stage.root / "conf" / SENTINEL_CONF).open("a") as conf:
            conf.write("loglevel @level@\n")
    else:
        (stage.secrets / lacks).unlink()
    run = start(stage)
    assert run.code == 1
    assert run.out == ""
    assert "refused: sentinel.conf could not be rendered" in run.log
    assert state(stage) == ["sentinel monitor cache-test redis-1 6379 2"]
