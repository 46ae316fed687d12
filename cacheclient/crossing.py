"""The way of a thread's read to Redis and back: several threads share a batch, and one of them carries it.

Theory of operation. A thread that L1 did not answer appends its ticket to a deque. If no thread leads, it does now: it
takes all the tickets there are into one batch of the Reader (see ``reading``), sends it over a connection that blocks
(``remote.lane``), settles the answer for everybody, and passes the lead on to a thread that has come meanwhile. What it
does before and after the I/O it does in the loop's turn (see ``turns``), by the same code and under the same rules as
the loop: journal, fences, L1, counters. So a thread that waits is woken once for its read, and the loop is not.

Threads that were answered together ask again together. If the last batch was larger than what is there, the leader
gives the interpreter away once before it takes the tickets; else they would travel in two halves for ever.

The loop takes the tickets instead where there is no lane and where nobody may lead, and it answers the batches that
failed: its pipe has the rules for time-outs and lost servers. One wake-up of the loop too many does no harm.

A thread waits on a lock of its own, which is released when the answer has been put beside it: a semaphore of the
operating system and nothing else, where a ``concurrent.futures.Future`` with a task behind it takes a condition
variable, three objects and two more turns of the loop.

Interrupts come to the main thread only, but anywhere in its code. So it never leads. When it is interrupted while it
waits, it leaves its ticket behind and takes another the next time: the old one may still be answered, to nobody.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from cacheclient.contract import ErrorType
from cacheclient.errors import ClosedError, UnavailableError
from cacheclient.reading import Reader, Unsure
from cacheclient.reads import Batch, Found
from cacheclient.remote import Lane, Lanes
from cacheclient.turns import Turn

_PATIENCE: Final = 1.0  # seconds after which a thread that waits has the loop look, whoever leads


class _Ticket:
    """One thread's place to wait: a ``reading.Waiter``, used again for each of its reads."""

    __slots__ = ("found", "key", "leads", "may_lead", "turn")

    def __init__(self) -> None:
        self.key = ""
        self.found: Found | None = None  # None: the cache was closed
        self.leads = False  # whether it was woken to lead, not by an answer
        self.may_lead = threading.current_thread() is not threading.main_thread()
        self.turn = threading.Lock()
        self.turn.acquire()

    def done(self) -> bool:
        return False  # whether its thread still waits cannot be known here, and does not matter

    def set_result(self, found: Found | None) -> None:
        self.found = found
        self.turn.release()


class Crossing:
    """The reads of all threads of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: Turn, reader: Reader, lanes: Lanes | None) -> None:
        """Prepare; ``turn`` is the loop's, and ``lanes`` are None where all reads go through the loop."""
        self._loop = loop
        self._turn = turn
        self._reader = reader
        self._lanes = lanes
        self._lead = threading.Lock()  # held while a thread leads; passed on with it
        self._asked: deque[_Ticket] = deque()  # taken from in the loop's turn only
        self._crowd = 0  # keys in the last batch: about so many threads are on their way back
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
        if self._lanes is None:
            self._wake()
        elif self._lead.acquire(blocking=False):
            if ticket.may_lead:
                self._carry(self._lanes)
            else:
                self._lead.release()
                self._wake()
        self._wait(ticket)
        found = ticket.found
        self._tickets.free = ticket  # not if the wait was interrupted
        if found is None:
            raise ClosedError("the cache is closed")
        return found

    def refuse(self) -> None:
        """Refuse reads from now on."""
        self._closed = True

    def rest(self) -> None:
        """Wait until nobody leads, nor ever will. Call it when reads are refused and no lane is left."""
        self._lead.acquire()

    def sweep(self) -> None:
        """End the reads that the loop never saw. Call it when the loop has stopped."""
        while self._asked:
            self._asked.popleft().set_result(None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the loop look."""
        if not self._awake:
            self._awake = True
            try:
                self._loop.call_soon_threadsafe(self._look)
            except RuntimeError as error:  # the loop was closed this very moment
                raise ClosedError("the cache is closed") from error

    def _wait(self, ticket: _Ticket) -> None:
        """Wait for the answer; lead meanwhile, when the lead is passed on to this thread."""
        while True:
            while not ticket.turn.acquire(timeout=_PATIENCE):
                self._wake()
            if not ticket.leads:
                return
            ticket.leads = False
            assert self._lanes is not None  # noqa: S101  nobody leads without
            self._carry(self._lanes, ticket)

    def _carry(self, lanes: Lanes, own: _Ticket | None = None) -> None:
        """Carry what threads ask for, and pass the lead on. ``own`` is the ticket that the lead came with."""
        asked, batch = self._asked, Batch()
        if len(asked) + (own is not None) < self._crowd:
            time.sleep(0)  # those answered last are awake, and most will ask again once they have the interpreter
        with self._turn:
            if own is not None:
                asked.appendleft(own)
            lane = lanes.take()
            if lane is None:
                self._lead.release()
                self._wake()
                return
            while asked and len(batch.first) < lane.max_batch:
                ticket = asked.popleft()
                batch.add(ticket.key, ticket)
            self._crowd = len(batch.first)
            keys = self._reader.depart(batch)
        try:
            values = lane.fetch(keys) if keys else []
        except UnavailableError as error:
            self._lose(lanes, lane, batch, keys, error)
            return
        self._arrive(lanes, lane, batch, keys, values)

    def _arrive(
        self, lanes: Lanes, lane: Lane, batch: Batch, keys: Sequence[str], values: Sequence[bytes | None]
    ) -> None:
        """Settle the answer, and pass the lead on."""
        unsure: Unsure = []
        with self._turn:
            ended = lane.ended  # with its link: then nothing says any more that this is the master
            try:
                if not ended:
                    unsure = self._reader.take(batch, keys, values)
            finally:
                lanes.give_back(lane)
                self._pass_on()
        if ended:
            self._leave_to_loop(batch, self._reader.send, keys)
        elif unsure:
            self._leave_to_loop(batch, self._reader.ask_for_tags, unsure)

    def _lose(self, lanes: Lanes, lane: Lane, batch: Batch, keys: Sequence[str], error: UnavailableError) -> None:
        """Have the loop answer what the lane did not, and pass the lead on."""
        late = error.kind is ErrorType.TIMEOUT
        with self._turn:
            lanes.give_back(lane, error if late else None, len(keys))
            self._pass_on()
        if late:
            self._leave_to_loop(batch, self._reader.arrive, keys, error)
        else:  # the loop's pipe may be sound, and has the rules for a server that is not
            self._leave_to_loop(batch, self._reader.send, keys)

    def _leave_to_loop(self, batch: Batch, then: Callable[..., None], *arguments: Any) -> None:
        """Have the loop settle the rest of ``batch``; if it has been closed, so has the cache."""
        try:
            self._loop.call_soon_threadsafe(then, batch, *arguments)
        except RuntimeError:
            for ticket in batch.everybody():
                ticket.set_result(None)  # type: ignore[arg-type]

    def _pass_on(self) -> None:
        """Have a thread that waits lead. If none may, nobody leads, and the loop looks after who waits."""
        asked = self._asked
        while True:
            for _ in range(len(asked)):
                ticket = asked.popleft()
                if ticket.may_lead:
                    ticket.leads = True
                    ticket.turn.release()
                    return
                asked.append(ticket)
            self._lead.release()
            if not any(ticket.may_lead for ticket in tuple(asked)):
                break
            if not self._lead.acquire(blocking=False):  # the one who came this moment leads
                return
        if asked:
            self._wake()

    def _look(self) -> None:
        """Take what threads ask for into one batch."""
        self._awake = False  # first: who comes during the rest wakes the loop again
        asked, join = self._asked, self._reader.join
        while asked:
            ticket = asked.popleft()
            join(ticket.key, ticket)
        self._reader.leave()
