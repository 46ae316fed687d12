"""AsyncCache: the order of the tiers.

A read looks into L1, which answers only while the gate is open (see ``listener``); then into L2, together with every
other read of this event-loop tick; then, if a loader is given, one process of the fleet loads (see ``flights``) and the
others take its value. Redis away is a slower cache, not an error: reads with a loader load, reads without one miss.

An L1 hit is one call of ``peek`` (see ``local``): no lock, no key formatting and no metrics library on that path.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Self

from cacheclient import entry
from cacheclient.clock import Clock, boottime
from cacheclient.codec import Codec, for_name
from cacheclient.connect import connect, environment, target_of
from cacheclient.contract import Tier
from cacheclient.errors import ClosedError, UnavailableError
from cacheclient.flights import Flights, Loader
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.missing import MISSING
from cacheclient.options import CacheOptions
from cacheclient.remote import Target
from cacheclient.serializer import Serializer, Stored
from cacheclient.stats import Stats


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and where it came from.

    Attributes:
        tier: the tier that answered.
        age: seconds since it was written to L2, by the Redis server's clock.
        write_id: the id of that write, in hex.
    """

    value: Any
    tier: Tier
    age: float
    write_id: str


class AsyncCache:
    """A two-tier cache for one namespace, for asyncio. Open it with ``async with``.

    Values that L1 returns are shared between callers: treat them as read-only.
    """

    def __init__(
        self,
        target: Target,
        *,
        namespace: str,
        version: int = 1,
        type: Any = Any,  # noqa: A002  the word msgspec and the field use
        codec: str | Codec = "msgpack",
        options: CacheOptions | None = None,
        clock: Clock = boottime,
    ) -> None:
        """Prepare a cache; nothing is opened before ``start``. See ``from_url`` for the parameters."""
        self.options = options or CacheOptions()
        self.space = KeySpace(namespace, version)
        self._stats = Stats()
        self._clock = clock
        self._local = Local(self.options.l1, self._stats.l1)
        self._shared = connect(target, self.space, self.options, self._stats, self._invalidated, clock)
        self._store = self._shared.store
        self._gate = self._shared.gate
        # Look into L1 only: the value, or MISSING. Counts a hit, but no miss. Any thread may call it.
        self.peek = self._local.reader(self._gate, clock, self._stats.all_lookups)
        self._serializer = Serializer(
            for_name(codec, type) if isinstance(codec, str) else codec, self._shared.server_clock, self._stats
        )
        self._flights = Flights(
            self._store, self._local, self._serializer, self.options, stats=self._stats, gate=self._gate, clock=clock
        )
        self._journal = Journal(self._bury, self.options.sync.journal, clock)
        self._open = self._closed = False
        if self._shared.link is not None:
            self._shared.link.on_renewal(self._journal.replay)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str,
        version: int = 1,
        type: Any = Any,  # noqa: A002
        codec: str | Codec = "msgpack",
        options: CacheOptions | None = None,
        username: str | None = None,
        password: str | None = None,
        password_file: str | Path | None = None,
        sentinel_password_file: str | Path | None = None,
    ) -> Self:
        """Return a cache, not yet open.

        Args:
            url: ``redis+sentinel://s-0,s-1,s-2/set``, ``redis://host``, the same with ``rediss`` (TLS), ``memory://``.
            namespace: first part of every key; one namespace is one kind of value.
            version: rises with the schema of the values; pods of two versions do not read each other's entries.
            type: what values are decoded to: any type msgspec knows.
            codec: ``msgpack``, ``json``, ``raw``, or an object of your own.
            options: sizes, lifetimes and time limits.
            username: the Redis user; wins over the URL's.
            password: its password; wins over the URL's.
            password_file: a file that holds it instead.
            sentinel_password_file: a file with the password that the Sentinels ask for.

        Raises:
            ConfigurationError: if any of this cannot work.
        """
        target = target_of(url, username, password, password_file, sentinel_password_file)
        return cls(target, namespace=namespace, version=version, type=type, codec=codec, options=options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: Any = Any) -> Self:  # noqa: A002
        """Return the cache that the environment describes (``contract.Env``), as the deployed pods do.

        Raises:
            ConfigurationError: if a variable is missing or cannot be used.
        """
        return cls.from_url(type=type, **environment(environ))

    # -- lifecycle ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the cache. Waits at most ``l2.connect_timeout`` for Redis, which may be away."""
        if self._open or self._closed:
            raise ClosedError("a cache is opened once: make another one")
        self._open = True
        self._journal.start()
        if self._shared.link is not None:
            try:
                await self._shared.link.start()
            except BaseException:  # cancelled while waiting for Redis: nobody will call close
                await self.close()
                raise

    async def close(self) -> None:
        """Cancel loads in flight, send what is owed to Redis once more, and close every connection. Twice is fine."""
        if not self._open:
            return
        self._open, self._closed = False, True
        await self._flights.close()
        await self._journal.close()
        if self._shared.listener is not None:
            await self._shared.listener.close()
        if self._shared.link is not None:
            await self._shared.link.close()
        self._local.flush()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            warnings.warn(f"cache {self.space.prefix!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # -- reads --------------------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``; pass ``MISSING`` to tell a cached None from no entry."""
        value = self.peek(key)
        if value is not MISSING:
            return value
        stored = await self._read(key)
        return default if stored is None else stored.value

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those ``keys`` that are cached; all L2 reads travel together."""
        wanted = list(dict.fromkeys(keys))
        found = await asyncio.gather(*(self.get(key, MISSING) for key in wanted))
        return {key: value for key, value in zip(wanted, found, strict=True) if value is not MISSING}

    async def get_or_load(self, key: str, load: Loader, *, ttl: float | None = None) -> Any:
        """Return the value of ``key``; if no tier has it, ``await load(key)`` once in the fleet and keep it.

        Args:
            key: the id; the namespace and version are added.
            load: the loader (L3), an async function of the key. Its errors pass through and are never cached.
            ttl: seconds the value lives in L2; the default is ``l2.ttl``.

        Raises:
            LoadTimeoutError: if the loader took more than ``lock.load_timeout``.
            CodecError: if the loaded value cannot be encoded.
        """
        value = self.peek(key)
        if value is not MISSING:
            return value
        began = perf_counter()
        stored = await self._read(key)
        if stored is not None:
            return stored.value
        # While Redis lacks the tombstone of an own invalidation, what it holds must not be asked for.
        landed = await self._flights.fly(
            key, self.space.full(key), load, self.options.l2.life(ttl), leased=key not in self._journal
        )
        self._stats.all_lookups.observe(perf_counter() - began)
        return landed.value

    async def get_entry(self, key: str) -> Entry | None:
        """Return the value of ``key`` with its provenance, or None. Counts as a lookup."""
        item = self._local.table.get(key)
        if item is not None and self.peek(key) is not MISSING:
            return Entry(item.value, Tier.L1, self._serializer.age(item.written_ms), item.write_id.hex())
        stored = await self._read(key)
        if stored is None:
            return None
        envelope = stored.envelope
        return Entry(stored.value, Tier.L2, self._serializer.age(envelope.written_ms), envelope.write_id.hex())

    # -- writes -------------------------------------------------------------------------------------------------------

    async def set(self, key: str, value: Any, *, ttl: float | None = None) -> bool:
        """Store ``value`` for ``ttl`` seconds (default ``l2.ttl``) and drop the key from every L1 of the fleet.

        Returns:
            Whether Redis acknowledged it. If not, the value is not cached, and what was cached before will not be
            served from L2 either: an invalidation is sent until it gets through.

        Raises:
            CodecError: if the value cannot be encoded.
        """
        self._check_open()
        full, life = self.space.full(key), self.options.l2.life(ttl)
        data, stored = self._serializer.dump(value, life)
        self._forget(key)
        self._journal.note(key)  # what the new value replaced is back, too, if a failover loses it
        try:
            with self._owing(key):
                await self._store.put(full, data, life)
        except UnavailableError:
            return False
        if not self._store.echoes:
            self._local.commit(key, self._local.begin(key), stored, self._clock(), life)
        return True

    async def invalidate(self, key: str, *, durable: bool = False) -> bool:
        """Make every tier of the fleet forget ``key``. Call it after the database commit.

        Afterwards this process never serves the old value, and other processes for at most ``sync.max_staleness``
        seconds. A load that began before is not cached, wherever it runs.

        Args:
            key: the id.
            durable: also wait until all replicas have it, so that no failover can undo it.

        Returns:
            Whether Redis (with ``durable``: every replica too) acknowledged it. If not, it is sent until it gets
            through, and once more to a master that follows this one.
        """
        self._check_open()
        self.space.full(key)
        self._forget(key)
        self._journal.note(key)
        self._stats.invalidations["local"] += 1
        try:
            with self._owing(key):
                return await self._bury(key, durable=durable) or not durable
        except UnavailableError:
            return False

    # -- observation ------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of all counters: can be pickled, merged over processes and subtracted."""
        return self._stats - Stats()  # no Python code runs while a counter is copied, so any thread may ask

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _read(self, key: str) -> Stored | None:
        """Look into L2 after L1 missed; fill L1 with what is found, if its fence still stands."""
        self._check_open()
        full = self.space.full(key)
        began = perf_counter()
        stats = self._stats
        stats.l1.misses += 1
        stored = None if key in self._journal else await self._fetch(key, full)
        if stored is None:
            stats.l2.misses += 1
            return None
        stats.l2.hits += 1
        stats.all_lookups.observe(perf_counter() - began)
        return stored

    async def _fetch(self, key: str, full: str) -> Stored | None:
        fence = self._local.begin(key)
        try:
            stored = self._serializer.load(await self._store.read(full))
            if stored is not None:
                self._local.commit(key, fence, stored, self._clock(), self._serializer.remaining(stored))
        except UnavailableError:
            return None
        finally:
            self._local.abandon(key, fence)
        return stored

    def _forget(self, key: str) -> None:
        self._local.drop(key)
        self._flights.detach(key)

    @contextlib.contextmanager
    def _owing(self, key: str) -> Iterator[None]:
        """Owe Redis a tombstone of ``key`` unless the write inside is acknowledged; a cancelled caller cannot tell."""
        try:
            yield
        except BaseException:
            self._journal.owe(key)
            raise
        finally:
            self._forget(key)  # again: a read that began before the write may have filled L1 meanwhile

    async def _bury(self, key: str, *, durable: bool = False) -> bool:
        # The tombstone outlives every load that may have begun before it.
        seconds = 2 * self.options.lock.lease
        return await self._store.bury(self.space.full(key), entry.new_write_id(), seconds, durable=durable)

    def _invalidated(self, keys: list[str] | None) -> None:
        """Take a push of the listener: these Redis keys changed; None means that any may have."""
        if keys is None:
            self._local.flush()
            self._flights.pushed_all()
            return
        for full in keys:
            key = self.space.short(full)
            if key is not None:
                self._stats.invalidations["remote"] += 1
                self._local.drop(key)
                self._flights.pushed(key)

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("the cache is not open: use it inside `async with`, or call start()")
