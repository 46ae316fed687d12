"""The writing half of ``Cache``: as ``writes`` of ``AsyncCache``, which says what each method promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cacheclient.invalidation import Progress
from cacheclient.runtime import T, Threads


class SyncWrites(Threads[T]):
    """The writing half of ``Cache``."""

    def set(
        self, key: str, value: T, *, ttl: float | None = None, tags: Iterable[str] = (), stale: float | None = None
    ) -> bool:
        """Store ``value``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.set(key, value, ttl=ttl, tags=tags, stale=stale))

    def set_many(
        self,
        values: Mapping[str, T],
        *,
        ttl: float | None = None,
        tags: Iterable[str] = (),
        stale: float | None = None,
    ) -> bool:
        """Store several values; return whether Redis acknowledged all of them."""
        runtime = self._here()
        return runtime.run(runtime.cache.set_many(values, ttl=ttl, tags=tags, stale=stale))

    def touch(self, key: str, ttl: float | None = None) -> bool:
        """Let the entry of ``key`` live ``ttl`` seconds from now; return whether there was one, and Redis agreed."""
        runtime = self._here()
        return runtime.run(runtime.cache.touch(key, ttl))

    def invalidate(self, key: str, *, durable: bool = False) -> bool:
        """Make every tier of the fleet forget ``key``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate(key, durable=durable))

    def invalidate_tag(self, tag: str) -> bool:
        """Make every tier forget all entries that carry ``tag``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate_tag(tag))

    def count(self, pattern: str = "*", *, version: int | None = None) -> int:
        """Return how many keys ``invalidate_pattern`` would make the fleet forget, and change nothing."""
        runtime = self._here()
        return runtime.run(runtime.cache.count(pattern, version=version))

    def drop_version(self, version: int, *, progress: Progress | None = None) -> int | None:
        """Delete all entries of this version or an older one; return how many. ``progress`` runs on the loop."""
        runtime = self._here()
        return runtime.run(runtime.cache.drop_version(version, progress=progress))

    def invalidate_pattern(
        self, pattern: str, *, all_namespaces: bool = False, progress: Progress | None = None
    ) -> int | None:
        """Make every tier forget all keys that match; return how many Redis had. ``progress`` runs on the loop."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate_pattern(pattern, all_namespaces=all_namespaces, progress=progress))

    def clear(self) -> bool:
        """Make every tier forget the whole namespace; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.clear())
