"""The shared side of a cache, by its URL: nothing, one server, a set that Sentinels watch, or a Redis Cluster.

redis-py, which asks Sentinels and nodes of a cluster, takes longer to import than all the rest of this library and
asyncio together: it is imported when a cache is made that needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from cacheclient.clock import Clock, Gate, ServerClock
from cacheclient.keys import KeySpace
from cacheclient.listener import Listener
from cacheclient.listeners import Listeners
from cacheclient.options import CacheOptions
from cacheclient.patient import Patient, Votes
from cacheclient.remote import (
    FixedTopology,
    Lanes,
    LimitStore,
    Link,
    LocalLimits,
    LocalLocks,
    LocalRecords,
    LockStore,
    Login,
    NoStore,
    Records,
    RedisLimits,
    RedisLocks,
    RedisRecords,
    RedisStore,
    Store,
    Target,
    Topology,
    context,
)  # fmt: skip
from cacheclient.stats import Stats


class Connects(Protocol):
    """Keeps the connections to the master: ``remote.Link``."""

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the master may have lost what was acknowledged before."""

    async def start(self) -> None:
        """Connect, and stay connected."""

    async def close(self) -> None:
        """Close all connections."""


class Listens(Protocol):
    """Hears what changes in L2: ``listener.Listener``."""

    def report_to(self, told: Callable[[list[str] | None], None], heard: Callable[[bytes], None]) -> None:
        """Have ``told`` called with changed Redis keys (None: any may have changed), ``heard`` with each event."""

    async def close(self) -> None:
        """Stop listening."""


class Shared(msgspec.Struct, frozen=True):
    """The shared side: L2, and what keeps L1 coherent with it. Without Redis there is no link and no listener."""

    store: Store
    gate: Gate
    server_clock: ServerClock
    locks: LockStore
    records: Records
    limits: LimitStore
    link: Connects | None = None
    listener: Listens | None = None
    patient: Patient | None = None
    lanes: Callable[[], Lanes] | None = None  # makes the connections on which threads read by themselves


def connect(target: Target, space: KeySpace, options: CacheOptions, stats: Stats, clock: Clock) -> Shared:
    """Return the shared side for ``target``; nothing is opened yet."""
    if target.scheme == "memory":
        return Shared(NoStore(), Gate(), ServerClock(clock), LocalLocks(clock), LocalRecords(clock), LocalLimits(clock))
    login = Login(
        username=target.username, password=target.password, password_file=target.password_file,
        database=target.database, name=f"cachestack:{space.namespace}", ssl=context(target),
        connect_timeout=options.l2.connect_timeout, timeout=options.l2.timeout, max_batch=options.l2.max_batch,
    )  # fmt: skip
    side = _cluster if target.cluster else _one_master
    return side(target, login, (space.prefix, space.tag_prefix), options, stats, clock)


Connect = Callable[[Target, KeySpace, CacheOptions, Stats, Clock], Shared]


def _one_master(
    target: Target, login: Login, prefixes: tuple[str, str], options: CacheOptions, stats: Stats, clock: Clock
) -> Shared:
    topology, votes = _topology(target, options.l2.connect_timeout, options.sync.max_staleness)
    link = Link(topology, login, stats, clock)
    listener = Listener(
        login, prefixes, options.sync.max_staleness, stats=stats, clock=clock, server_clock=link.server_clock,
        tenure=link.tenure,
    )  # fmt: skip
    link.on_open(listener.follow)
    store = RedisStore(link, stats, options.l2.timeout)
    return Shared(
        store, listener.gate, link.server_clock, RedisLocks(store), RedisRecords(store), RedisLimits(store),
        link, listener, Patient(link, login, votes), lambda: Lanes(link, store.count),
    )  # fmt: skip


def _topology(target: Target, timeout: float, term: float) -> tuple[Topology, Votes | None]:
    if not target.sentinel:
        return FixedTopology(target.nodes[0]), None
    from cacheclient.remote.sentinels import SentinelTopology  # noqa: PLC0415  brings redis-py

    topology = SentinelTopology(target, timeout, term)
    return topology, topology.votes


def _cluster(
    target: Target, login: Login, prefixes: tuple[str, str], options: CacheOptions, stats: Stats, clock: Clock
) -> Shared:
    from cacheclient.remote.cluster import Cluster  # noqa: PLC0415  brings redis-py
    from cacheclient.remote.cluster_store import ClusterStore  # noqa: PLC0415
    from cacheclient.remote.survey import Survey  # noqa: PLC0415

    max_staleness = options.sync.max_staleness
    cluster = Cluster(Survey(target, options.l2.connect_timeout, max_staleness, clock), login, stats, clock)
    listeners = Listeners(login, prefixes, max_staleness, stats=stats, clock=clock)
    cluster.on_shard(listeners.add, listeners.remove)
    store = ClusterStore(cluster, stats, options.l2.timeout)
    return Shared(
        store, listeners.gate, cluster.server_clock, RedisLocks(store), RedisRecords(store), RedisLimits(store),
        cluster, listeners, Patient(cluster, login),
    )  # fmt: skip
