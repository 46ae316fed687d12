"""What changes entries: new values, and everything that makes the fleet forget."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from cacheclient import tags as tag_names
from cacheclient.core import Core, T
from cacheclient.invalidation import Progress
from cacheclient.keys import Glob
from cacheclient.tags import NAMESPACE


class Writes(Core[T]):
    """The writing half of ``AsyncCache``."""

    async def set(self, key: str, value: T, *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
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

    async def set_many(self, values: Mapping[str, T], *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
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
