"""Incidents that a seed draws, one after another, in a Redis Cluster under traffic: no read is stale.

``make test-compat`` runs this on the other servers, too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest

from cacheclient import AsyncCache
from cacheclient.remote.slots import slot_of
from tests.client.redis_cluster import EACH_KIND, RedisCluster
from tests.client.watch import OPTIONS, Watch, listening
from tests.conftest import PATIENCE, Server, until

SEEDS: Final = [(8, 2), *(pytest.param(seed, 10, marks=pytest.mark.slow) for seed in (1, 2))]  # and how many incidents


@pytest.fixture(params=EACH_KIND)
def cluster(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Iterator[RedisCluster]:
    """Return a cluster with replicas, to do harm to."""
    cluster = RedisCluster(launch, request.param)
    yield cluster
    cluster.kill()


async def eventually(condition: Callable[[], bool]) -> None:
    """Ask in a thread until it is so: whoever waits for a server must not stall the caches of this loop."""
    deadline = time.monotonic() + 3 * PATIENCE
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def lose(cluster: RedisCluster, victim: Server, slot: int) -> None:
    """Kill a server; its replica leads, and it comes back behind that one."""
    victim.kill()
    await eventually(lambda: cluster.owner(slot) is not victim)
    await asyncio.to_thread(victim.start)


async def hang(cluster: RedisCluster, victim: Server, slot: int) -> None:
    """Let a server hang until its replica leads: when it goes on it takes itself for the master, for a moment."""
    witness = next(server for server in cluster.leaders if server is not victim)

    def replaced() -> bool:
        views = witness.ask("CLUSTER", "SLOTS")
        return next(leader[1] for first, last, leader, *_ in views if first <= slot <= last) != victim.port

    with victim.frozen():
        await eventually(replaced)


async def move(cluster: RedisCluster, source: Server, slot: int) -> None:
    """Move a slot to another master, key by key."""
    target = next(server for server in cluster.leaders if server is not source)
    steps = cluster.move(slot, source, target)
    while await asyncio.to_thread(lambda: next(steps, None)) is not None:  # noqa: ASYNC110  it makes the next step
        await asyncio.sleep(0.05)


CAUSES: Final = (lose, hang, move)


@pytest.mark.parametrize(("seed", "incidents"), SEEDS)
async def test_whatever_happens_to_a_cluster_no_read_is_stale(
    cluster: RedisCluster, opened: Callable[..., Awaitable[AsyncCache]], namespace: str, seed: int, incidents: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  draws incidents
    readers = [await opened(cluster.url, namespace, options=OPTIONS) for _ in range(2)]
    writer = await opened(cluster.url, namespace, options=OPTIONS)
    await listening(*readers, writer)
    watch = Watch(60)
    done: list[str] = []
    async with watch.traffic(readers, writer, durable=True):
        for _ in range(incidents):
            await eventually(lambda: cluster.whole)
            slot = slot_of(f"{namespace}:v1:{chance.choice(list(watch.version))}")
            cause = chance.choice(CAUSES)
            victim = await asyncio.to_thread(cluster.owner, slot)
            done.append(f"{cause.__name__} {victim.port}")
            await cause(cluster, victim, slot)
            since, reads = time.monotonic(), watch.reads
            await until(lambda since=since: watch.caught_up(since), 3 * PATIENCE)
            await until(lambda reads=reads: watch.reads > reads + 500, PATIENCE)
    print(f"{done}: {watch.reads:,} reads, {watch.writes:,} writes, {watch.refused:,} not acknowledged")  # noqa: T201
    assert watch.stale == []
    assert watch.refused < watch.writes
    await eventually(lambda: cluster.whole)
    await listening(*readers, writer)
    assert await writer.set_many(dict.fromkeys(watch.version, 1))
