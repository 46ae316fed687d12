"""The promises of docs/ha.md, each as a failure that is caused and a time that is measured.

A scenario gets a whole set, causes one failure and returns what a client saw: seconds, and a text that is empty unless
something was broken that no time can tell (a lost write, a wrong master).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local import process
from infra.local.programs import redis_settings
from tests.drill.traffic import Writer, await_ready, log_of, new_master, refused, store_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.local.control import Environment

LAG: Final = float(redis_settings().min_replicas_max_lag)
# Redis counts the lag in whole seconds and looks at it once a second: that is one second more than it seems.
COUNTING: Final = 2.0
SLACK: Final = 15.0  # beyond down-after: the election, the promotion, and the clients that follow
Seen = tuple[float, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """``limit`` gets down-after and returns the seconds that are promised; ``stage`` is the set it needs."""

    name: str
    text: str
    limit: Callable[[float], float]
    cause: Callable[[Any], Seen]
    stage: str = "plain"


def _lost(writer: Writer, environment: Environment) -> str:
    """Say how many acknowledged writes are gone."""
    lost = writer.lost(environment)
    return f"{lost} acknowledged writes lost" if lost else ""


def handover(environment: Environment) -> Seen:
    """Stop the master as a rollout or a drain does."""
    old = environment.master()
    with Writer(environment, "handover") as writer:
        said = environment.stop(old)
        writer.wait_for_more()
    return writer.longest_gap(), _lost(writer, environment) or ("" if "handed over to" in said else said.strip())


def crash(environment: Environment) -> Seen:
    """Kill the master's process; it is started again at once, as the kubelet does."""
    old = environment.master()
    with Writer(environment, "crash") as writer:
        environment.kill(old)
        environment.start(old)
        new_master(environment, old, 20)
        writer.wait_for_more()
    return writer.longest_gap(), ""


def node_lost(environment: Environment) -> Seen:
    """Kill the master, and nobody starts it again."""
    old = environment.master()
    with Writer(environment, "lost") as writer:
        environment.kill(old)
        new_master(environment, old, environment.down_after + 60)
        writer.wait_for_more()
    return writer.longest_gap(), ""


def hung(environment: Environment) -> Seen:
    """Stop the master with SIGSTOP: its connections stay open. When it goes on, it is a replica."""
    old = environment.master()
    with Writer(environment, "hung") as writer:
        environment.pause(old)
        new_master(environment, old, environment.down_after + 60)
        writer.wait_for_more()
        environment.resume(old)
        _until(lambda: environment.ask(old, "ROLE").startswith("slave"), 60)
        writer.wait_for_more()
    return writer.longest_gap(), ""


def sentinel_lost(environment: Environment) -> Seen:
    """Kill a Sentinel and the master: the two that are left are a majority."""
    environment.kill("sentinel-0")
    return node_lost(environment)


def two_sentinels_lost(environment: Environment) -> Seen:
    """Kill two Sentinels: writes go on. The master is lost too: nobody replaces it until a Sentinel is back."""
    old = environment.master()
    with _direct(environment, old) as direct:
        for name in ("sentinel-0", "sentinel-1"):
            environment.kill(name)
        gap, last, end = 0.0, time.monotonic(), time.monotonic() + environment.down_after + 2
        while time.monotonic() < end:
            direct.set("two-sentinels", "x")
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
    environment.kill(old)
    others = [name for name in environment.redis_nodes if name != old]
    time.sleep(environment.down_after + 2)  # what must not happen is waited for
    promoted = [name for name in others if environment.ask(name, "ROLE").startswith("master")]
    environment.start("sentinel-0")
    new_master(environment, old, environment.down_after + 60)
    return gap, f"{promoted} was promoted by one Sentinel" if promoted else ""


def two_replicas_lost(environment: Environment) -> Seen:
    """Kill both replicas: the master refuses writes. When one is back it takes them again."""
    master = environment.master()
    replicas = [name for name in environment.redis_nodes if name != master]
    with _direct(environment, master) as direct:
        for name in replicas:
            environment.kill(name)
        seen = _until(lambda: refused(direct, "NOREPLICAS"), LAG + 10)
        environment.start(replicas[0])
        _until(lambda: bool(_try(lambda: direct.set("again", "x"))), 60)
    return seen, ""


def partition(staged: tuple[Environment, Any]) -> Seen:
    """Cut the master and a Sentinel off from the rest: the small side stops writing, the large one has a new master."""
    environment, net = staged
    old = environment.master()
    side = (old, "sentinel-0")
    with _direct(environment, old) as direct:
        net.cut(*side)
        seen = _until(lambda: refused(direct, "NOREPLICAS"), LAG + 10)
        new_master(environment, old, environment.down_after + 60)
        still = refused(direct, "NOREPLICAS")
    net.join(*side)
    _until(lambda: environment.ask(old, "ROLE").startswith("slave"), 60)
    return seen, "" if still else "it took writes again while it was cut off"


def empty_disk(environment: Environment) -> Seen:
    """Kill the master and empty its disk; it is started again at once."""
    count = store_keys(environment, "empty")
    old = environment.master()
    with Writer(environment, "emptied") as writer:
        environment.kill(old)
        shutil.rmtree(environment.places.data / old)
        environment.start(old)
        new_master(environment, old, 60)
        writer.wait_for_more()
    await_ready(environment, old)
    kept = count()
    return writer.longest_gap(), "" if kept == 200 else f"{200 - kept} of 200 keys lost"


def torn_tail(environment: Environment) -> Seen:
    """Kill a replica and tear the last command off its AOF, as a power loss does."""
    count = store_keys(environment, "torn")
    replica = next(name for name in environment.redis_nodes if name != environment.master())
    environment.kill(replica)
    folder = environment.places.data / replica / "appendonlydir"
    last = max(folder.glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[2]))
    with last.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nto")
    began = time.monotonic()
    environment.start(replica)
    await_ready(environment, replica)
    seen = time.monotonic() - began
    kept = list((environment.places.data / replica).glob("*.tail-*"))
    return seen, "" if kept and count() == 200 and "AOF repaired" in log_of(environment, replica) else "not repaired"


def disk_full(environment: Environment) -> Seen:
    """Fill the master's disk: it refuses writes and serves reads; with room again it takes writes."""
    count = store_keys(environment, "full")
    if environment.master() != "redis-0":
        return 0.0, "redis-0, whose disk is small, is not the master"
    filler = environment.places.data / "redis-0" / "filler"
    with _direct(environment, "redis-0") as direct:
        with filler.open("wb") as file:
            _fill(file)
        _until(lambda: _try(lambda: direct.set("filling", "x" * 100_000)) is None, 30)
        kept = count()
        filler.unlink()
        seen = _until(lambda: bool(_try(lambda: direct.set("room", "x"))), 60)
    return seen, "" if kept == 200 and not environment.dead() else "keys or the process were lost"


def all_restarted(environment: Environment) -> Seen:
    """Kill all Redis nodes at once, and start them again."""
    count = store_keys(environment, "all")
    began = time.monotonic()
    for name in environment.redis_nodes:
        environment.kill(name)
    for name in environment.redis_nodes:
        environment.start(name)
    await_ready(environment, *environment.redis_nodes)
    seen, kept = time.monotonic() - began, count()
    return seen, "" if kept == 200 else f"{200 - kept} of 200 keys lost"


def sentinel_state_lost(environment: Environment) -> Seen:
    """Kill every Sentinel in turn and empty its disk: each comes back as itself, and nobody is counted twice."""
    began = time.monotonic()
    for name in environment.sentinel_nodes:
        environment.kill(name)
        shutil.rmtree(environment.places.data / name)
        environment.start(name)
        await_ready(environment, name)
    quorum = ("SENTINEL", "CKQUORUM", environment.set_name)
    _until(lambda: environment.ask("sentinel-0", *quorum).startswith("OK 3 "), 60)
    return time.monotonic() - began, ""


def _fill(file: Any) -> None:
    try:
        while True:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError:
        return


@contextmanager
def _direct(environment: Environment, name: str) -> Iterator[redis.Redis]:
    """A connection to this node, whatever becomes of its role."""
    address, port = environment.redis_nodes[name]
    password = environment.password_file.read_text()
    with redis.Redis(
        host=address, port=port, username="app", password=password, socket_timeout=2, retry=Retry(NoBackoff(), 0)
    ) as direct:
        yield direct


def _try(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except redis.RedisError:
        return None


def _until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for the condition and return how long that took."""
    began = time.monotonic()
    assert process.wait_until(condition, seconds, poll=0.02), f"still not so after {seconds:g} s"
    return time.monotonic() - began


PROMISES: Final = (
    Promise(name="handover", text="planned stop: no writes for; 0 lost", limit=lambda _: 5.0, cause=handover),
    Promise(name="crash", text="master crashes, restarts: no writes for", limit=lambda _: 10.0, cause=crash),
    Promise(name="node-lost", text="master is gone: no writes for", limit=lambda d: d + SLACK, cause=node_lost),
    Promise(name="hung", text="master hangs: no writes for", limit=lambda d: d + SLACK, cause=hung),
    Promise(
        name="partition", text="the cut-off master refuses writes after", limit=lambda _: LAG + COUNTING,
        cause=partition, stage="partitioned",
    ),
    Promise(
        name="sentinel-lost", text="with a Sentinel gone, too: no writes for", limit=lambda d: d + SLACK,
        cause=sentinel_lost,
    ),
    Promise(
        name="two-sentinels-lost", text="writes go on, no failover; longest pause", limit=lambda _: 1.0,
        cause=two_sentinels_lost,
    ),
    Promise(
        name="two-replicas-lost", text="writes are refused after", limit=lambda _: LAG + COUNTING,
        cause=two_replicas_lost,
    ),
    Promise(
        name="empty-disk", text="master back empty: no key lost; no writes for", limit=lambda _: 30.0,
        cause=empty_disk,
    ),
    Promise(name="torn-tail", text="torn AOF: repaired after a copy; ready in", limit=lambda _: 30.0, cause=torn_tail),
    Promise(
        name="disk-full", text="full disk: reads go on; writes, once there is room, in", limit=lambda _: 10.0,
        cause=disk_full, stage="small_disk",
    ),
    Promise(
        name="all-restarted", text="all Redis nodes at once: all keys, ready in", limit=lambda _: 60.0,
        cause=all_restarted,
    ),
    Promise(
        name="sentinel-state-lost", text="each Sentinel's disk in turn: as before in", limit=lambda _: 60.0,
        cause=sentinel_state_lost,
    ),
)  # fmt: skip
