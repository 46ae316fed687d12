"""Every branch of the decision that redis-start.sh takes, with made-up answers of Sentinels and peers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import REDIS_CONF, RESTORE_MARK, Script, ScriptEnv
from infra.local import process

if TYPE_CHECKING:
    from conftest import Meanwhile, Run, Stage


def start(stage: Stage, host: str = "redis-0", meanwhile: Meanwhile = None, **changed: str) -> Run:
    return stage.run(Script.REDIS_START, host=host, meanwhile=meanwhile, **changed)


def configuration(stage: Stage) -> list[str]:
    return (stage.run_dir / "redis.conf").read_text().splitlines()


def assert_follows(stage: Stage, run: Run, master: str) -> None:
    assert run.code == 0, run.log
    assert run.out == f"started {stage.run_dir}/redis.conf\n"
    assert f"replicaof {master} 6379" in configuration(stage)


def assert_leads(stage: Stage, run: Run) -> None:
    assert run.code == 0, run.log
    assert run.out == f"started {stage.run_dir}/redis.conf\n"
    assert not [line for line in configuration(stage) if line.startswith("replicaof")]


def assert_refuses(stage: Stage, run: Run, *reasons: str) -> None:
    assert run.code == 1
    assert run.out == ""
    for reason in ("refused:", *reasons):
        assert reason in run.log
    assert not (stage.run_dir / "redis.conf").exists()


# a: most Sentinels name another node


def test_the_node_that_most_sentinels_name_is_followed(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    run = start(stage)
    assert_follows(stage, run, "redis-1")
    assert "decision: follow redis-1: most Sentinels name it" in run.log


def test_two_of_three_sentinels_are_enough(stage: Stage) -> None:
    stage.sentinels_name("", "redis-2", "redis-2")
    assert_follows(stage, start(stage), "redis-2")


def test_the_former_master_follows_although_it_has_data_and_a_record_of_itself(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-0")
    stage.has_data()
    stage.record("redis-0")
    assert_follows(stage, start(stage), "redis-1")


# b: most Sentinels name this node, which has its data


def test_a_crashed_master_lets_a_replica_with_a_known_offset_take_over(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.failover_leads_to("redis-1")
    run = start(stage)
    assert_follows(stage, run, "redis-1")
    assert "replica redis-1 may be ahead of this disk" in run.log


def test_a_failover_that_never_ends_leaves_the_data_here_as_the_best_there_is(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.failover_leads_to("redis-1", reply="INPROG Failover already in progress")
    stage.sentinel_has("sentinel-0", flags="master,failover_in_progress")
    run = start(stage)
    assert "a failover is in progress at sentinel-0 already" in run.log
    assert_leads(stage, run)
    assert "no failover happened within 1 s" in run.log


def test_a_failover_that_another_sentinel_has_begun_is_not_asked_for_again(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.failover_leads_to("redis-1")
    stage.sentinel_has("sentinel-2", flags="s_down,o_down,master,failover_in_progress")

    def end_that_failover() -> None:
        assert process.wait_until(lambda: any("sentinel-2:26379 SENTINEL MASTER" in call for call in stage.calls), 10)
        stage.sentinels_name("redis-2", "redis-2", "redis-2")

    assert_follows(stage, start(stage, CACHE_FAILOVER_S="10", meanwhile=end_that_failover), "redis-2")
    assert not any("SENTINEL FAILOVER" in call for call in stage.calls)


def test_a_crashed_master_follows_the_one_that_took_over_before_a_failover_was_asked_for(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=100)
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        stage.sentinel_has(sentinel, "redis-2")

    def end_that_failover() -> None:
        assert process.wait_until(lambda: any("SENTINEL MASTER" in call for call in stage.calls), 10)
        stage.sentinels_name("redis-2", "redis-2", "redis-2")

    run = start(stage, CACHE_POLL_S="1", meanwhile=end_that_failover)  # asked three times: that takes two seconds
    assert_follows(stage, run, "redis-2")
    assert not any("SENTINEL FAILOVER" in call for call in stage.calls)


def test_a_crashed_master_leads_again_when_no_sentinel_accepts_a_failover(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.failover_leads_to("redis-1", reply="NOGOODSLAVE No suitable replica to promote")
    run = start(stage)
    assert_leads(stage, run)
    assert run.log.count("failover not accepted by sentinel-0: NOGOODSLAVE") == 3


def test_a_replica_without_a_known_offset_is_no_reason_to_hand_over(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    stage.node("redis-1", "slave", keys=5, offset=-1)
    stage.failover_leads_to("redis-1")
    run = start(stage)
    assert_leads(stage, run)
    assert not any("FAILOVER" in call for call in stage.calls)


def test_a_master_alone_with_its_data_leads_again(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.has_data()
    run = start(stage)
    assert_leads(stage, run)
    assert "no replica answers with a known offset" in run.log


# c: most Sentinels name this node, and its disk is empty


def test_a_master_without_data_hands_over_to_a_peer_with_data(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.node("redis-1", "slave", keys=5, offset=-1)
    stage.failover_leads_to("redis-1")
    run = start(stage, CACHE_EMPTY_S="10")
    assert_follows(stage, run, "redis-1")
    assert "it leads now, and this disk has no data" in run.log


def test_a_master_without_data_follows_the_one_that_sentinels_choose_meanwhile(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(2, 2, 2)

    def choose_another() -> None:
        assert process.wait_until(lambda: any("SENTINEL MASTER" in call for call in stage.calls), 10)
        stage.sentinels_name("redis-2", "redis-2", "redis-2")

    assert_follows(stage, start(stage, CACHE_EMPTY_S="20", meanwhile=choose_another), "redis-2")


def test_a_master_without_data_never_leads_while_a_peer_has_data(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(2, 2, 2)
    stage.node("redis-1", "slave", keys=5, offset=100)
    stage.node("redis-2", "slave")
    stage.failover_leads_to("redis-1", reply="NOGOODSLAVE No suitable replica to promote")
    assert_refuses(stage, start(stage), "no data here", "peers with data: redis-1;")


def test_a_master_without_data_waits_in_vain_for_silent_peers_that_sentinels_have_seen(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(0, 0, 2)
    assert_refuses(stage, start(stage), "no data here", "silent: redis-1 redis-2")


def test_a_peer_that_is_still_loading_may_have_data(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(2, 2, 2)
    stage.node("redis-1", "slave", loading=1)
    stage.node("redis-2", "slave")
    assert_refuses(stage, start(stage), "silent: redis-1")


def test_what_it_refuses_with_has_been_looked_at_although_the_time_is_up_at_once(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(2, 2, 2)
    stage.node("redis-2", "slave")
    assert_refuses(stage, start(stage, CACHE_EMPTY_S="0"), "silent: redis-1")


def test_a_master_without_data_leads_when_every_peer_answers_and_none_has_data(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.node("redis-1", "slave")
    stage.node("redis-2", "slave")
    run = start(stage)
    assert_leads(stage, run)
    assert "every peer answers, and none has data" in run.log


def test_a_master_without_data_leads_when_no_sentinel_has_ever_seen_a_replica(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(0, 0)
    run = start(stage, CACHE_EMPTY_S="3")
    assert_leads(stage, run)
    assert "no Sentinel has ever seen a replica" in run.log


def test_one_sentinel_that_has_seen_no_replica_is_too_few(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-0", "redis-0")
    stage.replicas_seen(0)
    assert_refuses(stage, start(stage, CACHE_EMPTY_S="3"), "silent: redis-1 redis-2")


# d: a minority, or answers that do not agree


def test_one_of_three_sentinels_decides_nothing(stage: Stage) -> None:
    stage.sentinels_name("redis-1")
    stage.has_data()
    stage.record("redis-0")
    assert_refuses(stage, start(stage), "named: redis-1, needed: 2 equal answers")


def test_sentinels_that_disagree_decide_nothing(stage: Stage) -> None:
    stage.sentinels_name("redis-0", "redis-1", "redis-2")
    assert_refuses(stage, start(stage), "named: redis-0 redis-1 redis-2")


def test_sentinels_that_agree_at_last_are_waited_for_and_each_reason_is_told_once(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-2")

    def agree() -> None:
        assert process.wait_until(lambda: len(stage.calls) > 6, 10)  # two questions to each
        stage.sentinels_name("redis-1", "redis-1", "redis-1")

    run = start(stage, CACHE_RETRY_S="20", meanwhile=agree)
    assert_follows(stage, run, "redis-1")
    assert run.log.count("waiting: named: redis-1 redis-2, needed: 2 equal answers") == 1


@pytest.mark.parametrize("reply", ["10.9.9.9\n6379", "redis-1\n7000", "redis-1", "redis-1\n6379\nmore", ""])
def test_an_answer_that_is_not_exactly_a_host_of_the_set_and_its_port_counts_for_nobody(
    stage: Stage, reply: str
) -> None:
    for sentinel in ("sentinel-0", "sentinel-1", "sentinel-2"):
        stage.answer(sentinel, "SENTINEL get-master-addr-by-name cache-test", reply)
    assert_refuses(stage, start(stage), "named: nobody", "sentinel-0 says")


def test_a_wrong_password_is_told_and_is_not_silence(stage: Stage) -> None:
    stage.record("redis-0")
    stage.has_data()
    stage.answer("sentinel-0", "SENTINEL get-master-addr-by-name cache-test", "NOAUTH Authentication required.")
    assert_refuses(stage, start(stage), 'sentinel-0 says "NOAUTH Authentication required.')


# e: no Sentinel answers


def test_a_master_that_serves_a_replica_is_followed_without_sentinels(stage: Stage) -> None:
    stage.node("redis-2", "master", keys=5, slaves=1)
    run = start(stage)
    assert_follows(stage, run, "redis-2")
    assert "a master with a connected replica" in run.log


def test_two_masters_that_serve_replicas_are_no_answer(stage: Stage) -> None:
    stage.node("redis-1", "master", keys=5, slaves=1)
    stage.node("redis-2", "master", keys=5, slaves=1)
    stage.record("redis-1")
    assert_refuses(stage, start(stage), "several masters have replicas: redis-1 redis-2")


def test_the_recorded_master_is_followed_without_sentinels_when_it_leads(stage: Stage) -> None:
    stage.record("redis-2")
    stage.has_data()
    stage.node("redis-2", "master", keys=5)
    assert_follows(stage, start(stage), "redis-2")


def test_a_recorded_master_that_does_not_answer_is_not_followed(stage: Stage) -> None:
    stage.record("redis-2")
    assert_refuses(stage, start(stage), "redis-2, does not answer as master")


def test_two_nodes_with_each_other_on_record_do_not_follow_each_other(stage: Stage) -> None:
    stage.record("redis-2")
    stage.has_data()
    stage.node("redis-2", "slave", keys=5, master="redis-0", link="down")
    assert_refuses(stage, start(stage), "redis-2, does not answer as master")


def test_the_recorded_master_leads_again_with_its_data(stage: Stage) -> None:
    stage.record("redis-0")
    stage.has_data()
    assert_leads(stage, start(stage))


def test_the_recorded_master_without_its_data_refuses(stage: Stage) -> None:
    stage.record("redis-0")
    assert_refuses(stage, start(stage), "its data is gone")


def test_the_recorded_master_refuses_while_another_node_leads(stage: Stage) -> None:
    stage.record("redis-0")
    stage.has_data()
    stage.node("redis-1", "master", keys=5)
    assert_refuses(stage, start(stage), "there is another: redis-1")


def test_a_record_that_names_a_stranger_is_refused(stage: Stage) -> None:
    stage.record("redis-9")
    assert_refuses(stage, start(stage), "redis-9 is not in this set")


def test_ordinal_0_starts_a_new_set_and_records_that(stage: Stage) -> None:
    run = start(stage)
    assert_leads(stage, run)
    assert "first start of the set" in run.log
    assert stage.recorded == "redis-0"


def test_no_other_ordinal_starts_a_new_set(stage: Stage) -> None:
    assert_refuses(stage, start(stage, "redis-1"), "only redis-0 may start a new set")


@pytest.mark.parametrize(("role", "keys"), [("slave", 5), ("master", 0)])
def test_ordinal_0_starts_no_new_set_while_a_peer_has_data_or_leads(stage: Stage, role: str, keys: int) -> None:
    stage.node("redis-1", role, keys=keys)
    assert_refuses(stage, start(stage), "peers have data or lead: redis-1")


def test_data_without_a_record_is_not_a_first_start(stage: Stage) -> None:
    stage.has_data()
    assert_refuses(stage, start(stage), "no master is on record although there is data here")


def test_silence_must_last_before_a_node_decides_alone(stage: Stage) -> None:
    stage.record("redis-0")
    stage.has_data()
    assert_refuses(stage, start(stage, CACHE_SILENCE_S="60"), "no Sentinel answers")


# around the decision


def test_a_node_whose_name_does_not_resolve_refuses(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    (stage.root / "names" / "redis-0").unlink()
    assert_refuses(stage, start(stage), "own name redis-0 did not resolve")


def test_an_address_in_place_of_a_name_needs_no_resolving(stage: Stage) -> None:
    hosts = {ScriptEnv.REDIS_HOSTS: "127.0.0.11 127.0.0.12 127.0.0.13"}
    stage.sentinels_name("127.0.0.12", "127.0.0.12", "127.0.0.12")
    assert_follows(stage, start(stage, "127.0.0.11", **hosts), "127.0.0.12")


def test_a_configuration_with_an_unknown_placeholder_starts_nothing(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    with (stage.root / "conf" / REDIS_CONF).open("a") as conf:
        conf.write("maxmemory @memory@\n")
    run = start(stage)
    assert_refuses(stage, run, "redis.conf could not be rendered")
    assert "placeholder @memory@ in the configuration is not known" in run.log


def test_a_dump_beside_the_single_file_of_an_older_redis_is_left_alone(stage: Stage) -> None:
    """Redis 7 takes that file over when it starts; a manifest would hide it."""
    stage.record("redis-0")
    (stage.data / "dump.rdb").write_text("REDIS-dump")
    (stage.data / "appendonly.aof").write_text("REDIS-preamble")
    run = start(stage)
    assert_leads(stage, run)
    assert "dump.rdb" not in run.log
    assert not (stage.data / "appendonlydir").exists()


@pytest.mark.parametrize("beside", ["manifest", "empty"])
def test_a_dump_beside_an_aof_is_adopted_only_if_that_holds_nothing(stage: Stage, beside: str) -> None:
    stage.record("redis-0")
    (stage.data / "dump.rdb").write_text("REDIS-dump")
    if beside == "manifest":
        stage.has_data()
    else:
        (stage.data / "appendonly.aof").touch()
    assert_leads(stage, start(stage))
    base = stage.data / "appendonlydir" / "appendonly.aof.1.base.rdb"
    assert base.read_text() == ("REDIS0010" if beside == "manifest" else "REDIS-dump")


def test_a_lone_dump_becomes_the_base_of_a_new_aof(stage: Stage) -> None:
    stage.record("redis-0")
    (stage.data / "dump.rdb").write_text("REDIS-dump")
    assert_leads(stage, start(stage))
    aof = stage.data / "appendonlydir"
    assert (aof / "appendonly.aof.manifest").read_text() == "file appendonly.aof.1.base.rdb seq 1 type b\n"
    assert (aof / "appendonly.aof.1.base.rdb").read_text() == "REDIS-dump"


def test_a_manifest_whose_base_is_missing_is_no_data(stage: Stage) -> None:
    stage.record("redis-0")
    stage.has_data()
    (stage.data / "appendonlydir" / "appendonly.aof.1.base.rdb").unlink()
    assert_refuses(stage, start(stage), "its data is gone")


def test_passwords_reach_the_files_but_no_argument_list(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    assert_follows(stage, start(stage), "redis-1")
    assert "masterauth password-of-repl" in configuration(stage)
    acl = (stage.run_dir / "users.acl").read_text()
    assert f"user app on #{hashlib.sha256(b'password-of-app').hexdigest()} " in acl
    assert "password-of" not in acl
    assert stage.calls
    assert not [call for call in stage.calls if "password-of" in call]
    for name in ("redis.conf", "users.acl"):
        assert (stage.run_dir / name).stat().st_mode & 0o077 == 0


def test_own_name_and_addresses_are_filled_in(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    start(stage)
    lines = configuration(stage)
    for line in ("bind * -::*", "port 6379", "replica-announce-ip redis-0", f"dir {stage.data}"):
        assert line in lines
    assert not [line for line in lines if "@" in line]


@pytest.mark.parametrize("content", ["", "two words", 'quote"d', "hash#ed"])
def test_a_password_that_would_break_the_configuration_is_refused_by_name(stage: Stage, content: str) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    (stage.secrets / "repl").write_text(content)
    run = start(stage)
    assert run.code == 1
    assert "secret file repl: one line" in run.log
    assert run.out == ""


def test_a_missing_secret_is_refused_by_name(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    (stage.secrets / "app").unlink()
    run = start(stage)
    assert run.code == 1
    assert "secret file app" in run.log


@pytest.mark.parametrize("variable", ["CACHE_SET", "CACHE_REDIS_HOSTS", "CACHE_DATA_DIR", "CACHE_CONF_FILE"])
def test_a_missing_variable_is_told_by_name(stage: Stage, variable: str) -> None:
    run = start(stage, **{variable: ""})
    assert run.code == 2
    assert variable in run.log


# a restore of the whole set


def marked(stage: Stage, text: str) -> dict[str, str]:
    (stage.root / "restore").mkdir(exist_ok=True)
    (stage.root / "restore" / RESTORE_MARK).write_text(text)
    return {ScriptEnv.RESTORE_DIR: str(stage.root / "restore")}


def restored(stage: Stage, restore_id: str) -> None:
    stage.has_data()
    (stage.data / "restore-data").write_text(f"{restore_id}\n")


def test_the_restored_node_leads_whatever_the_sentinels_say_and_only_once(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    restored(stage, "id-1")
    run = start(stage, **marked(stage, "id-1 redis-0\n"))
    assert_leads(stage, run)
    assert "decision: start as master: restore id-1: its data is here" in run.log
    assert stage.recorded == "redis-0"
    assert stage.calls == []
    assert_follows(stage, start(stage, **marked(stage, "id-1 redis-0\n")), "redis-1")
    restored_again = start(stage, **marked(stage, "id-2 redis-0\n"))
    assert_refused_restore(restored_again, "restore id-2: its data is not on this disk")


def assert_refused_restore(run: Run, reason: str) -> None:
    assert run.code == 1
    assert f"refused: {reason}" in run.log


def test_the_other_nodes_follow_the_restored_one_although_they_have_data_and_another_record(stage: Stage) -> None:
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    stage.has_data()
    stage.record("redis-1")
    run = start(stage, host="redis-1", **marked(stage, "id-1 redis-0\n"))
    assert_follows(stage, run, "redis-0")
    assert stage.recorded == "redis-0"


@pytest.mark.parametrize("data", [False, True])
def test_the_restored_node_refuses_to_start_without_the_data_of_this_very_restore(stage: Stage, *, data: bool) -> None:
    if data:
        stage.has_data()
    assert_refused_restore(start(stage, **marked(stage, "id-1 redis-0")), "restore id-1: its data is not on this disk")
    (stage.data / "restore-data").write_text("id-0\n")
    assert_refused_restore(start(stage, **marked(stage, "id-1 redis-0")), "restore id-1: its data is not on this disk")
    if not data:
        (stage.data / "restore-data").write_text("id-1\n")
        assert_refused_restore(start(stage, **marked(stage, "id-1 redis-0")), "restore id-1: its data is not complete")


@pytest.mark.parametrize("blocked", ["last-master.new", "restore-obeyed.new"])
def test_a_restore_that_cannot_be_remembered_is_refused_and_obeyed_at_the_next_start(
    stage: Stage, blocked: str
) -> None:
    """Forgotten, it would be obeyed again, after the set has moved on."""
    restored(stage, "id-1")
    (stage.data / blocked).mkdir()  # as good as a full disk, for root, too
    run = start(stage, **marked(stage, "id-1 redis-0\n"))
    assert_refuses(stage, run, "restore id-1: the data directory cannot be written")
    (stage.data / blocked).rmdir()
    assert_leads(stage, start(stage, **marked(stage, "id-1 redis-0\n")))


def test_a_mark_of_a_stranger_is_refused_and_half_a_mark_is_none(stage: Stage) -> None:
    restored(stage, "id-1")
    run = start(stage, **marked(stage, "id-1 redis-9\n"))
    assert_refused_restore(run, "restore id-1: redis-9 is not in this set")
    stage.sentinels_name("redis-1", "redis-1", "redis-1")
    assert_follows(stage, start(stage, **marked(stage, "id-1\n")), "redis-1")
