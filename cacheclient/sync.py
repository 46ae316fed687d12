"""Cache: the same cache for threads (Flask, Django, scripts).

L1 hits are answered in the calling thread, without a lock. Everything else crosses to one background event loop per
process, where the reads of many threads travel together as those of many tasks do. Loaders are plain functions and run
in a thread pool, so that the loop never waits for them.

Fork-safe: loop and sockets belong to the process that opened them. A cache that was opened before a fork opens itself
anew in the child when it is first used there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from cacheclient.cache import AsyncCache
from cacheclient.connect import Settings, environment, target_of
from cacheclient.errors import ClosedError
from cacheclient.invalidation import Progress
from cacheclient.jobs import LoadOptions
from cacheclient.keys import KeySpace
from cacheclient.lock import Lock, LockSettings
from cacheclient.missing import ABSENT, MISSING, Missing
from cacheclient.options import CacheOptions
from cacheclient.reading import Entry
from cacheclient.stats import Stats

T = TypeVar("T")  # of a cache's values
D = TypeVar("D")
R = TypeVar("R")
V = TypeVar("V")


class _Runtime:
    """One process's half of a cache: the background loop, the threads for loaders, and the AsyncCache living there."""

    def __init__(self, build: Callable[[], AsyncCache[Any]], loaders: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.loaders = ThreadPoolExecutor(loaders, thread_name_prefix="cacheclient-loader")
        self._thread = threading.Thread(target=self.loop.run_forever, name="cacheclient-loop", daemon=True)
        self._thread.start()
        self._closing = threading.Lock()
        self._closed = False
        try:
            self.cache = self.run(self._start(build))
        except BaseException:
            self._stop()
            raise

    @staticmethod
    async def _start(build: Callable[[], AsyncCache[Any]]) -> AsyncCache[Any]:
        cache = build()  # inside the loop: futures and events belong to it
        await cache.start()
        return cache

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run ``coroutine`` on the background loop and wait for it; an interrupt cancels it.

        Raises:
            ClosedError: if another thread has closed the cache.
        """
        with self._closing:  # what is accepted here, close() waits for; a loop that has stopped would never answer
            if self._closed:
                coroutine.close()
                raise ClosedError("the cache is closed")
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def in_thread(self, load: Callable[[V], R]) -> Callable[[V], Awaitable[R]]:
        """Return ``load`` as the caches want it: run in the pool, so that the loop never waits for it."""

        async def loaded(wanted: V) -> R:
            return await self.loop.run_in_executor(self.loaders, load, wanted)

        return loaded

    def close(self) -> None:
        """Close the cache, end what other threads still wait for, and stop the loop."""
        with self._closing:
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result()
        finally:
            self._stop()

    async def _drain(self) -> None:
        await self.cache.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    def _stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.loaders.shutdown(wait=False, cancel_futures=True)


class Cache(Generic[T]):
    """A two-tier cache for threads. Open it with ``with``, or call ``start`` and ``close``.

    Values that L1 returns are shared between callers: treat them as read-only. See AsyncCache for what each method
    promises; the methods here block the calling thread.
    """

    def __init__(self, build: Callable[[], AsyncCache[Any]], options: CacheOptions | None = None) -> None:
        """Prepare a cache around ``build``, which is called once in each process that uses it."""
        self._build = build
        self._loaders = (options or CacheOptions()).lock.max_unleased
        self._runtime: _Runtime | None = None
        self._inherited: _Runtime | None = None
        self._lock = threading.Lock()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(this()))

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

    def start(self) -> None:
        """Open the cache in this process; waits at most ``l2.connect_timeout`` for Redis, which may be away."""
        with self._lock:
            if self._runtime is not None:
                raise ClosedError("the cache is open already")
            self._runtime = _Runtime(self._build, self._loaders)

    def close(self) -> None:
        """Close what this process opened. Twice is fine."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
            self._inherited = None
        if runtime is not None:
            runtime.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_runtime", None) is not None:
            warnings.warn("a cacheclient.Cache was never closed", ResourceWarning, source=self, stacklevel=2)

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
        runtime = self._here()
        return runtime.run(runtime.cache.get(key, default))

    def get_many(self, keys: Iterable[str]) -> dict[str, T]:
        """Return the values of those ``keys`` that are cached."""
        runtime = self._here()
        return runtime.run(runtime.cache.get_many(keys))

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
        if runtime is not None:
            value = runtime.cache.peek(key)
            if value is not ABSENT:
                return value
        runtime = self._here()
        return runtime.run(runtime.cache.get_or_load(key, runtime.in_thread(load), **options))

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

    def set(self, key: str, value: T, *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
        """Store ``value``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.set(key, value, ttl=ttl, tags=tags))

    def set_many(self, values: Mapping[str, T], *, ttl: float | None = None, tags: Iterable[str] = ()) -> bool:
        """Store several values; return whether Redis acknowledged all of them."""
        runtime = self._here()
        return runtime.run(runtime.cache.set_many(values, ttl=ttl, tags=tags))

    def invalidate(self, key: str, *, durable: bool = False) -> bool:
        """Make every tier of the fleet forget ``key``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate(key, durable=durable))

    def invalidate_tag(self, tag: str) -> bool:
        """Make every tier forget all entries that carry ``tag``; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate_tag(tag))

    def invalidate_pattern(self, pattern: str, *, progress: Progress | None = None) -> int | None:
        """Make every tier forget all keys that match; return how many Redis had. ``progress`` runs on the loop."""
        runtime = self._here()
        return runtime.run(runtime.cache.invalidate_pattern(pattern, progress=progress))

    def clear(self) -> bool:
        """Make every tier forget the whole namespace; return whether Redis acknowledged it."""
        runtime = self._here()
        return runtime.run(runtime.cache.clear())

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

    @property
    def space(self) -> KeySpace:
        """The namespace and version."""
        return self._here().cache.space

    def stats(self) -> Stats:
        """Return a snapshot of all counters."""
        return self._here().cache.stats()

    def _here(self) -> _Runtime:
        """Return this process's runtime; after a fork open one."""
        runtime = self._runtime
        if runtime is not None:
            return runtime
        with self._lock:
            if self._runtime is None:
                if self._inherited is None:
                    raise ClosedError("the cache is not open: use it inside `with`, or call start()")
                self._runtime = _Runtime(self._build, self._loaders)
            return self._runtime

    def forget_parent(self) -> None:
        """Called in a forked child: the parent's loop does not run here, and its sockets are not ours."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._inherited, self._runtime = self._runtime or self._inherited, None
        if self._inherited is not None:
            self._inherited.cache.disown()


def _forked(cache: Cache[Any] | None) -> None:
    if cache is not None:
        cache.forget_parent()
