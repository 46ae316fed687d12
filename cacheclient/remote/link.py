"""The way to the current master, kept open by one background task.

Two pipes go to the master: reads, and everything else. A planned handover pauses writes for a second or two
(``CLIENT PAUSE WRITE``); on one pipe the reads behind a paused write would wait with it.

While there is no master, calls fail at once and the task looks for one, about ten times a second. Every newly opened
link has a new ``epoch``: what was learnt over an older one (values in L1, proofs of freshness) must be proved anew.

A master may be deposed without its clients noticing: it hung, or a partition lies between it and the rest of the set.
So the link has a ``tenure``, which ends unless the topology names the same master again; past it nothing is asked of
L2, and L1 (see ``listener``) does not answer either.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cacheclient.clock import Clock, Gate, ServerClock, boottime, parse_time
from cacheclient.contract import ErrorType
from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address
from cacheclient.remote.pipe import Login, Pipe
from cacheclient.remote.replicas import Replicas
from cacheclient.remote.topology import Topology
from cacheclient.stats import Stats

_RETRY: Final = (0.05, 0.15)  # seconds between attempts to find a master, drawn at random so that pods do not march
_CONFIRMATIONS: Final = 4  # questions to the topology in each term, so that some may go unanswered
_REASONS: Final = 10  # different reasons told in one outage at most
_log = logging.getLogger("cacheclient")


@dataclass(frozen=True, slots=True)
class Connection:
    """An open link: where to, its two pipes, a number that rises with every link opened, and the replication id.

    ``replicas`` are asked over ``writes``.
    """

    address: Address
    epoch: int
    reads: Pipe
    writes: Pipe
    history: str = ""
    replicas: Replicas = field(default_factory=Replicas, repr=False, compare=False)

    @property
    def lost(self) -> bool:
        """Whether one of its pipes has ended, so that the link gives it up."""
        return self.reads.closed.done() or self.writes.closed.done()

    def close(self) -> None:
        """Close both pipes."""
        self.reads.close()
        self.writes.close()


class Link:
    """Finds the master, connects, and does so again whenever the connection or the role is lost."""

    def __init__(
        self,
        topology: Topology,
        login: Login,
        stats: Stats,
        clock: Clock = boottime,
        server_clock: ServerClock | None = None,
    ) -> None:
        self._topology = topology
        self.login = login
        self.version = 0  # of where the keys are: see ``scan``
        self._stats = stats
        self._clock = clock
        self.server_clock = server_clock or ServerClock(clock)
        self.connection: Connection | None = None
        self.tenure = Gate(0.0)
        self._opened: list[Callable[[Connection], None]] = []
        self._renewed: list[Callable[[], None]] = []
        self._dropped: list[Callable[[], None]] = []
        self._history = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._reconsider = asyncio.Event()
        self._ready = asyncio.Event()
        self._down_since: float | None = None
        self._reason = ""  # why the last attempt failed, behind a colon
        self._told: set[str] = set()  # why there was no master, in this outage
        self._last_address: Address | None = None
        self._epoch = 0

    def on_open(self, callback: Callable[[Connection], None]) -> None:
        """Have ``callback`` called with every newly opened connection, before any caller can use it."""
        self._opened.append(callback)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the open connection has been given up."""
        self._dropped.append(callback)

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, likewise, when the master may have lost what was acknowledged before.

        Every restart and every promotion draws a new replication id. While the id is the same nothing can be lost, and
        nothing need be sent again: a broken connection must not take from the fleet what it has set lately.
        """
        self._renewed.append(callback)

    def run(self) -> None:
        """Start looking for the master."""
        self._tasks = [
            asyncio.create_task(self._run(), name="cacheclient-link"),
            asyncio.create_task(self._topology.watch(self._reconsider.set), name="cacheclient-watch"),
        ]

    async def until_ready(self) -> None:
        """Wait until there has been a connection."""
        await self._ready.wait()

    async def start(self) -> None:
        """Start looking for the master, and wait for it at most ``connect_timeout`` seconds: Redis may be away."""
        self.run()
        try:
            async with asyncio.timeout(self.login.connect_timeout):
                await self.until_ready()
        except TimeoutError:
            _log.warning("cacheclient: no Redis master yet; serving from loaders until there is one")

    async def close(self) -> None:
        """Stop, and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._drop()
        await self._topology.close()

    def current(self, key: str | bytes = "") -> Connection:  # noqa: ARG002  one master has every key
        """Return the open connection; raise UnavailableError at once if there is none, or its tenure is over."""
        if self.connection is None:
            raise UnavailableError(f"no Redis master is known at the moment{self._reason}")
        if self._clock() >= self.tenure.until:
            raise UnavailableError(
                f"most {self._topology.electors} did not confirm lately that {self.connection.address} is master"
            )
        return self.connection

    def everywhere(self) -> list[Connection]:
        """Return the connections that together reach every key; raise UnavailableError as ``current`` does."""
        return [self.current()]

    def elsewhere(self, error: UnavailableError) -> Connection | None:  # noqa: ARG002
        """Return where the server sends the caller that answered with ``error``: nowhere, there is one master."""
        return None

    def together(self, keys: Sequence[str | bytes]) -> list[Sequence[str | bytes]]:
        """Return ``keys`` in parts that may travel in one command each."""
        return [keys]

    async def unmoved(self, version: int) -> bool:  # noqa: ARG002
        """Return whether no key has changed its master since ``version``: there is one."""
        return True

    @property
    def down(self) -> bool:
        """Whether there is no connection."""
        return self.connection is None

    def suspect(self, error: UnavailableError) -> None:
        """Look for the master again if ``error`` says that this one is not it, or not any more."""
        if error.kind is ErrorType.READONLY:
            self._reconsider.set()

    async def _run(self) -> None:
        while True:
            self._reconsider.clear()
            try:
                connection = await self._open()
            except UnavailableError as error:
                self._stats.connection_errors += 1
                self._note_down(error)
                await asyncio.sleep(random.uniform(*_RETRY))  # noqa: S311  spreads load, guards nothing
                continue
            self._note_up(connection)
            await self._until_lost(connection)
            self._drop()

    async def _find_master(self) -> tuple[Address, float]:
        """Return the master's address, and until when it may be taken for the master."""
        asked = self._clock()
        return await self._topology.find_master(), asked + self._topology.term

    async def _open(self) -> Connection:
        address, until = await self._find_master()
        reads = await Pipe.open(address, self.login)
        try:
            writes = await Pipe.open(address, self.login)
        except BaseException:
            reads.close()
            raise
        connection = Connection(address, self._epoch + 1, reads, writes)
        try:
            examined = await self._examine(connection)
        except BaseException:
            connection.close()
            raise
        self.tenure.until = until
        return examined

    async def _examine(self, connection: Connection) -> Connection:
        """Check that the server is a master, and read its replication id and its clock."""
        try:
            role = await connection.reads.call("ROLE")
            if role[0] != b"master":
                raise UnavailableError(f"{connection.address} is {role[0].decode()}, not master", ErrorType.READONLY)
            asked = self._clock()
            self.server_clock.observe(parse_time(await connection.reads.call("TIME")), asked)
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # a proxy, perhaps, that is mended later
            raise UnavailableError(f"{connection.address} does not answer ROLE and TIME as Redis does") from error
        said = info_fields(await connection.reads.call("INFO", "replication"))
        return dataclasses.replace(connection, history=said.get("master_replid", ""))

    async def _until_lost(self, connection: Connection) -> None:
        changed = [
            asyncio.ensure_future(self._reconsider.wait()),
            asyncio.ensure_future(self._until_deposed(connection)),
        ]
        ends: list[asyncio.Future[Any]] = [*changed, connection.reads.closed, connection.writes.closed]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in changed:
                task.cancel()

    async def _until_deposed(self, connection: Connection) -> None:
        """Prolong the tenure for as long as the topology names this master; return when it names another."""
        named = connection.address
        while named == connection.address:
            await asyncio.sleep(self._topology.term / _CONFIRMATIONS)
            with contextlib.suppress(UnavailableError):
                named, until = await self._find_master()
                if named == connection.address:
                    self.tenure.until = max(self.tenure.until, until)

    def _note_up(self, connection: Connection) -> None:
        self._epoch = connection.epoch
        moved = self._last_address is not None and self._last_address != connection.address
        if moved:
            self._stats.failovers += 1
        if self._down_since is not None:
            away = self._clock() - self._down_since
            self._stats.outage.observe(away)
            _log.warning("cacheclient: Redis master is %s, after %.2f s without one", connection.address, away)
        elif moved:
            _log.warning("cacheclient: Redis master is now %s", connection.address)
        self._down_since = None
        self._told.clear()
        self._last_address = connection.address
        self._stats.circuit_open = False
        for callback in self._opened:
            callback(connection)
        if connection.history != self._history:
            self._history = connection.history
            for repeat in self._renewed:
                repeat()
        self.connection = connection
        self._ready.set()

    def _note_down(self, error: UnavailableError) -> None:
        if self._down_since is None:
            self._down_since = self._clock()
            self._stats.circuit_open = True
        reason = str(error)
        self._reason = f": {reason}"
        if reason not in self._told and len(self._told) < _REASONS:
            self._told.add(reason)  # each once: what was the matter first may not be what is the matter
            _log.warning("cacheclient: no Redis master: %s", reason)

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
            for callback in self._dropped:
                callback()


def info_fields(reply: object) -> dict[str, str]:
    """Return the fields in the reply to INFO; none if it is something else, as a proxy may answer."""
    if not isinstance(reply, bytes):
        return {}
    return dict(line.split(":", 1) for line in reply.decode("utf-8", "replace").splitlines() if ":" in line)
