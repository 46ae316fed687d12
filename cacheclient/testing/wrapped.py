"""A store behind something that may go wrong."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from cacheclient.remote import Take, fetched
from cacheclient.testing.answers import Answers

_AT_ONCE: Final = frozenset({"publish"})  # nobody waits for these


class Wrapped(ABC):
    """Passes every call on to ``inner``, a Store or a LockStore, through ``_through``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._answers = Answers()

    @abstractmethod
    async def _through(self, name: str, execute: Callable[[], Awaitable[Any]]) -> Any:
        """Carry out one call."""

    def fetch(self, keys: Sequence[str], take: Take) -> None:
        """Read: one call, whatever the number of keys."""
        self._answers.give(keys, take, self._through("fetch", lambda: self._fetched(keys)))

    async def _fetched(self, keys: Sequence[str]) -> list[bytes | None]:
        found = await fetched(self._inner, keys)
        return [found[key] for key in keys]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not callable(method) or name in _AT_ONCE:
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._through(name, lambda: method(*args, **kwargs))

        async def each(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            steps = method(*args, **kwargs)
            while True:
                try:
                    step = await self._through(name, lambda: anext(steps))
                except StopAsyncIteration:
                    return
                yield step

        return each if inspect.isasyncgenfunction(method) else call
