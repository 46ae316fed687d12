"""Coherence of L1 over a Redis Cluster: a listener for each master, and one gate.

A node tells of changes to its own keys only, so L1 answers while *every* master that serves slots proves itself alive:
one bound for all keys, at the cost that L1 is silent for all while one master is away. A gate by slot would have each
hit compute a hash.

A key that moves to another node is deleted on the first and written on the second: both tell, and the listener of the
second was there before anything of it could come into L1 (see ``remote.cluster``).

Events go to all nodes of a cluster, wherever they are published, so each is heard as often as there are masters. One
listener passes them on: the first that is alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cacheclient.clock import Clock, JointGate
from cacheclient.listener import Listener
from cacheclient.remote import Link, Login
from cacheclient.stats import Stats

Told = Callable[[list[str] | None], None]


class Listeners:
    """The listeners to the masters of a cluster.

    Attributes:
        gate: open while all of theirs are.
    """

    def __init__(
        self, login: Login, prefixes: tuple[str, ...], max_staleness: float, *, stats: Stats, clock: Clock
    ) -> None:
        """Prepare to listen to changes of keys below ``prefixes``; ``report_to`` says who is told."""
        self._login = login
        self._prefixes = prefixes
        self._max_staleness = max_staleness
        self._stats = stats
        self._clock = clock
        self._told: Told
        self._heard: Callable[[bytes], None]
        self._listeners: dict[Link, Listener] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.gate = JointGate()

    def report_to(self, told: Told, heard: Callable[[bytes], None]) -> None:
        """Have ``told`` called with what any listener tells (see ``Listener``), ``heard`` with each event."""
        self._told, self._heard = told, heard

    def add(self, link: Link) -> None:
        """Listen to one more master, whenever ``link`` leads to it. Until it is heard the gate is shut."""
        listener = Listener(
            self._login, self._prefixes, self._max_staleness, stats=self._stats, clock=self._clock,
            server_clock=link.server_clock, tenure=link.tenure, gate=self.gate.part(),
        )  # fmt: skip
        listener.report_to(self._told, lambda event: self._pass_on(listener, event))
        link.on_open(listener.follow)
        self._listeners[link] = listener

    def remove(self, link: Link) -> None:
        """Listen to this one no longer: it serves no slots any more."""
        listener = self._listeners.pop(link)
        self.gate.leave(listener.gate)
        task = asyncio.create_task(listener.close(), name="cacheclient-listener-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*self._closing, *(listener.close() for listener in self._listeners.values()))

    def _pass_on(self, listener: Listener, event: bytes) -> None:
        now = self._clock()
        if listener is next((other for other in self._listeners.values() if other.gate.until > now), None):
            self._heard(event)
