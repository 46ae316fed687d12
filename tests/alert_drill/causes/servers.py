"""Failures of Redis servers, of the ways to them, and of those who watch them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial
from typing import Final

import redis

from tests.alert_drill.causes.model import configured, led_by_another
from tests.alert_drill.client import Mode
from tests.alert_drill.scene import Scene, pause, wait_for

_OUTAGE: Final = 62.0  # seconds: two more than clients may be without a master
_IDLE_CONNECTIONS: Final = 320


@contextlib.contextmanager
def replica_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of a replica."""
    name = scene.replicas[0]
    scene.environment.kill(name)
    yield
    scene.environment.start(name)


@contextlib.contextmanager
def master_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of the master, until another leads."""
    name = scene.master
    scene.environment.kill(name)
    wait_for(lambda: led_by_another(scene, name), "a new master")
    yield
    scene.environment.start(name)


@contextlib.contextmanager
def handed_over_again_and_again(scene: Scene) -> Iterator[None]:
    """Four forced failovers in a row."""
    order = partial(scene.environment.ask, "sentinel-0", "SENTINEL", "FAILOVER", scene.environment.set_name)
    for _ in range(4):
        old = scene.master
        # On a busy machine it may not have heard of its replicas lately, and then refuses for a moment.
        wait_for(lambda: order() == "OK", "a Sentinel that carries the order out")
        wait_for(partial(led_by_another, scene, old), "a new master")
        scene.await_whole()
    yield


@contextlib.contextmanager
def replicas_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of all replicas: the master refuses writes."""
    names = scene.replicas
    with scene.doing(Mode.MISSES):
        for name in names:
            scene.environment.kill(name)
        yield
        for name in names:
            scene.environment.start(name)


@contextlib.contextmanager
def all_redis_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of every Redis node, for longer than clients may be without a master, whose limits are kept in Redis."""
    names = list(scene.environment.redis_nodes)
    with scene.doing(Mode.LIMITED):
        for name in names:
            scene.environment.kill(name)
        pause(_OUTAGE)
        yield
        for name in names:
            scene.environment.start(name)


@contextlib.contextmanager
def replica_restarts(scene: Scene) -> Iterator[None]:
    """Four restarts of a replica that finds an empty disk each time."""
    name = scene.replicas[0]
    for _ in range(4):
        scene.environment.kill(name)
        shutil.rmtree(scene.environment.places.data / name)
        scene.environment.start(name)
        wait_for(lambda: scene.environment.ready(name), f"{name} to be ready")
        pause(3)  # Prometheus sees a restart only if it scraped the life before it
    yield


@contextlib.contextmanager
def replica_hung(scene: Scene) -> Iterator[None]:
    """SIGSTOP of a replica while the master writes more than its backlog holds."""
    name = scene.replicas[0]
    with configured(scene, scene.master, "repl-backlog-size", 1 << 20), scene.doing(Mode.MISSES):
        scene.environment.pause(name)
        yield
        scene.environment.resume(name)


@contextlib.contextmanager
def replica_locked_out(scene: Scene) -> Iterator[None]:
    """A replica whose password for the master is wrong."""
    name = scene.replicas[0]
    right = scene.option(name, "masterauth")
    scene.run(name, "CONFIG", "SET", "masterauth", "wrong")
    scene.run(name, "CLIENT", "KILL", "TYPE", "master")
    yield
    scene.run(name, "CONFIG", "SET", "masterauth", right)


@contextlib.contextmanager
def second_master(scene: Scene) -> Iterator[None]:
    """A replica told to follow nobody; the Sentinels, stopped meanwhile, would put it right at once."""
    name = scene.replicas[0]
    for sentinel in scene.environment.sentinel_nodes:
        scene.environment.pause(sentinel)
    scene.run(name, "REPLICAOF", "NO", "ONE")
    yield
    for sentinel in scene.environment.sentinel_nodes:
        scene.environment.resume(sentinel)


@contextlib.contextmanager
def exporters_stopped(scene: Scene) -> Iterator[None]:
    """Both exporters ended."""
    for name in ("redis-exporter", "sentinel-exporter"):
        scene.environment.stop(name)
    yield
    for name in ("redis-exporter", "sentinel-exporter"):
        scene.environment.start(name)


@contextlib.contextmanager
def target_forgotten(scene: Scene) -> Iterator[None]:
    """A server that Prometheus is not told of any more."""
    scene.rescrape(without="redis-2")
    yield
    scene.rescrape()


@contextlib.contextmanager
def connections_leaked(scene: Scene) -> Iterator[None]:
    """Hundreds of idle connections, up to where the server refuses more."""
    master = scene.master
    before, idle = scene.option(master, "maxclients"), [scene.redis(master) for _ in range(_IDLE_CONNECTIONS)]
    held, *_ = idle  # commands go over a connection that is there: no new one may be had
    try:
        for connection in idle:
            connection.ping()
        yield
        held.config_set("maxclients", _IDLE_CONNECTIONS)
        for _ in range(5):
            with contextlib.suppress(redis.RedisError), contextlib.closing(scene.redis(master)) as refused:
                refused.ping()
        held.config_set("maxclients", before)
    finally:
        for connection in idle:
            connection.close()


@contextlib.contextmanager
def script_blocks(scene: Scene) -> Iterator[None]:
    """A script that keeps Redis busy for a fifth of a second."""
    master = scene.master
    busy = "local t=redis.call('TIME') local e=t[1]*1e6+t[2]+200000 repeat t=redis.call('TIME') until t[1]*1e6+t[2]>e"
    scene.run(master, "EVAL", busy, 0)
    yield
    scene.run(master, "LATENCY", "RESET")
