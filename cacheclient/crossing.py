"""The way of a thread's read to the event loop and back: a deque, one wake-up for many, and a lock for each thread.

Theory of operation. A thread that L1 did not answer appends its key to a deque and waits. The loop is woken only if it
is not about to look anyway; then it takes all there is into one batch of the Reader (see ``reading``), which leaves at
once. A thread waits on a lock of its own, which the loop releases when it has put the answer beside it: a semaphore of
the operating system and nothing else, where a ``concurrent.futures.Future`` with a task behind it takes a condition
variable, three objects and two more turns of the loop.

A thread that is interrupted while it waits leaves its ticket behind and takes another the next time: the loop may
still answer the old one, and nobody would look at it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from cacheclient.errors import ClosedError
from cacheclient.reading import Found, Reader


class _Ticket:
    """One thread's place to wait: a ``reading.Waiter``, used again for each of its reads."""

    __slots__ = ("found", "key", "turn")

    def __init__(self) -> None:
        self.key = ""
        self.found: Found | None = None  # None: the cache was closed
        self.turn = threading.Lock()
        self.turn.acquire()

    def done(self) -> bool:
        return False  # whether its thread still waits cannot be known here, and does not matter

    def set_result(self, found: Found | None) -> None:
        self.found = found
        self.turn.release()


class Crossing:
    """The reads of all threads of one process on their way to one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: Reader) -> None:
        self._loop = loop
        self._reader = reader
        self._asked: deque[_Ticket] = deque()
        self._awake = False  # whether the loop will look into the deque anyway
        self._closed = False
        self._tickets = threading.local()

    def read(self, key: str) -> Found:
        """Read ``key`` as ``Reader.read`` does; blocks the calling thread, which must not be the loop's.

        Raises:
            ConfigurationError: if it cannot be a key.
            ClosedError: if another thread has closed the cache.
        """
        full = self._reader.full(key)
        ticket: _Ticket | None = getattr(self._tickets, "free", None)
        if ticket is None:
            ticket = _Ticket()
        else:
            self._tickets.free = None
        ticket.key = full
        self._asked.append(ticket)
        if self._closed:  # looked at after the append, as `sweep` looks into the deque after this was set
            raise ClosedError("the cache is closed")
        if not self._awake:  # two threads may both find it so: one wake-up too many does no harm
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._look)
            except RuntimeError as error:  # the loop was closed this very moment
                raise ClosedError("the cache is closed") from error
        ticket.turn.acquire()
        found = ticket.found
        self._tickets.free = ticket  # not if the wait was interrupted
        if found is None:
            raise ClosedError("the cache is closed")
        return found

    def refuse(self) -> None:
        """Refuse reads from now on."""
        self._closed = True

    def sweep(self) -> None:
        """End the reads that the loop never saw. Call it when the loop has stopped."""
        while self._asked:
            self._asked.popleft().set_result(None)

    def _look(self) -> None:
        """Take what threads ask for into one batch."""
        self._awake = False  # first: who comes during the rest wakes the loop again
        asked, join = self._asked, self._reader.join
        while asked:
            ticket = asked.popleft()
            join(ticket.key, ticket)
        self._reader.leave()
