"""Loads in flight: one per key in the process, and one lease per key in the fleet.

A flight belongs to nobody: callers wait for it shielded, so cancelling the first never cancels the others, and a hard
time limit on the loader ends the flight and its lease, not only the waiters.

Who may join. A caller that comes after an invalidation must not get what a loader read before it. A flight whose last
read began at most ``max_staleness`` ago may be joined by anybody: that is the bound the cache promises anyway. An older
flight may be joined only while the listener is fresh and no push has named its key since it began; else a new flight
starts. An invalidation in this process detaches the flight at once, whatever its age.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cacheclient.clock import Clock, Gate
from cacheclient.errors import ClosedError
from cacheclient.jobs import Flight, Job, Landed
from cacheclient.loads import Loads
from cacheclient.sharing import end_quietly, outcome
from cacheclient.stats import Stats


class Flights:
    """The loads in flight of one cache."""

    def __init__(self, loads: Loads, max_staleness: float, *, stats: Stats, gate: Gate, clock: Clock) -> None:
        self._loads = loads
        self._max_staleness = max_staleness
        self._stats = stats
        self._gate = gate
        self._clock = clock
        self._flights: dict[str, Flight] = {}
        self._running: set[asyncio.Task[Landed]] = set()
        self._closed = False

    async def fly(self, job: Job) -> Landed:
        """Join the flight of ``job.key`` or start one, and return how it ended; errors of the loader pass through.

        Raises:
            LoadTimeoutError: if the loader took more than ``lock.load_timeout``.
            ClosedError: if the cache is closed, now or meanwhile.
        """
        self._check_open()
        flight = self._flights.get(job.key)
        if flight is not None and not job.anew and self._joinable(flight):
            self._stats.coalesced["process"] += 1
        else:
            flight = self._start(job)
        return await outcome(flight.task)

    def reload(self, job: Job) -> None:
        """Replace the value ``job.seen`` behind its readers, unless a load of the key is in flight here already."""
        if not self._closed and job.key not in self._flights:
            self._start(job)

    def detach(self, key: str) -> None:
        """Let nobody else join the flight of ``key``: it began before an invalidation made here."""
        self._flights.pop(key, None)

    def detach_all(self, matches: Callable[[str], bool] = lambda _: True) -> None:
        """The same for every key that ``matches``."""
        for key in [key for key in self._flights if matches(key)]:
            del self._flights[key]

    def pushed(self, key: str) -> None:
        """Take note that ``key`` changed in Redis: whoever waits for a foreign load looks now."""
        flight = self._flights.get(key)
        if flight is not None:
            flight.suspect = True
            flight.pushed.set()

    def pushed_all(self) -> None:
        """Take note that every key may have changed."""
        for key in list(self._flights):
            self.pushed(key)

    def reading_for(self, key: str) -> float | None:
        """Return for how many seconds the flight of ``key`` has been reading; None if there is none to join."""
        flight = self._flights.get(key)
        return None if flight is None else self._clock() - flight.read_at

    async def close(self) -> None:
        """Cancel what is in flight; its callers get ClosedError."""
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._loads.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the cache is closed")

    def _joinable(self, flight: Flight) -> bool:
        now = self._clock()
        return now - flight.read_at <= self._max_staleness or (now < self._gate.until and not flight.suspect)

    def _start(self, job: Job) -> Flight:
        flight = Flight(self._clock())
        flight.task = asyncio.create_task(self._loads.run(flight, job), name=f"cacheclient-flight {job.key}")
        self._flights[job.key] = flight
        self._running.add(flight.task)
        flight.task.add_done_callback(lambda task: self._landed(job.key, flight, task))
        return flight

    def _landed(self, key: str, flight: Flight, task: asyncio.Task[Landed]) -> None:
        self._running.discard(task)
        if self._flights.get(key) is flight:
            del self._flights[key]
        end_quietly(task)
