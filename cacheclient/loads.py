"""One load: the lease, the loader under its time limit, and the compare-and-set that stores its value.

A missing value is loaded under a lease, one per key in the fleet; the others wait for its end. A value that is there
but old is replaced under a claim, while everybody still reads it. Either way the fill compares the write id that stood
there before the load, so that an invalidation in between is never overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from time import perf_counter
from typing import Any, Final

import msgspec

from cacheclient import entry
from cacheclient.clock import Clock, Gate
from cacheclient.contract import ErrorType, Tier
from cacheclient.entry import Stored, Tagged
from cacheclient.errors import LoadTimeoutError, UnavailableError
from cacheclient.hearsay import Hearsay
from cacheclient.held import Fence
from cacheclient.jobs import LOAD_FAILED, RELOADING, Flight, Job, Landed
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.missing import MISSING
from cacheclient.options import CacheOptions
from cacheclient.remote import Store
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats
from cacheclient.tags import Tags

# Seconds between looks at somebody else's lease: rarely while pushes tell of its end, quickly while none can arrive.
_POLL_TOLD: Final = 0.25
_POLL_UNTOLD: Final = (0.005, 0.05)
_ANEW_ATTEMPTS: Final = 3  # to find what stands there, or to take the lease; somebody else may be in between
_RELEASE_RETRY: Final = 0.1  # seconds between attempts to give back a lease that may be ours


class Loads:
    """Carries out the loads of one cache."""

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        tags: Tags,
        hearsay: Hearsay,
        options: CacheOptions,
        *,
        stats: Stats,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._space = space
        self._store = store
        self._local = local
        self._serializer = serializer
        self._tags = tags
        self._hearsay = hearsay
        self._lock = options.lock
        self._failsafe = options.failsafe
        self._stats = stats
        self._gate = gate
        self._clock = clock
        self._bulkhead = asyncio.Semaphore(options.lock.max_unleased)
        self._releases: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, flight: Flight, job: Job) -> Landed:
        """Do ``job`` and return how it ended; errors of the loader pass through."""
        if not job.leased:
            return await self._load_unleased(flight, job)
        if job.anew:
            landed = await self._load_anew(flight, job)
            if landed.stored is None or self._store.echoes:
                self._local.drop(job.key)  # the push comes later: this caller must not read the old value again
            return landed
        if job.seen is not None:
            return await self._replace(job, job.seen)
        return await self._ask(flight, job)

    async def close(self) -> None:
        """Stop giving leases back; they expire by themselves."""
        self._closed = True
        for task in self._releases:
            task.cancel()
        await asyncio.gather(*self._releases, return_exceptions=True)

    async def _ask(self, flight: Flight, job: Job) -> Landed:
        """Ask for the lease until there is a value or the lease is ours; past the time limit load without one."""
        full = self._space.full(job.key)
        give_up = self._clock() + self._lock.wait
        pause = _POLL_UNTOLD[0]
        while True:
            flight.pushed.clear()
            flight.mark_read(self._clock())
            token = entry.new_write_id()
            try:
                leased = await self._store.lease(full, token, self._lease(job), self._serializer.readable, job.reject)
                stored = self._serializer.load(leased.value, full)
                usable = stored is not None and await self._usable(full, stored)
            except UnavailableError as error:
                if error.in_doubt:  # it may be granted yet, and nobody would know
                    self._release_later(full, token)
                return await self._load_unleased(flight, job)
            if leased.granted:
                self._stats.leases["granted"] += 1
                return await self._load_leased(flight, job, token)
            if stored is not None and usable:
                self._stats.leases["value"] += 1
                return Landed(stored.value, Tier.L2, stored)
            if leased.value is not None:
                # A value that is past its time or void, or does not decode: the next request overrides it.
                job = msgspec.structs.replace(job, reject=leased.value[1 : 1 + entry.ID_BYTES])
                continue
            self._stats.leases["wait"] += 1
            if self._clock() >= give_up:
                return await self._load_unleased(flight, job)
            pause = await self._wait(flight, pause)

    async def _load_anew(self, flight: Flight, job: Job) -> Landed:
        """Load whatever is there, and store the value if nothing has happened to that meanwhile.

        What stands there serves the others until then, be it another process's lease: whoever fills first wins, and
        both have read the source after what they replace was written.
        """
        full = self._space.full(job.key)
        for _ in range(_ANEW_ATTEMPTS):
            token = entry.new_write_id()
            try:
                ((raw, _),) = await self._store.inspect((full,))
                if raw is None:
                    leased = await self._store.lease(full, token, self._lease(job), self._serializer.readable)
            except UnavailableError as error:
                if error.in_doubt:
                    self._release_later(full, token)
                break
            if raw is not None:
                async with self._bulkhead:  # nobody else is kept from loading the same
                    flight.mark_read(self._clock())
                    return await self._reload(job, raw[1 : 1 + entry.ID_BYTES])
            if leased.granted:
                return await self._load_leased(flight, job, token)
        return await self._load_unleased(flight, job)

    def _lease(self, job: Job) -> float:
        """Return the seconds a lease lives: no less than the load may take, so that its holder never loses it."""
        return max(self._lock.lease, job.terms.load_timeout)

    async def _usable(self, full: str, stored: Stored) -> bool:
        written_ms, tagged = stored.written_ms, stored.tags
        if self._serializer.remaining(stored) <= 0 or self._hearsay.refutes(full, written_ms, tagged):
            return False
        return await self._tags.stand(tagged)

    async def _replace(self, job: Job, seen: Stored) -> Landed:
        """Load anew what is there but old. One process of the fleet does; if that fails, the old value serves.

        So the flight does not count as read again when the loader starts: who joins may get the old value.
        """
        stale = self._serializer.remaining(seen) <= 0
        claim, token = self._space.claim(job.key), entry.new_write_id()
        try:
            claimed = await self._store.claim(claim, token, self._lease(job))
        except UnavailableError as error:
            claimed = False
            if error.in_doubt:
                self._release_later(claim, token)
        if not claimed:
            return Landed(seen.value, Tier.L2, seen, RELOADING if stale else "")
        throttled = False
        try:
            return await self._reload(job, seen.write_id)
        except Exception:
            # The claim stays while the value is fresh, so that not every reader tries the failing loader again.
            throttled = self._serializer.remaining(seen) > 0
            if throttled:
                return Landed(seen.value, Tier.L2, seen)
            if not await self._keep(job, seen):
                raise
            return Landed(seen.value, Tier.L2, seen, LOAD_FAILED)
        finally:
            if not throttled and not await asyncio.shield(self._release(claim, token)):
                self._release_later(claim, token)

    async def _reload(self, job: Job, expected: bytes) -> Landed:
        """Load, and store the value if the write id ``expected`` still stands."""
        fence = self._local.begin(job.key)
        try:
            tagged = await self._tags_of(job)
            value, seconds = await self._call(job)
            stored = None
            if value is MISSING and job.terms.negative_ttl is None:
                await self._erase(job, expected)
            elif tagged is not None:
                stored = await self._store_loaded(job, expected, value, seconds, tagged, fence)
        finally:
            self._local.abandon(job.key, fence)
        return Landed(value, Tier.L3, stored)

    async def _erase(self, job: Job, expected: bytes) -> None:
        """Bury a value of which the source has nothing any more."""
        marker, seconds = entry.tombstone(entry.new_write_id()), 2 * self._lock.lease
        with contextlib.suppress(UnavailableError):
            await self._store.fill(self._space.full(job.key), expected, marker, seconds)

    async def _keep(self, job: Job, seen: Stored) -> bool:
        """Let the fleet serve a stale value for a while without trying the loader again.

        Returns:
            Whether it may be served: not without a fail-safe window, nor if it was invalidated or replaced, or its
            window ended, during the load. If Redis does not answer, it may: it was valid when this reader found it.
        """
        if not job.terms.stale:
            return False
        data, _ = self._serializer.keep(seen, self._failsafe.throttle)
        try:
            if not await self._tags.stand(seen.tags):
                return False
            return await self._store.fill(self._space.full(job.key), seen.write_id, data, None)
        except UnavailableError:
            return True

    async def _wait(self, flight: Flight, pause: float) -> float:
        """Wait for the push of the foreign load, or a while; return the next pause."""
        seconds = _POLL_TOLD if self._clock() < self._gate.until else pause
        try:
            async with asyncio.timeout(seconds * random.uniform(0.75, 1.25)):  # noqa: S311  spreads load only
                await flight.pushed.wait()
        except TimeoutError:
            return min(2 * pause, _POLL_UNTOLD[1])
        return pause

    async def _load_leased(self, flight: Flight, job: Job, token: bytes) -> Landed:
        """Load, and store the value if the lease still stands; if nothing is stored, give the lease back."""
        full, stored = self._space.full(job.key), None
        fence = self._local.begin(job.key)
        try:
            tagged = await self._tags_of(job)
            flight.mark_read(self._clock())
            value, seconds = await self._call(job)
            if tagged is not None:
                stored = await self._store_loaded(job, token, value, seconds, tagged, fence)
        finally:
            self._local.abandon(job.key, fence)
            if stored is None and not await asyncio.shield(self._release(full, token)):
                self._release_later(full, token)
        return Landed(value, Tier.L3, stored)

    async def _tags_of(self, job: Job) -> Tagged | None:
        """Return the tokens to store with the value, read before it is loaded; None if Redis does not tell."""
        try:
            life = max(job.terms.ttl, job.terms.negative_ttl or 0) + job.terms.stale
            return await self._tags.take(job.terms.tags, life)
        except UnavailableError:
            return None

    async def _store_loaded(
        self, job: Job, expected: bytes, value: Any, seconds: float, tagged: Tagged, fence: Fence
    ) -> Stored | None:
        """Store what was loaded if the write id ``expected`` still stands; return it, or None if it was not stored."""
        full, life = self._space.full(job.key), job.terms.negative_ttl if value is MISSING else job.terms.ttl
        if life is None:
            return None
        payload = self._serializer.encode(value, full)
        data, stored = self._serializer.seal(value, payload, life, load_time=seconds, tags=tagged)
        try:
            if not await self._store.fill(full, expected, data, life + job.terms.stale):
                return None
        except UnavailableError:
            return None
        if not self._store.echoes:
            self._local.commit(job.key, fence, stored, self._clock(), life, self._tags.guards(tagged) or ())
        return stored

    async def _load_unleased(self, flight: Flight, job: Job) -> Landed:
        """Load without a lease and store nothing: nobody would know if the value became old."""
        async with self._bulkhead:
            flight.mark_read(self._clock())
            value, _ = await self._call(job)
        return Landed(value, Tier.L3, None)

    async def _release(self, full: str, token: bytes) -> bool:
        """Give the lease back if it is ours; return whether Redis answered."""
        try:
            await self._store.release(full, token)
        except UnavailableError:
            return False
        return True

    def _release_later(self, full: str, token: bytes) -> None:
        """Give back a lease that may be ours until Redis answers: for its whole life the others would wait for us."""
        if self._closed:
            return

        async def persist() -> None:
            for _ in range(math.ceil(self._lock.lease / _RELEASE_RETRY)):
                if await self._release(full, token):
                    return
                await asyncio.sleep(_RELEASE_RETRY)

        task = asyncio.create_task(persist(), name=f"cacheclient-release {full}")
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _call(self, job: Job) -> tuple[Any, float]:
        """Run the loader under its hard time limit; return its value and the seconds it took."""
        began = perf_counter()
        limit = asyncio.timeout(job.terms.load_timeout)
        try:
            async with limit:
                value = await job.load(job.key)
        except BaseException as error:
            self._stats.l3.misses += 1
            self._stats.errors[f"{Tier.L3}/{ErrorType.LOADER}"] += 1
            if isinstance(error, TimeoutError) and limit.expired():
                raise LoadTimeoutError(
                    f"the loader of {job.key!r} took more than {job.terms.load_timeout:g} s"
                ) from error
            raise
        seconds = perf_counter() - began
        self._stats.l3.hits += 1
        self._stats.l3.lookup.observe(seconds)
        return value, seconds
