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
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from math import ceil
from time import perf_counter
from typing import Any, Final

from cacheclient import entry
from cacheclient.clock import Clock, Gate
from cacheclient.contract import ErrorType, Tier
from cacheclient.errors import ClosedError, LoadTimeoutError, UnavailableError
from cacheclient.local import Local
from cacheclient.options import CacheOptions
from cacheclient.remote import Store
from cacheclient.serializer import Serializer, Stored
from cacheclient.stats import Stats

Loader = Callable[[str], Awaitable[Any]]

# Seconds between looks at somebody else's lease: rarely while pushes tell of its end, quickly while none can arrive.
_POLL_TOLD: Final = 0.25
_POLL_UNTOLD: Final = (0.005, 0.05)
_RELEASE_RETRY: Final = 0.1  # seconds between attempts to give back a lease that may be ours


@dataclass(frozen=True, slots=True)
class Landed:
    """How a flight ended: the value, the tier it came from, and what is stored of it (None if nothing is)."""

    value: Any
    tier: Tier
    stored: Stored | None


class _Flight:
    __slots__ = ("pushed", "read_at", "suspect", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Landed]
        self.read_at = 0.0  # when the read whose outcome callers get began, on the cache's clock
        self.suspect = False  # a push named the key after that
        self.pushed = asyncio.Event()


@dataclass(frozen=True, slots=True)
class _Job:
    """What a flight is to do: ``key`` for the loader, ``full`` for Redis, ``reject`` a value that did not decode."""

    key: str
    full: str
    load: Loader
    ttl: float
    leased: bool
    reject: bytes = b""


class Flights:
    """The loads in flight of one cache."""

    def __init__(
        self,
        store: Store,
        local: Local,
        serializer: Serializer,
        options: CacheOptions,
        *,
        stats: Stats,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._store = store
        self._local = local
        self._serializer = serializer
        self._lock = options.lock
        self._max_staleness = options.sync.max_staleness
        self._stats = stats
        self._gate = gate
        self._clock = clock
        self._flights: dict[str, _Flight] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._bulkhead = asyncio.Semaphore(options.lock.max_unleased)

    async def fly(self, key: str, full: str, load: Loader, ttl: float, *, leased: bool = True) -> Landed:
        """Join the flight of ``key`` or start one, and return how it ended; errors of the loader pass through.

        Without ``leased`` Redis is neither asked nor told.

        Raises:
            LoadTimeoutError: if the loader took more than ``lock.load_timeout``.
            ClosedError: if the cache is closed, now or meanwhile.
        """
        self._check_open()
        flight = self._flights.get(key)
        if flight is not None and self._joinable(flight):
            self._stats.coalesced["process"] += 1
        else:
            flight = self._start(_Job(key, full, load, ttl, leased))
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and not (caller and caller.cancelling()):
                raise ClosedError("the cache was closed during the load") from None
            raise

    def detach(self, key: str) -> None:
        """Let nobody else join the flight of ``key``: it began before an invalidation made here."""
        self._flights.pop(key, None)

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

    async def close(self) -> None:
        """Cancel what is in flight; its callers get ClosedError."""
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the cache is closed")

    def _joinable(self, flight: _Flight) -> bool:
        now = self._clock()
        return now - flight.read_at <= self._max_staleness or (now < self._gate.until and not flight.suspect)

    def _start(self, job: _Job) -> _Flight:
        flight = _Flight()
        flight.read_at = self._clock()
        flight.task = asyncio.create_task(self._run(flight, job), name=f"cacheclient-flight {job.full}")
        self._flights[job.key] = flight
        self._running.add(flight.task)
        flight.task.add_done_callback(lambda task: self._landed(job.key, flight, task))
        return flight

    def _landed(self, key: str, flight: _Flight, task: asyncio.Task[Landed]) -> None:
        self._running.discard(task)
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # all callers may have been cancelled; the error was counted where it arose

    async def _run(self, flight: _Flight, job: _Job) -> Landed:
        """Ask for the lease until there is a value or the lease is ours; past the time limit load without one."""
        if not job.leased:
            return await self._load_unleased(flight, job)
        give_up = self._clock() + self._lock.wait
        pause = _POLL_UNTOLD[0]
        while True:
            flight.pushed.clear()
            self._mark_read(flight)
            token = entry.new_write_id()
            try:
                leased = await self._store.lease(
                    job.full, token, self._lock.lease, self._serializer.readable, job.reject
                )
            except UnavailableError as error:
                if error.in_doubt:  # it may be granted yet, and nobody would know
                    self._release_later(job, token)
                return await self._load_unleased(flight, job)
            if leased.granted:
                self._stats.leases["granted"] += 1
                return await self._load_leased(flight, job, token)
            stored = self._serializer.load(leased.value)
            if stored is not None:
                self._stats.leases["value"] += 1
                return Landed(stored.value, Tier.L2, stored)
            if leased.value is not None:
                # A value with a readable header that is stale or does not decode: the next request overrides it.
                job = replace(job, reject=leased.value[1 : 1 + entry.ID_BYTES])
                continue
            self._stats.leases["wait"] += 1
            if self._clock() >= give_up:
                return await self._load_unleased(flight, job)
            pause = await self._wait(flight, pause)

    def _mark_read(self, flight: _Flight) -> None:
        flight.read_at = self._clock()
        flight.suspect = False

    async def _wait(self, flight: _Flight, pause: float) -> float:
        """Wait for the push of the foreign load, or a while; return the next pause."""
        seconds = _POLL_TOLD if self._clock() < self._gate.until else pause
        try:
            async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):  # noqa: S311  spreads load only
                await flight.pushed.wait()
        except TimeoutError:
            return min(2 * pause, _POLL_UNTOLD[1])
        return pause

    async def _load_leased(self, flight: _Flight, job: _Job, token: bytes) -> Landed:
        """Load, and store the value if the lease still stands. A failed load gives the lease back."""
        fence = self._local.begin(job.key)
        try:
            value, seconds = await self._call(flight, job)
            data, stored = self._serializer.dump(value, job.ttl, seconds)
            filled = await self._fill(job, token, data)
            if filled and not self._store.echoes:
                self._local.commit(job.key, fence, stored, self._clock(), job.ttl)
        except BaseException:
            if not await asyncio.shield(self._release(job, token)):
                self._release_later(job, token)
            raise
        finally:
            self._local.abandon(job.key, fence)
        return Landed(value, Tier.L3, stored if filled else None)

    async def _fill(self, job: _Job, token: bytes, data: bytes) -> bool:
        try:
            return await self._store.fill(job.full, token, data, job.ttl)
        except UnavailableError:
            self._release_later(job, token)
            return False

    async def _load_unleased(self, flight: _Flight, job: _Job) -> Landed:
        """Load without a lease and store nothing: nobody would know if the value became old."""
        async with self._bulkhead:
            value, _ = await self._call(flight, job)
        return Landed(value, Tier.L3, None)

    async def _release(self, job: _Job, token: bytes) -> bool:
        """Give the lease back if it is ours; return whether Redis answered."""
        try:
            await self._store.release(job.full, token)
        except UnavailableError:
            return False
        return True

    def _release_later(self, job: _Job, token: bytes) -> None:
        """Give back a lease that may be ours until Redis answers: for its whole life the others would wait for us."""
        if self._closed:
            return

        async def persist() -> None:
            for _ in range(ceil(self._lock.lease / _RELEASE_RETRY)):
                if await self._release(job, token):
                    return
                await asyncio.sleep(_RELEASE_RETRY)

        task = asyncio.create_task(persist(), name=f"cacheclient-release {job.full}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _call(self, flight: _Flight, job: _Job) -> tuple[Any, float]:
        """Run the loader under its hard time limit; return its value and the seconds it took."""
        self._mark_read(flight)
        began = perf_counter()
        limit = asyncio.timeout(self._lock.load_timeout)
        try:
            async with limit:
                value = await job.load(job.key)
        except BaseException as error:
            self._stats.l3.misses += 1
            self._stats.errors[f"{Tier.L3}/{ErrorType.LOADER}"] += 1
            if isinstance(error, TimeoutError) and limit.expired():
                raise LoadTimeoutError(
                    f"the loader of {job.key!r} took more than {self._lock.load_timeout:g} s"
                ) from error
            raise
        seconds = perf_counter() - began
        self._stats.l3.hits += 1
        self._stats.l3.lookup.observe(seconds)
        return value, seconds
