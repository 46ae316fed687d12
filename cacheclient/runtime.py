"""One process's half of a ``Cache``: the background loop, and who opens and closes it.

Fork-safe: loop and sockets belong to the process that opened them. A cache that was opened before a fork opens itself
anew in the child when it is first used there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, Self, TypeVar

from cacheclient.cache import AsyncCache
from cacheclient.crossing import Crossing
from cacheclient.errors import ClosedError
from cacheclient.loaders import LoaderThreads
from cacheclient.options import CacheOptions
from cacheclient.remote import Lanes
from cacheclient.turns import new_loop

T = TypeVar("T")  # of a cache's values
R = TypeVar("R")
V = TypeVar("V")


class _Call(Generic[R]):
    """A coroutine that a thread waits for. An interrupt may come before the thread knows whether the loop has it."""

    def __init__(self, coroutine: Coroutine[Any, Any, R]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._given_up = self.over = False

    async def run(self) -> R:
        self._task = asyncio.current_task()
        try:
            if self._given_up:
                self.refuse()
                raise asyncio.CancelledError
            return await self._coroutine
        finally:
            self.over = True

    def refuse(self) -> None:
        self.over = True
        self._coroutine.close()

    def give_up(self) -> None:
        """Cancel it, now or when it begins. Runs on the loop."""
        self._given_up = True
        if self._task is not None:
            self._task.cancel()


class Runtime:
    """One process's half of a cache: the background loop, the threads for loaders, and the AsyncCache living there."""

    def __init__(self, build: Callable[[], AsyncCache[Any]], loaders: int) -> None:
        self.loop, self._turn = new_loop()
        self.loaders = LoaderThreads(loaders)
        self._lanes: Lanes | None = None
        self._thread = threading.Thread(target=self._run, name="cacheclient-loop", daemon=True)
        self._thread.start()
        self._closing = threading.Lock()
        self._closed = False
        try:
            self.cache = self.run(self._start(build))
            self.crossing = Crossing(self.loop, self._turn, self.cache._parts.reader, self._lanes)  # noqa: SLF001  of one package
        except BaseException:
            self._stop()
            raise

    def _run(self) -> None:
        with self._turn:
            self.loop.run_forever()

    async def _start(self, build: Callable[[], AsyncCache[Any]]) -> AsyncCache[Any]:
        cache = build()  # inside the loop: futures and events belong to it
        lanes = cache._parts.shared.lanes  # noqa: SLF001  of one package
        if lanes is not None:
            self._lanes = lanes()
        await cache.start()
        return cache

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run ``coroutine`` on the background loop and wait for it; an interrupt cancels it.

        Raises:
            ClosedError: if another thread has closed the cache.
        """
        call = _Call(coroutine)
        try:
            return self._submit(call).result()
        except BaseException:
            if not call.over:
                with contextlib.suppress(RuntimeError):  # the loop has been closed
                    self.loop.call_soon_threadsafe(call.give_up)
            raise

    def _submit(self, call: _Call[R]) -> concurrent.futures.Future[R]:
        with self._closing:  # what is accepted here, close() waits for; a loop that has stopped would never answer
            if self._closed:
                call.refuse()
                raise ClosedError("the cache is closed")
            return asyncio.run_coroutine_threadsafe(call.run(), self.loop)

    def in_thread(self, load: Callable[[V], R]) -> Callable[[V], Awaitable[R]]:
        """Return ``load`` as the caches want it: run in the pool, so that the loop never waits for it."""

        async def loaded(wanted: V) -> R:
            return await self.loop.run_in_executor(self.loaders, load, wanted)

        return loaded

    def close(self) -> None:
        """Close the cache, end what other threads still wait for, and stop the loop."""
        with self._closing:
            self._closed = True
        self.crossing.refuse()
        try:
            asyncio.run_coroutine_threadsafe(self._end_lanes(), self.loop).result()
            self.crossing.rest()
            asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result()
            if self._lanes is not None:
                self._lanes.wait_closed()
        finally:
            self._stop()
            self.crossing.sweep()

    async def _end_lanes(self) -> None:
        if self._lanes is not None:
            self._lanes.close()

    async def _drain(self) -> None:
        await self.cache.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    def _stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.loaders.shutdown()


class Threads(Generic[T]):
    """One cache of threads, opened and closed; what can be asked of it is in the classes below this one."""

    def __init__(self, build: Callable[[], AsyncCache[Any]], options: CacheOptions | None = None) -> None:
        """Prepare a cache around ``build``, which is called once in each process that uses it."""
        self._build = build
        self._loaders = (options or CacheOptions()).lock.max_unleased
        self._runtime: Runtime | None = None
        self._inherited: Runtime | None = None
        self._lock = threading.Lock()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forked(this()))

    def start(self) -> None:
        """Open the cache in this process; waits at most ``l2.connect_timeout`` for Redis, which may be away."""
        with self._lock:
            if self._runtime is not None:
                raise ClosedError("the cache is open already")
            self._runtime = Runtime(self._build, self._loaders)

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

    def _here(self) -> Runtime:
        """Return this process's runtime; after a fork open one."""
        runtime = self._runtime
        if runtime is not None:
            return runtime
        with self._lock:
            if self._runtime is None:
                if self._inherited is None:
                    raise ClosedError("the cache is not open: use it inside `with`, or call start()")
                self._runtime = Runtime(self._build, self._loaders)
            return self._runtime

    def forget_parent(self) -> None:
        """Called in a forked child: the parent's loop does not run here, and its sockets are not ours."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._inherited, self._runtime = self._runtime or self._inherited, None
        if self._inherited is not None:
            self._inherited.cache.disown()


def _forked(cache: Threads[Any] | None) -> None:
    if cache is not None:
        cache.forget_parent()
