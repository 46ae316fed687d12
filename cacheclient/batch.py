"""Many loads, one call: the loader of ``get_or_load_many``.

Each missing key gets its own flight and lease, so that everything that holds for one load holds for these. Their loads
meet here, and travel together as soon as every key is decided: it has its value, or it is to be loaded. A key whose
lease somebody else holds may take long to decide. The others do not wait for it longer than a moment; if it is to be
loaded after all, that is a call of its own. Refreshes behind values that were returned gather for a moment, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from cacheclient.missing import MISSING, Missing

T = TypeVar("T")
R = TypeVar("R")
ManyLoader = Callable[[Sequence[str]], Awaitable[Mapping[str, T | Missing | Exception]]]
_QUIET: Final = 0.005  # seconds without another decision after which the batch leaves


class Batch:
    """Collects keys and loads them together."""

    def __init__(self, load_many: ManyLoader[Any]) -> None:
        self._load_many = load_many
        self._undecided: set[str] = set()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def gather(self, calls: Sequence[tuple[str, Callable[[], Awaitable[R]]]]) -> list[R | BaseException]:
        """Make each call, which may ``load`` the key beside it; return the answers, or exceptions, in their order."""
        self._undecided = {key for key, _ in calls}

        async def answer(key: str, call: Callable[[], Awaitable[R]]) -> R:
            try:
                return await call()
            finally:
                self._decided(key)

        return await asyncio.gather(*(answer(key, call) for key, call in calls), return_exceptions=True)

    async def load(self, key: str) -> Any:
        """Return the value of ``key`` from the batch it travels with; raise its error."""
        loop = asyncio.get_running_loop()
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = loop.create_future()
        if key in self._undecided:
            self._decided(key)
        else:  # its caller has a value, and it is refreshed behind that
            self._plan()
        return await future

    def _decided(self, key: str) -> None:
        """Take note that ``key`` has its answer, or is to be loaded. Twice is fine."""
        if key not in self._undecided:
            return
        self._undecided.remove(key)
        if not self._undecided:
            self._leave()
        elif self._waiting:
            self._plan()

    def _plan(self) -> None:
        """Leave when nothing more has come for a moment."""
        self._unplan()
        self._timer = asyncio.get_running_loop().call_later(_QUIET, self._leave)

    def _unplan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._unplan()
        waiting, self._waiting = self._waiting, {}
        wanted = {key: future for key, future in waiting.items() if not future.done()}
        if wanted:
            task = asyncio.create_task(self._answer(wanted), name="cacheclient-batch")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

            def given_up(_: object) -> None:
                if all(future.done() for future in wanted.values()):
                    task.cancel()  # nobody waits any more: the time limit of each load ends the loader, too

            for future in wanted.values():
                future.add_done_callback(given_up)

    async def _answer(self, waiting: dict[str, asyncio.Future[Any]]) -> None:
        """Call the loader; give each key its value, MISSING if it was left out, or the error."""
        try:
            values = await self._load_many(list(waiting))
            answers = [values.get(key, MISSING) for key in waiting]
        except BaseException as error:
            for future in waiting.values():
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for future, value in zip(waiting.values(), answers, strict=True):
            if not future.done():
                future.set_exception(value) if isinstance(value, Exception) else future.set_result(value)
