"""AsyncCache: the order of the tiers.

A read looks into L1, which answers only while the gate is open (see ``listener``); then into L2, together with every
other read of this event-loop tick; then, if a loader is given, one process of the fleet loads (see ``flights``) and the
others take its value. Redis away is a slower cache, not an error: reads with a loader load, reads without one miss.

An L1 hit is one call of ``peek`` (see ``local``): no lock, no key formatting and no metrics library on that path.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Self, Unpack

from cacheclient import tags as tag_names
from cacheclient.batch import Batch, ManyLoader
from cacheclient.clock import Clock, boottime
from cacheclient.codec import Codec, for_name
from cacheclient.connect import Connect, assemble, connect, environment, target_of
from cacheclient.errors import ClosedError
from cacheclient.invalidation import Progress
from cacheclient.jobs import RELOADING, Job, Loader, Terms, due_early
from cacheclient.keys import Glob, KeySpace
from cacheclient.lock import Lock, LockSettings, lock_key
from cacheclient.missing import ABSENT, MISSING
from cacheclient.options import CacheOptions
from cacheclient.reading import Entry
from cacheclient.remote import Target
from cacheclient.serializer import Stored
from cacheclient.stats import Stats
from cacheclient.tags import NAMESPACE


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
        connect: Connect = connect,
    ) -> None:
        """Prepare a cache; nothing is opened before ``start``. See ``from_url`` for the parameters.

        ``clock`` and ``connect`` are for tests (``cacheclient.testing``): the time, and what brings the shared side.
        """
        self.options = options or CacheOptions()
        self.space = KeySpace(namespace, version)
        chosen = for_name(codec, type) if isinstance(codec, str) else codec
        self._parts = parts = assemble(target, self.space, chosen, self.options, clock, connect)
        self._stats = parts.stats
        self._invalidation = parts.invalidation
        # Look into L1 only: the value, or ABSENT. Counts a hit, but no miss. Any thread may call it.
        self.peek = parts.reader.peek
        self._open = self._closed = False

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
        self._invalidation.journal.start()
        if self._parts.shared.link is not None:
            try:
                await self._parts.shared.link.start()
            except BaseException:  # cancelled while waiting for Redis: nobody will call close
                await self.close()
                raise

    async def close(self) -> None:
        """Cancel loads in flight, send what is owed to Redis once more, and close every connection. Twice is fine."""
        if not self._open:
            return
        self._open, self._closed = False, True
        await self._parts.revalidation.close()
        await self._parts.flights.close()
        await self._parts.tags.close()
        await self._invalidation.journal.close()
        if self._parts.shared.listener is not None:
            await self._parts.shared.listener.close()
        if self._parts.shared.link is not None:
            await self._parts.shared.link.close()
        self._parts.local.flush()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def disown(self) -> None:
        """Take note, in a forked child, that another process opened this and will close it."""
        self._open = False

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            warnings.warn(f"cache {self.space.prefix!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    # -- reads --------------------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``; pass ``MISSING`` to tell a cached None from no entry."""
        value = self.peek(key)
        if value is ABSENT:
            stored, fresh = await self._read(key)
            value = stored.value if stored is not None and fresh else MISSING
        return default if value is MISSING else value

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those ``keys`` that are cached; all L2 reads travel together."""
        wanted = list(dict.fromkeys(keys))
        found = await asyncio.gather(*(self.get(key, MISSING) for key in wanted))
        return {key: value for key, value in zip(wanted, found, strict=True) if value is not MISSING}

    async def get_or_load(
        self,
        key: str,
        load: Loader,
        *,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> Any:
        """Return the value of ``key``; if no tier has it, ``await load(key)`` once in the fleet and keep it.

        Args:
            key: the id; the namespace and version are added.
            load: the loader (L3), an async function of the key. Its errors pass through and are never cached. It may
                return MISSING: the source has nothing.
            ttl: seconds the value lives in L2; the default is ``l2.ttl``.
            negative_ttl: seconds for which "the source has nothing" is remembered; by default it is not.
            tags: names under which the value can be invalidated, see ``invalidate_tag``.

        Raises:
            LoadTimeoutError: if the loader took more than ``lock.load_timeout``.
            CodecError: if the loaded value cannot be encoded.
        """
        value = self.peek(key)
        if value is not ABSENT:
            return value
        began = perf_counter()
        stored, fresh = await self._read(key)
        terms = self._terms(ttl, negative_ttl, tags)
        if stored is not None and (fresh or self.options.failsafe.revalidate):
            if not fresh or self._due_early(stored):
                self._parts.flights.reload(Job(key, load, terms, seen=stored))
            if not fresh:
                self._stats.stale_served[RELOADING] += 1
            return stored.value
        # While Redis lacks the tombstone of an own invalidation, what it holds must not be asked for.
        leased = key not in self._invalidation.journal
        landed = await self._parts.flights.fly(Job(key, load, terms, leased, stored))
        if landed.stale:
            self._stats.stale_served[landed.stale] += 1
        self._stats.all_lookups.observe(perf_counter() - began)
        return landed.value

    async def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: ManyLoader,
        *,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Return a value, or the exception of its load, for each of ``keys``; what is missing is loaded in one call.

        Args:
            keys: the ids.
            load_many: an async function of the missing ids, which returns a mapping from id to value. An id that it
                leaves out is MISSING; an exception as value is that id's error.
            ttl: as in ``get_or_load``; so are negative_ttl and tags.
            negative_ttl: see there.
            tags: see there.
        """
        wanted, names = list(dict.fromkeys(keys)), tag_names.check(tags)
        batch = Batch(load_many)
        found = await asyncio.gather(
            *(self.get_or_load(k, batch.load, ttl=ttl, negative_ttl=negative_ttl, tags=names) for k in wanted),
            return_exceptions=True,
        )
        for value in found:
            if isinstance(value, BaseException) and not isinstance(value, Exception):
                raise value  # a cancelled or interrupted caller, not an answer
        return dict(zip(wanted, found, strict=True))

    async def get_entry(self, key: str) -> Entry | None:
        """Return the value of ``key`` with its provenance, or None. Counts as a lookup."""
        self._check_open()
        return await self._parts.reader.entry(key)

    # -- writes -------------------------------------------------------------------------------------------------------

    async def set(self, key: str, value: Any, *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
        """Store ``value`` for ``ttl`` seconds (default ``l2.ttl``) and drop the key from every L1 of the fleet.

        Returns:
            Whether Redis acknowledged it. If not, the value is not cached, and what was cached before will not be
            served from L2 either: an invalidation is sent until it gets through.

        Raises:
            CodecError: if the value cannot be encoded.
        """
        self._check_open()
        self.space.full(key)
        return await self._invalidation.put(key, value, self._terms(ttl, None, tags))

    async def set_many(self, values: Mapping[str, Any], *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
        """Store several values, which travel together; return whether Redis acknowledged all of them."""
        names = tag_names.check(tags)
        done = await asyncio.gather(*(self.set(key, value, ttl=ttl, tags=names) for key, value in values.items()))
        return all(done)

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
        return await self._invalidation.key(key, durable=durable)

    async def invalidate_tag(self, tag: str) -> bool:
        """Make every tier forget all entries that carry ``tag``, at the cost of one write, however many they are.

        Returns:
            Whether Redis acknowledged it. If not, it is queued and sent until it gets through.
        """
        self._check_open()
        (name,) = tag_names.check((tag,))
        return await self._invalidation.tag(name)

    async def clear(self) -> bool:
        """Make every tier forget the whole namespace, at the cost of one write; returns as ``invalidate_tag``."""
        self._check_open()
        return await self._invalidation.tag(NAMESPACE)

    async def invalidate_pattern(self, pattern: str, *, progress: Progress | None = None) -> int | None:
        """Make every tier forget all keys that match a glob, for example all of a deleted user: ``user:42:*``.

        Redis is searched in small steps and never held up; but each step reads, so a tag is cheaper where there is one.

        Args:
            pattern: a glob over ids: ``*``, ``?``, ``[a-z]``; it is confined to this namespace and version.
            progress: called after each step with the number of entries invalidated so far.

        Returns:
            How many entries Redis had; None if it did not answer to the end. Then it is queued and done again.
        """
        self._check_open()
        return await self._invalidation.pattern(Glob(pattern), progress)

    def lock(self, name: str, **settings: Unpack[LockSettings]) -> Lock:
        """Return the distributed lock ``name`` of this namespace, not yet taken; see ``cacheclient.lock``."""
        self._check_open()
        return Lock(self._parts.shared.locks, lock_key(self.space.namespace, name), **settings)

    # -- observation ------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of all counters: can be pickled, merged over processes and subtracted."""
        return self._stats - Stats()  # no Python code runs while a counter is copied, so any thread may ask

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _read(self, key: str) -> tuple[Stored | None, bool]:
        self._check_open()
        return await self._parts.reader.read(key)

    def _due_early(self, stored: Stored) -> bool:
        remaining = self._parts.serializer.remaining(stored)
        return due_early(remaining, stored.envelope.load_time, self.options.l2.early_refresh)

    def _terms(self, ttl: float | None, negative_ttl: float | None, tags: Iterable[str]) -> Terms:
        life = self.options.l2.life
        return Terms(life(ttl), None if negative_ttl is None else life(negative_ttl), tag_names.check(tags))

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("the cache is not open: use it inside `async with`, or call start()")
