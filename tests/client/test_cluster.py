"""A cache over a real Redis Cluster: slots that move, masters that die, nodes that are cut off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cacheclient import MISSING, AsyncCache, CacheOptions, L2Options, SyncOptions
from cacheclient.clock import JointGate
from cacheclient.contract import Channel
from cacheclient.missing import ABSENT
from cacheclient.remote.slots import slot_of
from infra.local import binaries
from infra.local.errors import LocalError
from tests.client.redis_cluster import EACH_KIND, RedisCluster
from tests.client.watch import OPTIONS, STALENESS, Watch, listening
from tests.conftest import PATIENCE, Server, until

IMPATIENT: Final = CacheOptions(l2=L2Options(timeout=1.0, connect_timeout=0.5))
Opened = Callable[..., Awaitable[AsyncCache]]


@pytest.fixture(scope="module", params=EACH_KIND)
def lasting(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Iterator[RedisCluster]:
    """Return a cluster that keeps its masters, though not the slots of each."""
    cluster = RedisCluster(launch, request.param, replicas=False)
    yield cluster
    cluster.kill()


@pytest.fixture(params=EACH_KIND)
def cluster(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Iterator[RedisCluster]:
    """Return a cluster with replicas, to do harm to."""
    cluster = RedisCluster(launch, request.param)
    yield cluster
    cluster.kill()


@pytest.fixture
def encrypted(launch: Callable[..., Server], tmp_path: Path) -> Iterator[RedisCluster]:
    """Return a cluster with replicas whose nodes listen to TLS only, to each other, too."""
    certificates = pytest.importorskip("infra.certificates")
    for name, text in certificates.generate(("127.0.0.1", "localhost")).items():
        (tmp_path / name).write_text(text)
    try:
        binaries.require_tls(binaries.find())
    except LocalError as error:
        pytest.skip(str(error))
    cluster = RedisCluster(launch, tls=tmp_path)
    yield cluster
    cluster.kill()


async def eventually(ask: Callable[[], Awaitable[bool]], *, is_true: bool = True) -> None:
    """Ask until the answer is this."""
    deadline = time.monotonic() + PATIENCE
    while await ask() is not is_true:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def in_l1(cache: AsyncCache, keys: list[str], value: Any) -> None:
    """Read until L1 answers."""

    async def answered() -> bool:
        await cache.get_many(keys)
        return all(cache.peek(key) == value for key in keys)

    await eventually(answered)


def test_the_joint_gate_is_open_while_all_its_parts_are() -> None:
    gate = JointGate()
    first, second = gate.part(), gate.part()
    first.until, second.until = 5.0, 3.0
    assert gate.until == 3.0
    third = gate.part()
    assert gate.until == 0.0  # a master that is not heard yet
    gate.leave(third)
    gate.leave(second)
    assert gate.until == 5.0
    gate.leave(first)
    assert gate.until == 0.0


async def test_one_node_of_a_cluster_is_enough_to_find_it(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(f"redis+cluster://127.0.0.1:{lasting.masters[2].port}", namespace, options=OPTIONS)
    assert await cache.set_many({f"k{n}": n for n in range(60)})
    assert all(server.client.dbsize() for server in lasting.masters)
    assert await cache.get_many([f"k{n}" for n in range(60)]) == {f"k{n}": n for n in range(60)}


async def test_reads_of_one_tick_travel_together_to_each_master(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(lasting.url, namespace, options=OPTIONS)
    assert await cache.set_many({f"k{n}": n for n in range(200)})
    before = [server.ask("INFO", "stats")["total_reads_processed"] for server in lasting.masters]
    await cache.get_many([f"k{n}" for n in range(200)])
    after = [server.ask("INFO", "stats")["total_reads_processed"] for server in lasting.masters]
    assert sum(after) - sum(before) < 100  # system calls; 200 keys that travel alone would take as many


async def test_a_change_on_any_node_reaches_every_process(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    reader, writer = [await opened(lasting.url, namespace, options=OPTIONS) for _ in range(2)]
    await listening(reader)
    keys = [f"k{n}" for n in range(30)]
    await writer.set_many(dict.fromkeys(keys, 1))
    await in_l1(reader, keys, 1)
    assert await writer.set_many(dict.fromkeys(keys, 2))
    await until(lambda: all(reader.peek(key) is ABSENT for key in keys))
    assert await reader.get_many(keys) == dict.fromkeys(keys, 2)


async def test_an_event_is_taken_once_however_many_masters_tell_it(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    reader, writer = [await opened(lasting.url, namespace, options=OPTIONS) for _ in range(2)]
    channel = Channel.INVALIDATE.value
    await until(lambda: all(s.client.pubsub_numsub(channel)[0][1] == 2 for s in lasting.servers))
    await writer.invalidate_pattern("user:*")
    await writer.invalidate_pattern("account:*")
    await until(lambda: reader.stats().invalidations["event/remote"] >= 4)
    assert reader.stats().invalidations["event/remote"] == 4  # each is told before its search and after it


async def test_explain_touch_and_the_doctor_find_their_way(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(lasting.url, namespace, options=OPTIONS)
    keys = [f"k{number}" for number in range(20)]
    for key in keys:
        assert await cache.set(key, 1, tags=["t"])
        assert (await cache.explain(key)).l2.status == "value"
        assert await cache.touch(key, 60)
    assert await cache.drop_version(1) == 20
    report = await cache.doctor()
    masters = [finding for finding in report.findings if finding.check == "rights"]
    assert [finding.level for finding in masters] == ["ok"] * 3, str(report)
    assert report.ok, str(report)


async def test_a_pattern_a_tag_and_clear_reach_every_master(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(lasting.url, namespace, options=OPTIONS)
    keys = [f"{kind}:{n}" for kind in "ab" for n in range(40)]
    await cache.set_many(dict.fromkeys(keys, 1), tags=["all"])
    assert await cache.invalidate_pattern("a:*") == 40
    assert set(await cache.get_many(keys)) == {key for key in keys if key.startswith("b")}
    assert await cache.invalidate_tag("all")
    assert not await cache.get_many(keys)
    await cache.set("b:1", 1)
    assert await cache.clear()
    assert await cache.get("b:1", MISSING) is MISSING


async def test_a_slot_moves_under_traffic_and_nothing_stale_is_read(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    readers = [await opened(lasting.url, namespace, options=OPTIONS) for _ in range(2)]
    writer = await opened(lasting.url, namespace, options=OPTIONS)
    await listening(*readers, writer)
    watch = Watch(40)
    watch.version = {f"{{tag}}k{n}": 0 for n in range(40)}  # all in one slot, the one that moves
    slot = slot_of("tag")
    source = lasting.owner(slot)
    target = next(server for server in lasting.masters if server is not source)
    async with watch.traffic(readers, writer):
        for _ in lasting.move(slot, source, target):
            await asyncio.sleep(0.1)
        await until(lambda: watch.reads > 2000)
    assert lasting.owner(slot) is target
    assert watch.stale == []
    assert watch.refused < watch.writes / 2
    for key in watch.version:
        assert await readers[0].get_or_load(key, watch.load) == watch.version[key]


def searches(cluster: RedisCluster) -> int:
    """Return how often the masters were asked to SCAN, each of them with few keys: so once a search."""
    counted = (master.client.info("commandstats").get("cmdstat_scan", {"calls": 0}) for master in cluster.masters)
    return sum(stats["calls"] for stats in counted)


async def test_a_key_that_has_moved_ahead_of_its_slot_is_found_and_one_that_has_not_too(
    lasting: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(lasting.url, namespace, options=OPTIONS)
    keys = [f"{{ahead}}{n}" for n in range(30)]
    assert await cache.set_many(dict.fromkeys(keys, 1))
    source = lasting.owner(slot_of("ahead"))
    target = next(server for server in lasting.masters if server is not source)
    steps = lasting.move(slot_of("ahead"), source, target)
    assert next(steps) == 10
    for key in keys:  # ten are on the target, which gives them to those who were sent there only
        assert await cache.get(key) == 1
    before = searches(lasting)
    assert await cache.invalidate_pattern("{ahead}*") == 30
    assert searches(lasting) == before + 2 * len(lasting.masters)  # a slot was moving: once more, for tombstones only
    assert not await cache.get_many(keys)
    for _ in steps:
        pass
    assert await cache.set(keys[0], 2)  # its old master says who has it now
    assert await cache.get(keys[0]) == 2
    assert cache.stats().errors["l2/readonly"] == 0


async def test_a_master_dies_and_its_replica_follows_with_nothing_stale(
    cluster: RedisCluster, opened: Opened, namespace: str
) -> None:
    readers = [await opened(cluster.url, namespace, options=OPTIONS) for _ in range(2)]
    writer = await opened(cluster.url, namespace, options=OPTIONS)
    await listening(*readers, writer)
    watch = Watch(60)
    async with watch.traffic(readers, writer, durable=True):
        await until(lambda: watch.reads > 1000)
        cluster.masters[0].kill()
        await until(lambda: readers[0].peek("k1") is ABSENT)  # while one master is away, L1 is silent
        await until(lambda: all(cache.stats().failovers for cache in (*readers, writer)), 30)
        await listening(*readers, writer)
        reads = watch.reads
        await until(lambda: watch.reads > reads + 1000)
    assert watch.stale == []
    assert all(not cache.stats().circuit_open for cache in readers)
    assert await writer.set_many(dict.fromkeys(watch.version, 1))


async def test_over_tls_a_cluster_is_heard_and_a_replica_that_leads_is_followed(
    encrypted: RedisCluster, opened: Opened, namespace: str
) -> None:
    settings = {"options": OPTIONS, "ca_file": encrypted.ca}
    reader, writer = [await opened(encrypted.url, namespace, **settings) for _ in range(2)]
    await listening(reader, writer)
    keys = [f"k{n}" for n in range(30)]
    assert await writer.set_many(dict.fromkeys(keys, 1))
    await in_l1(reader, keys, 1)
    assert await writer.set_many(dict.fromkeys(keys, 2))
    await until(lambda: all(reader.peek(key) is ABSENT for key in keys))
    assert await reader.get_many(keys) == dict.fromkeys(keys, 2)
    slot = slot_of(f"{namespace}:v1:k0")
    old = encrypted.owner(slot)
    old.kill()

    async def stored() -> bool:
        return await writer.set("k0", 3) and await reader.get("k0") == 3

    await eventually(stored)
    assert encrypted.owner(slot) in encrypted.replicas


async def test_a_cluster_whose_authority_is_not_trusted_is_not_used(
    encrypted: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(encrypted.url, namespace, options=IMPATIENT)  # the machine's authorities do not know it
    assert not await cache.set("a", 1)

    async def told() -> bool:  # on a busy machine a handshake may end at its time limit first
        report = await cache.doctor()
        assert not report.ok
        return "certificate" in str(report)

    await eventually(told)


async def test_a_master_that_most_others_do_not_confirm_is_asked_nothing(
    cluster: RedisCluster, opened: Opened, namespace: str
) -> None:
    cache = await opened(cluster.url, namespace, options=OPTIONS)
    await listening(cache)
    mine = next(f"k{n}" for n in range(100) if cluster.owner(slot_of(f"{namespace}:v1:k{n}")) is cluster.masters[0])
    await cache.set(mine, 1)
    await in_l1(cache, [mine], 1)
    with contextlib.ExitStack() as held:
        for server in (*cluster.masters[1:], *cluster.replicas):
            held.enter_context(server.frozen())
        await until(lambda: cache.peek(mine) is ABSENT)

        async def answered() -> bool:
            return await cache.get(mine, MISSING) is not MISSING

        await eventually(answered, is_true=False)  # by itself it would answer for ever
        asked = cluster.masters[0].commands("get")
        assert await cache.get(mine, MISSING) is MISSING
        assert cluster.masters[0].commands("get") == asked, "a master was asked that may be deposed"


async def test_a_cluster_that_is_not_there_yet_is_found_when_it_comes(
    launch: Callable[..., Server], opened: Opened, namespace: str
) -> None:
    node = launch("", "--cluster-enabled", "yes")
    quick = CacheOptions(l2=L2Options(connect_timeout=0.2), sync=SyncOptions(max_staleness=STALENESS))
    cache = await opened(f"redis+cluster://127.0.0.1:{node.port}", namespace, options=quick)
    assert not await cache.set("a", 1)
    node.ask("CLUSTER", "ADDSLOTS", *map(str, range(16384)))

    async def kept() -> bool:  # what could not be set before is invalidated first
        return await cache.set("a", 1) and await cache.get("a") == 1

    await eventually(kept)
    node.kill()
