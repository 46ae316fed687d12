"""Cache: the same cache for threads (Flask, Django, scripts).

L1 hits are answered in the calling thread, without a lock. Everything else crosses to one background event loop per
process, where the reads of many threads travel together as those of many tasks do. Loaders are plain functions and run
in a thread pool, so that the loop never waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

from cacheclient.cache import AsyncCache
from cacheclient.connect import Settings, target_of
from cacheclient.decorators import Cached, sync_cached
from cacheclient.environment import environment
from cacheclient.jobs import KeepOptions, LoadOptions
from cacheclient.keys import KeySpace
from cacheclient.lock import Lock, LockSettings
from cacheclient.migration import Migration, PlanOptions
from cacheclient.missing import ABSENT, MISSING, Missing
from cacheclient.provenance import Entry
from cacheclient.ratelimit import LimiterSettings, PlainLimits, RateLimiter
from cacheclient.remote import Holder
from cacheclient.runtime import T
from cacheclient.stats import Stats
from cacheclient.sync_writes import SyncWrites

if TYPE_CHECKING:
    from cacheclient.explain import Explanation
    from cacheclient.findings import Report

D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


class Cache(SyncWrites[T]):
    """A two-tier cache for threads. Open it with ``with``, or call ``start`` and ``close``.

    Values that L1 returns are shared between callers: treat them as read-only. See AsyncCache for what each method
    promises; the methods here block the calling thread.
    """

    @overload
    @classmethod
    def from_url(
        cls, url: str, *, namespace: str, version: int = 1, type: type[V], **settings: Unpack[Settings]
    ) -> Cache[V]: ...
    @overload
    @classmethod
    def from_url(
        cls, url: str, *, namespace: str, version: int = 1, type: Any = Any, **settings: Unpack[Settings]
    ) -> Cache[Any]: ...
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str,
        version: int = 1,
        type: Any = Any,  # noqa: A002  the word msgspec and the field use
        **settings: Unpack[Settings],
    ) -> Cache[Any]:
        """Return a cache, not yet open; the parameters are those of ``AsyncCache.from_url``.

        Raises:
            ConfigurationError: if any of this cannot work.
        """
        target, rest = target_of(url, settings)

        def build() -> AsyncCache[Any]:
            return AsyncCache(target, namespace=namespace, version=version, type=type, **rest)

        build()  # what cannot work is refused here, not when the first process starts
        return cls(build, rest["options"])

    @overload
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: type[V]) -> Cache[V]: ...
    @overload
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: Any = Any) -> Cache[Any]: ...
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: Any = Any) -> Cache[Any]:  # noqa: A002
        """Return the cache that the environment describes (``contract.Env``).

        Raises:
            ConfigurationError: if a variable is missing or cannot be used.
        """
        return cls.from_url(type=type, **environment(environ))

    @overload
    def get(self, key: str) -> T | None: ...
    @overload
    def get(self, key: str, default: D) -> T | D: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        runtime = self._runtime
        if runtime is not None:
            value = runtime.cache.peek(key)
            if value is not ABSENT:
                return default if value is MISSING else value
        stored, fresh = self._here().crossing.read(key)
        value = stored.value if stored is not None and fresh else MISSING
        return default if value is MISSING else value

    def get_many(self, keys: Iterable[str]) -> dict[str, T]:
        """Return the values of those ``keys`` that are cached."""
        runtime = self._here()
        return runtime.run(runtime.cache.get_many(keys))

    def exists(self, key: str) -> bool:
        """Return whether ``key`` has a value that ``get`` would return; counts as a lookup, and fills L1 as one."""
        runtime = self._here()
        return runtime.run(runtime.cache.exists(key))

    def delete(self, key: str) -> bool:
        """Invalidate ``key``, and return whether it had a value just before, at the price of a lookup more."""
        runtime = self._here()
        return runtime.run(runtime.cache.delete(key))

    @overload
    def get_or_load(self, key: str, load: Callable[[str], T], **options: Unpack[LoadOptions]) -> T: ...
    @overload
    def get_or_load(
        self, key: str, load: Callable[[str], T | Missing], **options: Unpack[LoadOptions]
    ) -> T | Missing: ...
    def get_or_load(self, key: str, load: Callable[[str], Any], **options: Unpack[LoadOptions]) -> Any:
        """Return the value of ``key``; if no tier has it, call ``load(key)`` once in the fleet and keep it.

        A thread cannot be stopped: a loader that passes its time limit goes on in the pool, but its result is thrown
        away and the key is free for the next caller. The arguments are those of ``AsyncCache.get_or_load``.

        Raises:
            LoadTimeoutError: if the loader took more than ``lock.load_timeout``.
            CodecError: if the loaded value cannot be encoded.
        """
        runtime = self._runtime
        if runtime is not None and not options.get("fresh"):
            value = runtime.cache.peek(key)
            if value is not ABSENT:
                return value
        runtime = self._here()
        cache, loaded = runtime.cache, runtime.in_thread(load)
        if options.get("fresh"):
            return runtime.run(cache.get_or_load(key, loaded, **options))
        began = perf_counter()
        found = runtime.crossing.read(key)
        if cache._settles(found):  # noqa: SLF001  the two faces of one cache
            return found[0].value
        return runtime.run(cache._beyond_l2(found, began, key, loaded, **options))  # noqa: SLF001

    def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[Sequence[str]], Mapping[str, T | Missing | Exception]],
        **options: Unpack[LoadOptions],
    ) -> dict[str, T | Missing | Exception]:
        """Return a value, or the exception of its load, for each of ``keys``; what is missing is loaded in one call."""
        runtime = self._here()
        return runtime.run(runtime.cache.get_or_load_many(keys, runtime.in_thread(load_many), **options))

    def get_entry(self, key: str) -> Entry[T] | None:
        """Return the value of ``key`` with its provenance, or None."""
        runtime = self._here()
        return runtime.run(runtime.cache.get_entry(key))

    def cached(
        self, template: str, *, ignore: Collection[str] = (), **options: Unpack[KeepOptions]
    ) -> Callable[[Callable[P, R]], Cached[P, R]]:
        """Decorate a plain function, so that its results are cached; see ``AsyncCache.cached``.

        Raises:
            ConfigurationError: if the template does not fit the function, or an option cannot be.
        """
        return lambda function: sync_cached(self, function, template, ignore, options)

    def migrate(self, old_version: int, **plan: Unpack[PlanOptions]) -> Migration:
        """Copy the entries of ``old_version`` to this cache's version; see ``AsyncCache.migrate``.

        ``transform`` and ``progress`` run on the cache's event loop, not in the calling thread.
        """
        runtime = self._here()
        return runtime.run(runtime.cache.migrate(old_version, **plan))

    @contextlib.contextmanager
    def lock(self, name: str, **settings: Unpack[LockSettings]) -> Iterator[Lock]:
        """Hold the distributed lock ``name``; see ``AsyncCache.lock``. Gives the Lock, to read ``token`` and ``lost``.

        Raises:
            LockTimeoutError: if it was not to be had in time.
            LockLostError: at the end, if it was lost meanwhile.
        """
        runtime = self._here()
        held = runtime.cache.lock(name, **settings)
        runtime.run(held.__aenter__())
        try:
            yield held
        except BaseException as error:
            runtime.run(held.__aexit__(type(error), error, error.__traceback__))
            raise
        runtime.run(held.__aexit__(None, None, None))

    def lock_holder(self, name: str) -> Holder | None:
        """Return who holds the lock ``name`` now, None if nobody does."""
        runtime = self._here()
        return runtime.run(runtime.cache.lock_holder(name))

    def rate_limiter(self, name: str, limit: PlainLimits = None, **settings: Unpack[LimiterSettings]) -> RateLimiter:
        """Return a limiter of how often each subject may do ``name`` in the fleet; see ``AsyncCache.rate_limiter``.

        It may be made before the cache is opened. A function as ``limit`` is a plain one, run in the calling thread.

        Raises:
            ConfigurationError: if an argument cannot be.
        """
        return RateLimiter(self._here, name, limit, **settings)

    def explain(self, key: str) -> Explanation:
        """Return what each tier holds of ``key`` now, and what a lookup would find. Changes and counts nothing."""
        runtime = self._here()
        return runtime.run(runtime.cache.explain(key))

    def doctor(self) -> Report:
        """Look at everything this cache stands on; see ``AsyncCache.doctor``."""
        runtime = self._here()
        return runtime.run(runtime.cache.doctor())

    @property
    def space(self) -> KeySpace:
        """The namespace and version."""
        return self._here().cache.space

    def stats(self) -> Stats:
        """Return a snapshot of all counters."""
        return self._here().cache.stats()
