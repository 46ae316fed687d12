"""``Store.fetch`` for stores whose every call is a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from cacheclient.errors import UnavailableError
from cacheclient.remote import Take


class Answers:
    """The answers that are still to come."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def give(self, keys: Sequence[str], take: Take, asked: Awaitable[Sequence[bytes | None]]) -> None:
        """Have ``take`` called with what ``asked`` gives, or with its UnavailableError."""
        task = asyncio.create_task(self._answer(keys, take, asked), name="cacheclient-answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, keys: Sequence[str], take: Take, asked: Awaitable[Sequence[bytes | None]]) -> None:
        try:
            values = await asked
        except UnavailableError as error:
            take(keys, error)
        else:
            take(keys, values)
