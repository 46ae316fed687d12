"""The way to the masters of a Redis Cluster: a link for each, and which key is whose.

A *shard* is the slots that one master serves, followed through failovers: when another node serves most of its slots,
its link goes there, as a link goes to the next master that the Sentinels name. So everything a link promises holds for
each shard by itself: a tenure, an epoch, the journal's replay.

What is promised: a node's answer is taken for the master's while the survey confirms it, as ``survey`` says. So a
deposed master that is cut off from the others is read at most ``term`` seconds after another could be. By itself a node
would do worse: it stops taking writes ``cluster-node-timeout`` after it lost the majority, and never refuses reads
before that.

A node that does not serve a slot says who does (MOVED, ASK). It is believed if that is another master of the last
survey, because then its changes are listened to: to any other the key is not available for the milliseconds that the
next survey takes, so that nothing comes into L1 that nobody would tell a change of.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cacheclient.clock import Clock, JointClock, boottime
from cacheclient.contract import ErrorType
from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address
from cacheclient.remote.link import Connection, Link
from cacheclient.remote.pipe import Answered, Argument, Login, Pipe
from cacheclient.remote.replies import redirection
from cacheclient.remote.slots import SLOTS, Range, served, slot_of, succession
from cacheclient.remote.survey import Survey
from cacheclient.stats import Stats

_log = logging.getLogger("cacheclient")


class ShardTopology:
    """The topology of one shard: its master is what the cluster's survey found last."""

    electors = "masters of the cluster"

    def __init__(self, survey: Survey, master: Address) -> None:
        self._survey = survey
        self.master = master
        self._changed: Callable[[], None] = lambda: None

    @property
    def term(self) -> float:
        """Seconds for which an answer holds."""
        return self._survey.term

    async def find_master(self) -> Address:
        """Return the master that a recent survey found."""
        await self._survey.recent()
        return self.master

    def assign(self, master: Address) -> None:
        """Name another master."""
        self.master = master
        self._changed()

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when another master is assigned."""
        self._changed = changed
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(slots=True, eq=False)
class Shard:
    """The slots of one master, and the link to it."""

    topology: ShardTopology
    link: Link
    slots: frozenset[int] = frozenset()


class Cluster:
    """A link to each master, and which slot is whose."""

    def __init__(self, survey: Survey, login: Login, stats: Stats, clock: Clock = boottime) -> None:
        self._survey = survey
        self.login = login
        self._stats = stats
        self._clock = clock
        self.server_clock = JointClock(clock)
        self.version = 0  # rises whenever slots have changed hands
        self._shards: list[Shard] = []
        self._owners: list[Link | None] = [None] * SLOTS
        self._added: list[Callable[[Link], None]] = []
        self._removed: list[Callable[[Link], None]] = []
        self._renewed: list[Callable[[], None]] = []
        self._surveyed = asyncio.Event()
        self._surveying: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()  # links of those that serve nothing any more

    def on_shard(self, added: Callable[[Link], None], removed: Callable[[Link], None]) -> None:
        """Have ``added`` called with the link of every new shard before it is opened, ``removed`` when it goes."""
        self._added.append(added)
        self._removed.append(removed)

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when any master may have lost what was acknowledged before; see ``Link``."""
        self._renewed.append(callback)

    async def start(self) -> None:
        """Find the masters, and wait for them at most ``connect_timeout`` seconds: Redis may be away."""
        self._surveying = asyncio.create_task(self._survey.run(self._take, self._confirm), name="cacheclient-cluster")
        try:
            async with asyncio.timeout(self.login.connect_timeout):
                await self._surveyed.wait()
                await asyncio.gather(*(shard.link.until_ready() for shard in self._shards))
        except TimeoutError:
            _log.warning(
                "cacheclient: no Redis Cluster yet (%s); serving from loaders until there is one", self._survey.trouble
            )

    async def close(self) -> None:
        """Stop, and close all connections."""
        if self._surveying is not None:
            self._surveying.cancel()
            await asyncio.gather(self._surveying, return_exceptions=True)
        await asyncio.gather(*self._closing, *(shard.link.close() for shard in self._shards))
        await self._survey.close()

    def current(self, key: str | bytes) -> Connection:
        """Return the connection to the master of ``key``; raise UnavailableError at once if there is none."""
        slot = slot_of(key)
        link = self._owners[slot]
        if link is None:
            raise UnavailableError(f"no master of slot {slot} is known at the moment")
        return link.current()

    def everywhere(self) -> list[Connection]:
        """Return the connections to all masters; raise UnavailableError if one is away, or a slot has no master."""
        if not self.version:
            raise UnavailableError(f"no Redis Cluster was found: {self._survey.trouble or 'nobody has answered yet'}")
        if None in self._owners:
            raise UnavailableError("some slots of the cluster have no master at the moment")
        return [shard.link.current() for shard in self._shards]

    def elsewhere(self, error: UnavailableError) -> Connection | None:
        """Return the connection to the node that the answer ``error`` sends the caller to, None if there is none."""
        to = redirection(error)
        if to is None:
            return None
        if not to.asking:
            self._survey.hurry()
        for shard in self._shards:
            found = shard.link.connection
            if found is not None and found.address == to.address:
                try:
                    return _asking(shard.link.current()) if to.asking else shard.link.current()
                except UnavailableError:
                    return None
        return None

    def suspect(self, error: UnavailableError) -> None:
        """Ask the masters again if ``error`` says that slots may have changed hands."""
        if error.kind is ErrorType.READONLY:
            self._survey.hurry()

    def together(self, keys: Sequence[str | bytes]) -> list[Sequence[str | bytes]]:
        """Return each key by itself: a command of several needs them in one slot, and fails while that is moving."""
        return [[key] for key in keys]

    async def unmoved(self, version: int) -> bool:
        """Return whether no slot has changed hands since ``version``, nor is about to."""
        self._survey.hurry()
        await self._survey.recent()
        texts = await asyncio.gather(*(to.reads.call("CLUSTER", "NODES") for to in self.everywhere()))
        own = [line for text in texts for line in text.splitlines() if b"myself" in line]
        return self.version == version and not any(b"[" in line for line in own)  # [slot->-node]: on its way

    @property
    def down(self) -> bool:
        """Whether a shard has no connection."""
        return any(shard.link.down for shard in self._shards)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _take(self, ranges: tuple[Range, ...]) -> None:
        """Follow every shard to its master, open links to new ones, and close those that serve nothing any more."""
        slots, heirs = served(ranges), succession({shard: shard.slots for shard in self._shards}, ranges)
        for shard in [shard for shard in self._shards if shard not in heirs.values()]:
            self._remove(shard)
        for master, theirs in slots.items():
            shard = heirs.get(master) or self._add(master)
            shard.slots = theirs
            if shard.topology.master != master:
                shard.link.tenure.until = 0.0  # of the master before this one
                shard.topology.assign(master)
        self._owners = [None] * SLOTS
        for first, last, master in ranges:
            link = next(shard.link for shard in self._shards if shard.topology.master == master)
            self._owners[first : last + 1] = [link] * (last + 1 - first)
        self._stats.circuit_open = self._stats.circuit_open and self.down
        self.version += 1
        self._surveyed.set()

    def _confirm(self, until: float) -> None:
        """Prolong every tenure: the links ask for that too, but less often and by less."""
        for shard in self._shards:
            connection, tenure = shard.link.connection, shard.link.tenure
            if connection is not None and connection.address == shard.topology.master:
                tenure.until = max(tenure.until, until)

    def _add(self, master: Address) -> Shard:
        topology = ShardTopology(self._survey, master)
        shard = Shard(topology, Link(topology, self.login, self._stats, self._clock, self.server_clock.part()))
        self._shards.append(shard)
        for callback in self._renewed:
            shard.link.on_renewal(callback)
        shard.link.on_open(lambda _: self._note_open(shard))
        for added in self._added:
            added(shard.link)
        shard.link.run()
        return shard

    def _remove(self, shard: Shard) -> None:
        self._shards.remove(shard)
        for removed in self._removed:
            removed(shard.link)
        self.server_clock.settle(shard.link.server_clock, None)
        closing = asyncio.create_task(shard.link.close(), name="cacheclient-link-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _note_open(self, opened: Shard) -> None:
        self._stats.circuit_open = any(shard.link.down for shard in self._shards if shard is not opened)


class _AskingPipe:
    """Sends each command with leave to ask for a slot that is on its way to this node (ASKING)."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def call(self, *command: Argument) -> asyncio.Future[Any]:
        """Send a command; ASKING, which holds for the next one, goes before it."""
        self._pipe.send(("ASKING",), _forget)
        return self._pipe.call(*command)

    def send(self, command: tuple[Argument, ...], answered: Answered) -> None:
        """Send a command, likewise."""
        self._pipe.send(("ASKING",), _forget)
        self._pipe.send(command, answered)


def _forget(_: Any) -> None:
    """Whether ASKING was taken, the command after it tells."""


def _asking(to: Connection) -> Connection:
    return dataclasses.replace(to, reads=_AskingPipe(to.reads), writes=_AskingPipe(to.writes))  # type: ignore[arg-type]
