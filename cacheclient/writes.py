"""What changes entries: new values, and everything that makes the fleet forget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Unpack

from cacheclient import tags as tag_names
from cacheclient.core import Core, T
from cacheclient.invalidation import Progress
from cacheclient.keys import Glob
from cacheclient.migration import Migration, Plan, PlanOptions
from cacheclient.tags import NAMESPACE


class Writes(Core[T]):
    """The writing half of ``AsyncCache``."""

    async def set(
        self, key: str, value: T, *, ttl: float | None = None, tags: Iterable[str] = (), stale: float | None = None
    ) -> bool:
        """Store ``value`` for ``ttl`` seconds (default ``l2.ttl``) and drop the key from every L1 of the fleet.

        ``tags`` and ``stale`` as in ``get_or_load``.

        Returns:
            Whether Redis acknowledged it. If not, the value is not cached, and what was cached before will not be
            served from L2 either: an invalidation is sent until it gets through.

        Raises:
            CodecError: if the value cannot be encoded.
        """
        self._check_open()
        self.space.full(key)
        return await self._invalidation.put(key, value, self._terms(ttl, tags=tags, stale=stale))

    async def set_many(
        self,
        values: Mapping[str, T],
        *,
        ttl: float | None = None,
        tags: Iterable[str] = (),
        stale: float | None = None,
    ) -> bool:
        """Store several values, which travel together; return whether Redis acknowledged all of them.

        Raises:
            ConfigurationError: if a key or an option cannot be; then nothing is stored.
            CodecError: if a value cannot be encoded; then none of those that can is kept from being stored.
        """
        self._check_open()
        terms = self._terms(ttl, tags=tags, stale=stale)
        for key in values:
            self.space.full(key)
        puts = (self._invalidation.put(key, value, terms) for key, value in values.items())
        done = await asyncio.gather(*puts, return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome
        return all(done)

    async def touch(self, key: str, ttl: float | None = None) -> bool:
        """Let the entry of ``key`` live ``ttl`` seconds (default ``l2.ttl``) from now, longer or shorter than before.

        The value stays; compare-and-set, so an invalidation or a newer value at the same time wins.

        Returns:
            Whether there was an entry that could be prolonged, and Redis acknowledged it.
        """
        self._check_open()
        self.space.full(key)
        return await self._parts.retention.touch(key, self._terms(ttl))

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

    async def invalidate_pattern(
        self, pattern: str, *, all_namespaces: bool = False, progress: Progress | None = None
    ) -> int | None:
        """Make every tier forget all keys that match a glob, for example all of a deleted user: ``user:42:*``.

        Redis is searched in small steps and never held up; but each step reads, so a tag is cheaper where there is one.

        Args:
            pattern: a glob over ids: ``*``, ``?``, ``[a-z]``; it is confined to this namespace and version.
            all_namespaces: in every other namespace and version, too, as far as the Redis user may: other pods forget
                what they hold within their ``sync.max_staleness``. Only the own part is queued if Redis is away.
            progress: called after each step with the number of entries invalidated so far.

        Returns:
            How many entries Redis had; None if it did not answer to the end. Then it is queued and done again.
        """
        self._check_open()
        glob = Glob(pattern)
        if all_namespaces:
            return await self._invalidation.pattern_everywhere(glob, progress)
        return await self._invalidation.pattern(glob, progress)

    async def count(self, pattern: str = "*", *, version: int | None = None) -> int:
        """Return how many keys ``invalidate_pattern`` would make the fleet forget, and change nothing.

        Redis is searched in small steps. Keys that come and go meanwhile count or not.

        Args:
            pattern: a glob over ids, as there.
            version: of the namespace, if not the cache's own: what there is to migrate.

        Raises:
            UnavailableError: if Redis did not answer to the end.
        """
        self._check_open()
        return await self._invalidation.count(Glob(pattern), version)

    async def drop_version(self, version: int, *, progress: Progress | None = None) -> int | None:
        """Delete all entries of this version of the namespace, or an older one whose pods are gone, to free memory.

        Redis is searched in small steps and never held up. To have the own version forgotten, ``clear`` is one write.

        Args:
            version: 1 to the cache's own.
            progress: called after each step with the number of entries deleted so far.

        Returns:
            How many there were; None if Redis did not answer to the end: call it again.

        Raises:
            ConfigurationError: if the version is not one of these.
        """
        self._check_open()
        return await self._invalidation.version(version, progress)

    async def migrate(self, old_version: int, **plan: Unpack[PlanOptions]) -> Migration:
        """Copy the entries of ``old_version`` to this cache's version, so that it need not start cold.

        Redis is searched in small steps and never held up. Lifetimes and tags are kept. What this version has already,
        a lease or a tombstone too, is not undone. Called again after it was interrupted, it goes on where it was.
        Meanwhile the caches of this version should run with ``sync.supersedes``, see ``cacheclient.migration``.

        Args:
            old_version: the version whose entries are copied.
            plan: what else is to be done; see ``PlanOptions``.

        Returns:
            What was done.

        Raises:
            UnavailableError: if Redis did not answer for 20 seconds. What was done stays; call again to go on.
            ConfigurationError: if the version or an option cannot be.
        """
        self._check_open()
        return await self._parts.migrator.run(old_version, Plan(**plan))
