"""The promises, kept by real processes: what a client writes while nodes are stopped, killed and emptied."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cacheclient.contract import Channel
from infra.local import process
from tests.drill.traffic import Writer, await_ready, client, log_of, new_master, store_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from infra.local.control import Environment


def test_a_planned_stop_loses_no_acknowledged_write_and_hands_over_within_5_seconds(healthy: Environment) -> None:
    old = healthy.master()
    with Writer(healthy, "planned") as writer:
        said = healthy.stop(old)
        writer.wait_for_more()
    assert "handed over to" in said
    assert healthy.master() != old
    assert writer.longest_gap() <= 5.0
    assert writer.lost(healthy) == 0


def test_a_killed_master_is_replaced_within_the_stated_time(healthy: Environment) -> None:
    old = healthy.master()
    with Writer(healthy, "killed") as writer:
        healthy.kill(old)
        new_master(healthy, old, healthy.down_after + 15)
        writer.wait_for_more()
    assert healthy.down_after <= writer.longest_gap() <= healthy.down_after + 15  # 30 s + 15 s in a cluster
    healthy.start(old)
    await_ready(healthy, old)
    assert healthy.master() != old


def test_a_crashed_master_that_restarts_at_once_lets_a_replica_take_over_within_10_seconds(
    healthy_redis: Environment,
) -> None:
    old = healthy_redis.master()
    with Writer(healthy_redis, "crashed") as writer:
        healthy_redis.kill(old)
        healthy_redis.start(old)
        new_master(healthy_redis, old, 10)
        writer.wait_for_more()
    assert writer.longest_gap() <= 10.0
    await_ready(healthy_redis, old)


def test_a_master_back_with_an_empty_disk_wipes_nobody(healthy_redis: Environment) -> None:
    count = store_keys(healthy_redis, "empty")
    old = healthy_redis.master()
    healthy_redis.kill(old)
    shutil.rmtree(healthy_redis.places.data / old)
    healthy_redis.start(old)
    new_master(healthy_redis, old, 30)
    await_ready(healthy_redis, old)
    assert count() == 200
    assert "this node was the master and has no data" in log_of(healthy_redis, old)
    keyspace = healthy_redis.ask(old, "INFO", "keyspace")
    assert int(keyspace.partition("keys=")[2].partition(",")[0]) >= 200  # the emptied node has copied everything


def test_all_three_killed_at_once_come_back_with_their_data(healthy_redis: Environment) -> None:
    count = store_keys(healthy_redis, "outage")
    for name in healthy_redis.redis_nodes:
        healthy_redis.kill(name)
    for name in healthy_redis.redis_nodes:
        healthy_redis.start(name)
    await_ready(healthy_redis, *healthy_redis.redis_nodes)
    assert count() == 200


def test_an_outage_in_which_the_master_loses_its_disk_keeps_what_the_replicas_have(healthy_redis: Environment) -> None:
    count = store_keys(healthy_redis, "lost-disk")
    old = healthy_redis.master()
    for name in healthy_redis.redis_nodes:
        healthy_redis.kill(name)
    shutil.rmtree(healthy_redis.places.data / old)
    for name in healthy_redis.redis_nodes:
        healthy_redis.start(name)
    await_ready(healthy_redis, *healthy_redis.redis_nodes)
    assert count() == 200
    assert "this node was the master and has no data" in log_of(healthy_redis, old)


def test_without_a_majority_of_sentinels_a_node_refuses_to_start(
    healthy_redis: Environment, impatient: Callable[[Environment, str], AbstractContextManager[None]]
) -> None:
    replica = next(name for name in healthy_redis.redis_nodes if name != healthy_redis.master())
    for sentinel in ("sentinel-0", "sentinel-1"):
        healthy_redis.stop(sentinel)
    healthy_redis.stop(replica)
    with impatient(healthy_redis, replica):
        healthy_redis.start(replica)
        assert process.wait_until(lambda: bool(healthy_redis.dead()), 20)
    ((name, reason),) = healthy_redis.dead()
    assert name == replica
    assert reason.startswith("it refused to start: for 1 s: named: 127.0.0.1")
    assert "needed: 2 equal answers" in reason


def test_a_sentinel_that_lost_its_disk_returns_as_itself(healthy_redis: Environment) -> None:
    healthy_redis.kill("sentinel-2")
    shutil.rmtree(healthy_redis.places.data / "sentinel-2")
    healthy_redis.start("sentinel-2")
    await_ready(healthy_redis, "sentinel-2")
    seen = healthy_redis.ask("sentinel-0", "SENTINEL", "MASTER", healthy_redis.set_name).splitlines()
    assert seen[seen.index("num-other-sentinels") + 1] == "2"
    assert "OK 3 usable Sentinels" in healthy_redis.ask("sentinel-0", "SENTINEL", "CKQUORUM", healthy_redis.set_name)


def test_a_master_cut_off_from_its_replicas_refuses_writes(healthy_redis: Environment) -> None:
    master = healthy_redis.master()
    replicas = [name for name in healthy_redis.redis_nodes if name != master]
    address, port = healthy_redis.redis_nodes[master]
    password = healthy_redis.password_file.read_text()
    for replica in replicas:
        healthy_redis.pause(replica)
    with redis.Redis(host=address, port=port, username="app", password=password) as direct:

        def refused() -> bool:
            try:
                direct.set("cut-off", "x")
            except redis.ResponseError as error:
                return str(error).startswith("NOREPLICAS")
            return False

        assert process.wait_until(refused, 2 + 1 + 2), "writes were accepted for longer than max-lag + 1 s"


FORBIDDEN = (
    ("KEYS", "*"),
    ("FLUSHALL",),
    ("CONFIG", "GET", "masterauth"),
    ("PUBLISH", "__sentinel__:hello", "forged"),
    ("SUBSCRIBE", "__sentinel__:hello"),
    ("ACL", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("SHUTDOWN",),
    ("REPLICAOF", "NO", "ONE"),
    ("SCRIPT", "FLUSH"),
)


def test_the_app_may_not_administer(healthy_redis: Environment) -> None:
    with client(healthy_redis) as app:
        for command in FORBIDDEN:
            with pytest.raises(redis.exceptions.NoPermissionError):
                app.execute_command(*command)


def test_the_app_may_do_what_a_cache_client_does(healthy: Environment) -> None:
    address, port = healthy.redis_nodes[healthy.master()]
    password = healthy.password_file.read_text()
    with redis.Redis(
        host=address, port=port, username="app", password=password, protocol=3, decode_responses=True
    ) as app:
        assert app.set("app:1", "v", px=60_000)
        assert app.mget("app:1", "app:2") == ["v", None]
        assert app.execute_command("CLIENT", "NO-EVICT", "ON") == "OK"
        assert app.execute_command("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "app:") == "OK"
        assert app.eval("return redis.call('GET', KEYS[1])", 1, "app:1") == "v"
        assert app.evalsha(app.script_load("return 1"), 0) == 1
        assert "app:1" in app.scan_iter(match="app:*")
        assert [app.publish(channel, "{}") for channel in Channel]
        assert app.role()[0] == "master"
        assert app.info("replication")["role"] == "master"
        assert app.wait(0, 1) >= 0
        with app.pubsub() as listener:
            listener.subscribe(*Channel)


def test_nobody_gets_in_without_a_password(healthy_redis: Environment) -> None:
    for address, port in (*healthy_redis.redis_nodes.values(), *healthy_redis.sentinel_nodes.values()):
        without_retries = Retry(NoBackoff(), 0)
        with (
            redis.Redis(host=address, port=port, retry=without_retries) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
