"""Coherence of L1: one connection per cache on which Redis tells of every change below the cache's prefix.

``CLIENT TRACKING ON BCAST`` makes Redis push each changed key to this connection, with no memory per key in Redis.
Plain publish/subscribe cannot promise coherence: clients reconnect silently and lose what was said meanwhile.

The freshness gate turns that into a bound. Pushes and replies share the connection in order, and Redis queues the push
of a write at the end of the event-loop cycle that executed it. A question asked after that moment is read in a later
cycle, so its answer comes behind the push: an answered question proves that every push of writes before the moment it
was *asked* has been handled. L1 may answer until that moment plus ``max_staleness``, and not a moment longer: half-open
connections, partitions and stopped processes close the gate by themselves. The question is TIME, which also tells the
server's clock.

What a server proves counts for as long as it may be taken for the master (the link's tenure): what is written to
another is not told here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Any, Final

from cacheclient.clock import Clock, Gate, ServerClock, parse_time
from cacheclient.contract import Channel, Tier
from cacheclient.errors import UnavailableError
from cacheclient.remote import Connection, Login, Pipe
from cacheclient.stats import Stats

_RETRY: Final = 0.05  # seconds before the next attempt; the link looks for another master meanwhile
_log = logging.getLogger("cacheclient")


class Listener:
    """Keeps the tracking connection to the master and the gate."""

    def __init__(
        self,
        login: Login,
        prefixes: tuple[str, ...],
        max_staleness: float,
        *,
        stats: Stats,
        clock: Clock,
        server_clock: ServerClock,
        tenure: Gate,
        gate: Gate | None = None,
    ) -> None:
        """Prepare to listen to changes of keys below ``prefixes``; ``report_to`` says who is told.

        ``tenure`` says until when the server listened to may be taken for the master. ``gate`` is what is to be kept.
        """
        # Silence closes the gate after max_staleness; after twice that the connection is given up.
        self._login = dataclasses.replace(login, timeout=2 * max_staleness)
        self._prefixes = prefixes
        self._max_staleness = max_staleness
        self._told: Callable[[list[str] | None], None]
        self._heard: Callable[[bytes], None]
        self._stats = stats
        self._clock = clock
        self._server_clock = server_clock
        self._tenure = tenure
        self._task: asyncio.Task[None] | None = None
        self.gate = Gate(0.0) if gate is None else gate

    def report_to(self, told: Callable[[list[str] | None], None], heard: Callable[[bytes], None]) -> None:
        """Have ``told`` called with changed Redis keys, and ``heard`` with each event.

        None: any key may have changed. No keys: a sign of life, nothing has changed up to now.
        """
        self._told, self._heard = told, heard

    def follow(self, connection: Connection) -> None:
        """Listen to the server that ``connection`` leads to, for as long as that is open.

        Even at the same address another server may answer now, and the old one may go on answering over the old
        connection: what it proves says nothing about the new one.
        """
        self._shut()
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._run(connection), name="cacheclient-listener")

    async def close(self) -> None:
        """Stop listening."""
        self._shut()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, connection: Connection) -> None:
        told = False
        while not connection.lost:
            try:
                await self._open_and_listen(connection)
            except UnavailableError as error:
                if not told and not connection.lost:
                    _log.warning("cacheclient: L1 is bypassed until Redis tells of changes: %s", error)
                told = True
            await asyncio.sleep(_RETRY)

    async def _open_and_listen(self, connection: Connection) -> None:
        pipe = await Pipe.open(connection.address, self._login, self._on_push)
        try:
            await self._listen(pipe, connection)
        finally:
            self._stats.gaps += self._stats.listener_connected
            self._shut()
            pipe.close()

    async def _listen(self, pipe: Pipe, connection: Connection) -> None:
        """Turn tracking on, doubt what was learnt before, then prove freshness four times per ``max_staleness``."""
        prefixes = (word for prefix in self._prefixes for word in ("PREFIX", prefix))
        await pipe.call("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
        self._told(None)
        await self._subscribe(pipe)
        ends = (pipe.closed, connection.reads.closed, connection.writes.closed)
        while not any(end.done() for end in ends):
            asked = self._clock()
            self._server_clock.observe(parse_time(await pipe.call("TIME")), asked)
            self.gate.until = min(asked + self._max_staleness, self._tenure.until)
            self._stats.listener_connected = self.gate.whole.until > asked
            self._told([])
            await asyncio.wait(ends, timeout=self._max_staleness / 4, return_when=asyncio.FIRST_COMPLETED)

    async def _subscribe(self, pipe: Pipe) -> None:
        """Hear the events. A user who may not goes without them: coherence rests on tracking."""
        answers = await asyncio.gather(*(pipe.call("SUBSCRIBE", c) for c in Channel), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, UnavailableError)]
        if refused and not pipe.closed.done():
            self._stats.errors[f"{Tier.L1}/{refused[0].kind}"] += len(refused)
            _log.warning("cacheclient: events of the fleet are not heard: %s", refused[0])

    def _shut(self) -> None:
        self.gate.until = 0.0
        self._stats.listener_connected = False

    def _on_push(self, push: list[Any]) -> None:
        if push[0] == b"invalidate":
            # Own writes are not told apart: Redis merges the pushes of one cycle, so a foreign write may hide in one.
            self._told(None if push[1] is None else [key.decode("utf-8", "replace") for key in push[1]])
        elif push[0] == b"message":
            self._heard(push[2])
