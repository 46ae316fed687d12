"""Threads for the loaders of a ``Cache``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final

_Task = tuple["Future[Any]", Callable[[], Any]]
_numbers: Final = count(1)


class LoaderThreads(Executor):
    """At most ``size`` threads, started when they are needed.

    Unlike those of ThreadPoolExecutor they are daemons: at its end the interpreter waits for every thread that is not,
    so that a loader which hangs would keep a program alive that was told to end, by Ctrl-C for one.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._starting = threading.Lock()
        self._started = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have ``fn`` called in a thread; the returned future holds what becomes of it."""
        future: Future[Any] = Future()
        self._tasks.put((future, partial(fn, *args, **kwargs)))
        if not self._idle.acquire(blocking=False):
            self._start_another()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """Let the threads end when their loaders do; what has not begun is cancelled. Nobody waits for them."""
        while True:
            try:
                task = self._tasks.get_nowait()
            except Empty:
                break
            if task is not None:
                task[0].cancel()
        for _ in range(self._started):
            self._tasks.put(None)

    def _start_another(self) -> None:
        with self._starting:
            if self._started == self._size:
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"cacheclient-loader-{next(_numbers)}", daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  it is the caller's, whatever it is
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del task, future, call  # an idle thread holds on to nobody's result
            self._idle.release()
