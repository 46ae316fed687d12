"""The failures of the drill: how each is caused and ended, and which alerts must see it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import redis

from tests.alert_drill.client import Mode
from tests.alert_drill.scene import DOWN_AFTER, Scene, pause, wait_for

_OUTAGE: Final = 62.0  # seconds: one more than clients may be without a master
_IDLE_CONNECTIONS: Final = 320
_TMPFS: Final = "48m"
_ROOM: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Cause:
    """One failure. It lasts as long as the context of ``make`` is open; ``why_not`` says what it lacks here.

    ``after`` are alerts that only speak once it is over, because the failure hides what they look at.
    """

    name: str
    alerts: tuple[str, ...]
    make: Callable[[Scene], AbstractContextManager[None]]
    after: tuple[str, ...] = ()
    why_not: Callable[[], str] = lambda: ""


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
    wait_for(lambda: _leads_other_than(scene, name), "a new master")
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
        wait_for(partial(_leads_other_than, scene, old), "a new master")
        scene.await_whole()
    yield


@contextlib.contextmanager
def replicas_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of all replicas: the master refuses writes."""
    names = scene.replicas
    scene.order(Mode.MISSES)
    for name in names:
        scene.environment.kill(name)
    yield
    for name in names:
        scene.environment.start(name)
    scene.order(Mode.HITS)


@contextlib.contextmanager
def all_redis_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of every Redis node, for longer than clients may be without a master."""
    names = list(scene.environment.redis_nodes)
    for name in names:
        scene.environment.kill(name)
    pause(_OUTAGE)
    yield
    for name in names:
        scene.environment.start(name)


@contextlib.contextmanager
def sentinel_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of one Sentinel."""
    scene.environment.kill("sentinel-2")
    yield
    scene.environment.start("sentinel-2")


@contextlib.contextmanager
def sentinels_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL of two Sentinels."""
    for name in ("sentinel-1", "sentinel-2"):
        scene.environment.kill(name)
    yield
    for name in ("sentinel-1", "sentinel-2"):
        scene.environment.start(name)


@contextlib.contextmanager
def sentinel_hung(scene: Scene) -> Iterator[None]:
    """A Sentinel stopped for five seconds: its own clock tells it to hold back for half a minute afterwards."""
    scene.environment.pause("sentinel-1")
    pause(5)
    scene.environment.resume("sentinel-1")
    yield


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
    master, name = scene.master, scene.replicas[0]
    before = scene.option(master, "repl-backlog-size")
    scene.run(master, "CONFIG", "SET", "repl-backlog-size", 1 << 20)
    scene.environment.pause(name)
    scene.order(Mode.MISSES)
    yield
    scene.order(Mode.HITS)
    scene.environment.resume(name)
    scene.run(scene.master, "CONFIG", "SET", "repl-backlog-size", before)
    scene.run(master, "CONFIG", "SET", "repl-backlog-size", before)


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
def memory_unbounded(scene: Scene) -> Iterator[None]:
    """CONFIG SET maxmemory 0 on one server."""
    with _configured(scene, scene.replicas[0], "maxmemory", 0):
        yield


@contextlib.contextmanager
def memory_full(scene: Scene) -> Iterator[None]:
    """A master with little more memory allowed than it uses, under writes."""
    master = scene.master
    used = int(scene.run(master, "INFO", "memory")["used_memory"])
    # Room for entries that can be evicted, and for the backlog, which grows with every write and cannot.
    with (
        _configured(scene, master, "repl-backlog-size", 1 << 20),
        _configured(scene, master, "maxmemory", used + _ROOM),
    ):
        scene.order(Mode.MISSES)
        yield
        scene.order(Mode.HITS)


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
def disk_full(scene: Scene) -> Iterator[None]:
    """A master on a small file system without a free byte."""
    name = scene.master
    place = scene.environment.places.data / name
    scene.environment.stop(name)
    shutil.rmtree(place)
    place.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={_TMPFS}", "tmpfs", str(place)], check=True)
    try:
        scene.environment.start(name)
        _make_lead(scene, name)
        ballast = place / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        scene.order(Mode.MISSES)
        # First, because a failed snapshot makes Redis refuse the writes that the AOF would have to take.
        wait_for(lambda: scene.run(name, "INFO", "persistence")["aof_last_write_status"] == "err", "the AOF to fail")
        with contextlib.suppress(redis.RedisError):
            scene.run(name, "BGSAVE")
        pause(2)
        with contextlib.suppress(redis.RedisError):
            scene.run(name, "BGREWRITEAOF")
        yield
        scene.order(Mode.HITS)
        ballast.unlink()
        for command in ("BGSAVE", "BGREWRITEAOF"):
            wait_for(partial(_accepted, scene, name, command), command)
    finally:
        scene.environment.stop(name)
        wait_for(lambda: _unmounted(place), f"{place} to be free: a child of Redis may outlive it for a moment")
        scene.environment.start(name)


@contextlib.contextmanager
def saves_forgotten(scene: Scene) -> Iterator[None]:
    """A server that no longer takes snapshots, under writes."""
    master = scene.master
    with _configured(scene, master, "save", ""):
        scene.order(Mode.MISSES)
        yield
        scene.order(Mode.HITS)
    scene.run(master, "BGSAVE")


@contextlib.contextmanager
def script_blocks(scene: Scene) -> Iterator[None]:
    """A script that keeps Redis busy for a fifth of a second."""
    master = scene.master
    busy = "local t=redis.call('TIME') local e=t[1]*1e6+t[2]+200000 repeat t=redis.call('TIME') until t[1]*1e6+t[2]>e"
    scene.run(master, "EVAL", busy, 0)
    yield
    scene.run(master, "LATENCY", "RESET")


@contextlib.contextmanager
def clients_hung(scene: Scene) -> Iterator[None]:
    """SIGSTOP of every process that uses the cache."""
    scene.signal_clients(signal.SIGSTOP)
    yield
    scene.signal_clients(signal.SIGCONT)


@contextlib.contextmanager
def two_versions(scene: Scene) -> Iterator[None]:
    """A second process with another schema version."""
    scene.start_client("shop-2", version=2)
    yield
    scene.stop_client("shop-2")


def traffic(mode: Mode) -> Callable[[Scene], AbstractContextManager[None]]:
    """Return a cause that has the application read otherwise."""

    @contextlib.contextmanager
    def make(scene: Scene) -> Iterator[None]:
        scene.order(mode)
        yield
        scene.order(Mode.HITS)

    return make


@contextlib.contextmanager
def _configured(scene: Scene, name: str, option: str, value: str | int) -> Iterator[None]:
    before = scene.option(name, option)
    scene.run(name, "CONFIG", "SET", option, value)
    try:
        yield
    finally:
        scene.run(name, "CONFIG", "SET", option, before)


def _leads_other_than(scene: Scene, old: str) -> bool:
    try:
        return scene.master != old
    except Exception:  # noqa: BLE001  no majority yet
        return False


def _make_lead(scene: Scene, name: str) -> None:
    """Hand over until ``name`` is master: Sentinel chooses, but the others have priority 0 meanwhile."""
    scene.await_whole()
    others = [other for other in scene.environment.redis_nodes if other != name]
    for other in others:
        scene.run(other, "CONFIG", "SET", "replica-priority", 0)
    try:
        wait_for(partial(_leads, scene, name), f"{name} to lead")
    finally:
        for other in others:
            scene.run(other, "CONFIG", "SET", "replica-priority", 100)


def _leads(scene: Scene, name: str) -> bool:
    """Say whether ``name`` is master; ask for a failover if not."""
    if not _leads_other_than(scene, "") or scene.master == name:
        return _leads_other_than(scene, "")
    scene.environment.ask("sentinel-0", "SENTINEL", "FAILOVER", scene.environment.set_name)
    return False


def _unmounted(place: Path) -> bool:
    return subprocess.run(["/bin/umount", str(place)], check=False, capture_output=True).returncode == 0


def _accepted(scene: Scene, name: str, command: str) -> bool:
    try:
        scene.run(name, command)
    except redis.RedisError:
        return False
    return True


def _needs_root() -> str:
    return "" if os.geteuid() == 0 else "a small file system can be mounted by root only"


CAUSES: Final = (
    Cause("misses", ("CacheHitRateLow", "CacheHitRateBelowTarget", "CacheL1HitRateBelowTarget",
                     "CacheL2HitRateBelowTarget"), traffic(Mode.MISSES)),
    Cause("slow loader", ("CacheLookupP95High",), traffic(Mode.SLOW)),
    Cause("failing loader", ("CacheLoaderFailing", "CacheErrorsHigh"), traffic(Mode.FAILING)),
    Cause("lock kept", ("CacheLockTimeouts",), traffic(Mode.LOCKING)),
    Cause("two versions", ("CacheVersionSkew",), two_versions),
    Cause("clients hung", ("CacheTargetDown", "CacheMetricsAbsent"), clients_hung),
    Cause("replica killed", ("RedisDown", "RedisReplicasMissing"), replica_killed),
    Cause("replicas killed", ("RedisNoReplicas", "RedisWriteRefused", "RedisWritesFailing"), replicas_killed),
    Cause("replica hung", ("RedisReplicationLagHigh", "RedisBacklogNearlyExhausted"), replica_hung),
    Cause("replica locked out", ("RedisReplicaLinkDown",), replica_locked_out),
    Cause("replica restarts", ("RedisRestarted", "RedisCrashLooping", "RedisFullResyncStorm"), replica_restarts),
    Cause("second master", ("RedisTooManyMasters",), second_master),
    Cause("master killed", ("RedisFailover",), master_killed),
    Cause("failovers in a row", ("RedisFailoverFlapping",), handed_over_again_and_again),
    Cause("all Redis killed", ("RedisMasterMissing", "RedisFailoverStuck", "CacheL2Unreachable",
                               "CacheListenerDisconnected", "CacheRateLimitBlind"), all_redis_killed,
          after=("CacheOutageTooLong",)),
    Cause("sentinel killed", ("RedisSentinelDown", "RedisSentinelQuorumAtRisk"), sentinel_killed),
    Cause("sentinels killed", ("RedisSentinelQuorumLost",), sentinels_killed),
    Cause("sentinel hung", ("RedisSentinelTilt",), sentinel_hung),
    Cause("exporters stopped", ("RedisMetricsAbsent", "RedisSentinelMetricsAbsent"), exporters_stopped),
    Cause("target forgotten", ("RedisTargetsMissing",), target_forgotten),
    Cause("memory unbounded", ("RedisMaxmemoryUnset",), memory_unbounded),
    Cause("memory full", ("RedisMemoryHigh", "RedisEvictingTooFast"), memory_full),
    Cause("connections leaked", ("RedisConnectionsHigh", "RedisConnectionsNearLimit"), connections_leaked,
          after=("RedisRejectedConnections",)),
    Cause("disk full", ("RedisAofWriteFailing", "RedisRdbSaveFailing", "RedisAofRewriteFailing"), disk_full,
          why_not=_needs_root),
    Cause("saves forgotten", ("RedisRdbStale",), saves_forgotten),
    Cause("script blocks", ("RedisSlowEvent",), script_blocks),
)  # fmt: skip
assert DOWN_AFTER < _OUTAGE
