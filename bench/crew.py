"""Processes that take part in a measurement: each runs one actor on its own event loop and does what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from multiprocessing.connection import Connection
from typing import Any, Final

import uvloop

from bench.rounds import BenchError

_PATIENCE: Final = 180.0  # seconds for an answer
_READY: Final = "ready"
Make = Callable[[str], AbstractAsyncContextManager[Any]]


class Member:
    """One process. Its actor's methods are async and take and give plain values."""

    def __init__(self, make: Make, url: str) -> None:
        """Start the process; ``make(url)`` opens the actor there, so it must be a function of a module."""
        context = multiprocessing.get_context("spawn")  # a fork would share our sockets and loops
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, url), daemon=True)
        self._process.start()
        theirs.close()

    def tell(self, method: str, *arguments: Any) -> None:
        """Ask for something without waiting for the answer."""
        self._line.send((method, arguments))

    async def answer(self) -> Any:
        """Return the next answer.

        Raises:
            BenchError: if the actor raised, the process ended, or nothing came in time.
        """
        if not await asyncio.to_thread(self._line.poll, _PATIENCE):
            raise BenchError(f"a process of the bench did not answer in {_PATIENCE:g} s")
        try:
            answer = self._line.recv()
        except EOFError:
            raise BenchError("a process of the bench ended; its error is above") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Ask and return the answer."""
        self.tell(method, *arguments)
        return await self.answer()

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._line.send(None)
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._line.close()


@contextlib.asynccontextmanager
async def crew(size: int, make: Make, url: str) -> Any:
    """Give ``size`` members whose actors are open; stop them in the end."""
    members = [Member(make, url) for _ in range(size)]
    try:
        for member in members:
            await member.answer()
        yield members
    finally:
        for member in members:
            member.stop()


def _serve(line: Connection, make: Make, url: str) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_act(line, make, url))


async def _act(line: Connection, make: Make, url: str) -> None:
    async with make(url) as actor:
        line.send(_READY)
        while (order := await asyncio.to_thread(_next, line)) is not None:
            method, arguments = order
            try:
                line.send(await getattr(actor, method)(*arguments))
            except Exception as error:  # noqa: BLE001  the parent raises it
                line.send(BenchError(f"{type(error).__name__} in a process of the bench: {error}"))


def _next(line: Connection) -> Any:
    try:
        return line.recv()
    except EOFError:  # the parent is gone
        return None
