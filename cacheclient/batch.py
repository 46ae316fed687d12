"""Many loads, one call: the loader of ``get_or_load_many``.

Each missing key gets its own flight and lease, so that everything that holds for one load holds for these. Their loads
meet here: the first opens a batch, and those that arrive before the event loop has gone quiet for a moment travel with
it. The answers to all lease requests of one tick arrive together, so that in practice this is one call; keys for whose
lease somebody else must first be waited for come later, in a batch of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from cacheclient.missing import MISSING, Missing

T = TypeVar("T")
ManyLoader = Callable[[Sequence[str]], Awaitable[Mapping[str, T | Missing | Exception]]]
_QUIET: Final = 0.001  # seconds without another key after which the batch leaves


class Batch:
    """Collects keys and loads them together."""

    def __init__(self, load_many: ManyLoader[Any]) -> None:
        self._load_many = load_many
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, key: str) -> Any:
        """Return the value of ``key`` from the batch it travels with; raise its error."""
        loop = asyncio.get_running_loop()
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = loop.create_future()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(_QUIET, self._leave)
        return await future

    def _leave(self) -> None:
        waiting, self._waiting, self._timer = self._waiting, {}, None
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
