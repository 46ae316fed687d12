"""An event loop whose state other threads may use while it waits.

Everything that a loop runs, it runs in its turn: a lock that it holds except while it waits for something to happen. A
thread that takes the turn can do what a callback of the loop could, but for what wakes the loop: that takes
``call_soon_threadsafe``, as ever.

A loop with much to do gives its turn up for a moment only, in which a thread that waits has not even woken. So whoever
wants the turn queues first: the loop comes back behind the thread that has been waiting.
"""

from __future__ import annotations

import asyncio
import selectors
import threading


class Turn:
    """A lock that is passed on in order: who gives it up and wants it back waits for who wanted it before."""

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._next = threading.Lock()

    def acquire(self) -> None:
        """Wait for it."""
        with self._next:
            self._held.acquire()

    def release(self) -> None:
        """Give it up."""
        self._held.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._held.release()


class _Selector(selectors.DefaultSelector):
    """Gives up the turn while it waits. Who starts the loop must have it."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turn.release()
        try:
            return super().select(timeout)
        finally:
            self._turn.acquire()


def new_loop() -> tuple[asyncio.AbstractEventLoop, Turn]:
    """Return a loop and its turn.

    It is asyncio's own: uvloop's, which is quicker, waits where nobody can step in.
    """
    turn = Turn()
    return asyncio.SelectorEventLoop(_Selector(turn)), turn
