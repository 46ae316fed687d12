"""Every branch of redis-stop.sh, with made-up answers of Sentinels and peers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import Script
from infra.local import process

if TYPE_CHECKING:
    from conftest import Run, Stage

SELF = "127.0.0.1"  # where the hook asks its own node


@pytest.fixture
def master(stage: Stage) -> Stage:
    """A master with two replicas in step, and Sentinels that will hand over to redis-1."""
    stage.node(SELF, "master", keys=5, offset=100, slaves=2)
    stage.answer(SELF, "CLIENT PAUSE 20000 WRITE", "OK")
    stage.answer(SELF, "CLIENT KILL TYPE normal", "3")
    stage.answer(SELF, "CLIENT UNPAUSE", "OK")
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.node("redis-2", "slave", keys=5, offset=100)
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.failover_leads_to("redis-1")
    return stage


def stop(stage: Stage) -> Run:
    return stage.run(Script.REDIS_STOP)


def commands(stage: Stage) -> list[str]:
    return [call.partition(" ")[2] for call in stage.calls]


def assert_gives_up(stage: Stage, run: Run, reason: str) -> None:
    assert run.code == 1
    assert f"not handed over: {reason}" in run.log
    assert commands(stage)[-1] == "CLIENT UNPAUSE"
    assert "CLIENT KILL TYPE normal" not in commands(stage)


def test_a_master_pauses_writes_then_hands_over_then_sends_its_clients_away(master: Stage) -> None:
    run = stop(master)
    assert run.code == 0, run.log
    assert "every connected replica has everything (offset 100): redis-1 redis-2" in run.log
    assert "handed over to redis-1" in run.log
    told = commands(master)
    order = [
        told.index(c) for c in ("CLIENT PAUSE 20000 WRITE", "SENTINEL FAILOVER cache-test", "CLIENT KILL TYPE normal")
    ]
    assert order == sorted(order)
    assert "CLIENT UNPAUSE" not in told


def test_the_new_master_is_recorded(master: Stage) -> None:
    stop(master)
    assert master.recorded == "redis-1"


def test_a_replica_has_nothing_to_hand_over(stage: Stage) -> None:
    stage.node(SELF, "slave", offset=100)
    run = stop(stage)
    assert run.code == 0
    assert "nothing to hand over: the role here is slave" in run.log
    assert commands(stage) == ["ROLE"]


def test_a_node_that_does_not_answer_has_nothing_to_hand_over(stage: Stage) -> None:
    run = stop(stage)
    assert run.code == 0
    assert "the role here is unknown" in run.log


def test_writes_go_on_when_they_cannot_be_paused(master: Stage) -> None:
    master.answer(SELF, "CLIENT PAUSE 20000 WRITE", "NOPERM no permission")
    assert_gives_up(master, stop(master), "writes could not be paused: NOPERM no permission")


@pytest.mark.parametrize(
    ("offset", "link", "follows"), [(90, "up", "redis-0"), (100, "down", "redis-0"), (100, "up", "redis-2")]
)
def test_writes_go_on_when_no_replica_of_this_master_has_everything(
    master: Stage, offset: int, link: str, follows: str
) -> None:
    for replica in ("redis-1", "redis-2"):
        master.node(replica, "slave", keys=5, offset=offset, link=link, master=follows)
    assert_gives_up(master, stop(master), "after 0 s: with everything: none; behind:")
    assert not [command for command in commands(master) if "FAILOVER" in command]


def test_writes_go_on_while_a_connected_replica_is_behind_because_sentinel_may_choose_it(master: Stage) -> None:
    master.node("redis-2", "slave", keys=5, offset=90)
    reason = "after 0 s: with everything: redis-1; behind: redis-2 (offset 90 of 100)"
    assert_gives_up(master, stop(master), reason)
    assert not [command for command in commands(master) if "FAILOVER" in command]


def test_a_replica_that_catches_up_in_time_is_waited_for(master: Stage) -> None:
    master.node("redis-2", "slave", keys=5, offset=90)

    def catch_up() -> None:
        assert process.wait_until(lambda: any("@redis-2" in call for call in master.calls), 10)
        master.node("redis-2", "slave", keys=5, offset=100)

    run = master.run(Script.REDIS_STOP, meanwhile=catch_up, CACHE_CATCH_UP_S="10")
    assert run.code == 0, run.log
    assert "everything (offset 100): redis-1 redis-2" in run.log


@pytest.mark.parametrize(("state", "waits"), [("lag=1", "live: 2"), ("lag=9", "")])
def test_a_replica_that_acknowledges_and_does_not_answer_is_waited_for(master: Stage, state: str, waits: str) -> None:
    followers = (("redis-1", "state=online,offset=100,lag=0"), ("redis-2", f"state=online,offset=100,{state}"))
    master.node(SELF, "master", keys=5, offset=100, slaves=2, followers=followers)
    master.silence("redis-2")
    run = stop(master)
    if waits:
        assert_gives_up(master, run, f"after 0 s: with everything: redis-1; behind: none; {waits}")
    else:
        assert run.code == 0, run.log


def test_a_replica_that_is_not_connected_is_not_waited_for(master: Stage) -> None:
    master.node("redis-2", "slave", keys=5, offset=90, link="down")
    run = stop(master)
    assert run.code == 0, run.log
    assert "everything (offset 100): redis-1\n" in run.log


@pytest.mark.parametrize(("had", "told"), [(91, "without the last 10 bytes"), (101, ""), (-1, "")])
def test_what_a_promoted_node_lacks_is_told(master: Stage, had: int, told: str) -> None:
    reply = f"loading:0\nrole:master\nmaster_link_status:down\nsecond_repl_offset:{had}"
    master.answer("redis-2", "INFO", reply)
    master.failover_leads_to("redis-2")
    run = stop(master)
    assert run.code == 0, run.log
    assert "handed over to redis-2" in run.log
    assert ("was promoted without" in run.log) is bool(told)
    assert told in run.log


def test_writes_go_on_while_the_sentinels_refuse_a_failover(master: Stage) -> None:
    refusal = "NOGOODSLAVE No suitable replica to promote"
    master.failover_leads_to("redis-1", reply=refusal)

    def change_their_minds() -> None:
        assert process.wait_until(lambda: commands(master).count("CLIENT PAUSE 20000 WRITE") > 2, 10)
        master.answer("sentinel-1", "SENTINEL FAILOVER cache-test", "OK")

    run = master.run(Script.REDIS_STOP, meanwhile=change_their_minds, CACHE_ATTEMPT_S="10")
    assert run.code == 0, run.log
    assert f"failover not accepted by sentinel-0: {refusal}" in run.log
    assert "not yet: no Sentinel accepts a failover; writes go on before the next attempt" in run.log
    assert "handed over to redis-1" in run.log
    told = commands(master)
    pauses = [word for word in told if word in {"CLIENT PAUSE 20000 WRITE", "CLIENT UNPAUSE"}]
    assert pauses == ["CLIENT PAUSE 20000 WRITE", "CLIENT UNPAUSE"] * (len(pauses) // 2) + ["CLIENT PAUSE 20000 WRITE"]


def test_a_refused_failover_is_given_up_after_the_time_for_attempts(master: Stage) -> None:
    master.failover_leads_to("redis-1", reply="NOGOODSLAVE No suitable replica to promote")
    run = stop(master)
    assert_gives_up(master, run, "no Sentinel accepts a failover")
    assert all(f"failover not accepted by sentinel-{n}: NOGOODSLAVE" in run.log for n in range(3))


def test_the_second_sentinel_is_asked_when_the_first_refuses(master: Stage) -> None:
    master.answer("sentinel-0", "SENTINEL FAILOVER cache-test", "NOGOODSLAVE No suitable replica to promote")
    run = stop(master)
    assert run.code == 0, run.log
    assert "failover accepted by sentinel-1 (OK)" in run.log
    assert not any("sentinel-2:26379 SENTINEL FAILOVER" in call for call in master.calls)


def test_a_sentinel_that_still_ends_the_failover_before_is_no_reason_to_keep_writers_waiting(master: Stage) -> None:
    """It answers INPROG, and names this node as master, but nothing will come of that."""
    for sentinel, flags in (("sentinel-0", "master"), ("sentinel-2", "s_down,master")):
        master.sentinel_has(sentinel, flags=flags)
        master.answer(sentinel, "SENTINEL FAILOVER cache-test", "NOGOODSLAVE No suitable replica to promote")
    master.sentinel_has("sentinel-1", "redis-2", flags="master,failover_in_progress")
    master.answer("sentinel-1", "SENTINEL FAILOVER cache-test", "INPROG Failover already in progress")
    run = master.run(Script.REDIS_STOP, CACHE_HANDOVER_S="25")
    assert_gives_up(master, run, "no Sentinel accepts a failover")
    assert "not asked for a failover: sentinel-1, which does not have this node as its master (yet)" in run.log


def test_a_failover_that_runs_already_is_waited_for(master: Stage) -> None:
    master.sentinel_has("sentinel-1", flags="master,failover_in_progress")

    def end_that_failover() -> None:
        assert process.wait_until(lambda: any("sentinel-1:26379 SENTINEL MASTER" in call for call in master.calls), 10)
        master.sentinels_name("redis-2", "redis-2", "redis-0")

    run = master.run(Script.REDIS_STOP, meanwhile=end_that_failover, CACHE_HANDOVER_S="10")
    assert run.code == 0, run.log
    assert "a failover is in progress at sentinel-1 already" in run.log
    assert "handed over to redis-2" in run.log
    assert not any("SENTINEL FAILOVER" in call for call in master.calls)


def test_a_failover_that_begins_before_it_is_asked_for_is_as_good(master: Stage) -> None:
    master.answer("sentinel-0", "SENTINEL FAILOVER cache-test", "INPROG Failover already in progress")
    master.sentinels_name("redis-2", "redis-2", "redis-0")
    run = stop(master)
    assert run.code == 0, run.log
    assert "failover accepted by sentinel-0 (INPROG" in run.log
    assert "handed over to redis-2" in run.log


def replica_seen(master: Stage, sentinel: str, role: str, flags: str = "slave") -> None:
    """Let a Sentinel tell what it saw of redis-1 when it looked last; redis-2 it knows."""
    lines = ["name", "redis-1:6379", "ip", "redis-1", "flags", flags, "role-reported-time", "20000"]
    lines += ["role-reported", role, "master-host", "", "name", "redis-2:6379", "ip", "redis-2", "flags", "slave"]
    master.answer(sentinel, "SENTINEL REPLICAS cache-test", "\n".join([*lines, "role-reported", "slave"]))


def test_writes_go_on_until_every_sentinel_has_seen_that_the_last_master_is_a_replica_now(master: Stage) -> None:
    replica_seen(master, "sentinel-0", "slave")
    replica_seen(master, "sentinel-1", "master")

    def look_again() -> None:
        assert process.wait_until(lambda: commands(master).count("SENTINEL REPLICAS cache-test") > 4, 10)
        assert "CLIENT PAUSE 20000 WRITE" not in commands(master)
        replica_seen(master, "sentinel-1", "slave")

    run = master.run(Script.REDIS_STOP, meanwhile=look_again, CACHE_ATTEMPT_S="10")
    assert run.code == 0, run.log
    assert run.log.count("not yet: sentinel-1 has not seen yet that redis-1 is a replica; writes go on") == 1
    assert "handed over to redis-1" in run.log


@pytest.mark.parametrize("flags", ["s_down,slave", "slave,disconnected"])
def test_a_lost_node_that_was_seen_as_a_master_last_is_not_waited_for(master: Stage, flags: str) -> None:
    replica_seen(master, "sentinel-1", "master", flags)
    run = stop(master)
    assert run.code == 0, run.log


def test_a_failover_that_has_ended_before_it_is_asked_for_is_a_handover(master: Stage) -> None:
    """Writes must not go on then: this node is deposed, and what it acknowledges is lost."""
    master.sentinels_name("redis-2", "redis-2", "redis-0")
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        master.sentinel_has(sentinel, "redis-2")
    run = stop(master)
    assert run.code == 0, run.log
    assert "not asked for a failover: sentinel-0" in run.log
    assert "handed over to redis-2" in run.log
    assert "CLIENT UNPAUSE" not in commands(master)


def test_a_failover_that_was_abandoned_is_not_waited_for(master: Stage) -> None:
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        master.sentinels_name("redis-0", "redis-0", "redis-0", when="after")
        master.sentinel_has(sentinel, when="after")
    run = master.run(Script.REDIS_STOP, CACHE_HANDOVER_S="25")  # longer than this test waits would be 30
    assert "sentinel-0 has abandoned the failover" in run.log
    assert_gives_up(master, run, "the Sentinels name no other master")


def test_no_other_sentinel_is_asked_when_one_may_have_begun(master: Stage) -> None:
    """Two failovers at once would each promote a replica of their own choice."""
    master.answer("sentinel-0", "SENTINEL FAILOVER cache-test", "")
    run = stop(master)
    assert_gives_up(master, run, "the Sentinels name no other master within 1 s")
    assert "no answer of sentinel-0 to the failover: it may have begun" in run.log
    assert len([command for command in commands(master) if "FAILOVER" in command]) == 1


def test_a_silent_sentinel_is_not_asked_for_a_failover(master: Stage) -> None:
    master.silence("sentinel-0")
    run = stop(master)
    assert run.code == 0, run.log
    assert "not asked for a failover: sentinel-0, which does not answer" in run.log
    assert "failover accepted by sentinel-1 (OK)" in run.log


def test_one_sentinel_that_names_another_master_is_not_enough(master: Stage) -> None:
    master.failover_leads_to("redis-1")
    master.sentinels_name("redis-1", "redis-0", "redis-0", when="after")
    assert_gives_up(master, stop(master), "the Sentinels name no other master within 1 s")
