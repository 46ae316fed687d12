"""One RESP3 connection that nobody holds: the coalesced I/O of L2.

Theory of operation. Callers put commands in; all commands of one event-loop tick leave in one write. Replies come back
in order, so a queue of slots says whose turn it is: 64 callers cost one system call, not 64. A slot calls back, at the
moment its reply is parsed, with the reply or with the error in its place: a future in between would cost a turn of the
event loop. ``call`` puts a future behind it for those who want to wait.

Time limits are kept per slot by one timer on the oldest. An overdue slot fails its callers and stays in the queue,
because its reply may still come. While one is overdue, new commands fail at once: behind it they could only be later
still. That is the circuit breaker for a hung Redis. A connection that stays silent past ``stall`` seconds is closed,
and the pipe's owner opens another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, Self

import hiredis

from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address, fresh
from cacheclient.remote.replies import refused, timed_out

Argument = bytes | str | int
Answered = Callable[[Any], None]  # takes the reply, or the UnavailableError in its place
_INCOMPLETE: Final = object()  # False is a RESP3 value, so it cannot mean "not yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who connects, and the seconds a connection (``connect_timeout``) and a command (``timeout``) may take."""

    username: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    database: int = 0
    name: str = "cachestack"
    ssl: SSLContext | None = None
    connect_timeout: float = 1.0
    timeout: float = 0.05
    max_batch: int = 128

    def auth(self) -> tuple[str, ...]:
        """Return the words of HELLO that authenticate; the password of a file is read at every call."""
        password = fresh(self.password, self.password_file)
        return ("AUTH", self.username or "default", password) if password else ()


class _Slot:
    """Who is to be told of one reply."""

    __slots__ = ("answered", "deadline")

    def __init__(self, answered: Answered) -> None:
        self.deadline = 0.0  # set when the command leaves
        self.answered: Answered | None = answered  # None once told, be it that time is up

    def answer(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.fail(refused(str(reply)), in_doubt=False)
        elif self.answered is not None:
            self.answered(reply)
            self.answered = None

    def fail(self, error: UnavailableError, *, in_doubt: bool = True) -> None:
        answered, self.answered = self.answered, None
        if answered is not None:
            # One exception a caller: raised in several places, one object would grow its traceback for ever.
            answered(UnavailableError(str(error), error.kind, in_doubt=in_doubt))


class Pipe(asyncio.Protocol):
    """A connection to one Redis server. Made by ``open``; used from one event loop only.

    Attributes:
        closed: done when the connection has ended, whatever the reason.
    """

    def __init__(self, login: Login, on_push: Callable[[list[Any]], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._login = login
        self._timeout = login.connect_timeout  # of the handshake; then the commands' own
        self._on_push = on_push
        self._transport: asyncio.Transport | None = None
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._slots: deque[_Slot] = deque()
        self._out: list[bytes] = []
        self._unsent: list[_Slot] = []  # of the commands in _out
        self._flush_planned = False
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def open(cls, address: Address, login: Login, on_push: Callable[[list[Any]], None] | None = None) -> Self:
        """Connect, authenticate and switch to RESP3 (Redis 6 or newer, Valkey).

        Raises:
            UnavailableError: if that does not succeed within ``login.connect_timeout``.
        """
        pipe = cls(login, on_push)
        try:
            async with asyncio.timeout(login.connect_timeout):
                await pipe._loop.create_connection(lambda: pipe, address.host, address.port, ssl=login.ssl)
                await pipe.call("HELLO", 3, *login.auth(), "SETNAME", login.name)
                if login.database:
                    await pipe.call("SELECT", login.database)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name in the DNS
            pipe.close()
            raise UnavailableError(f"cannot connect to {address}: {str(error) or 'no answer in time'}") from error
        except BaseException:
            pipe.close()
            raise
        pipe._timeout = login.timeout
        return pipe

    def call(self, *command: Argument) -> asyncio.Future[Any]:
        """Send a command; the future gives its reply, or raises UnavailableError. SUBSCRIBE takes one channel."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def answered(reply: Any) -> None:
            if future.done():  # its caller was cancelled
                return
            if isinstance(reply, UnavailableError):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.send(command, answered)
        return future

    def send(self, command: tuple[Argument, ...], answered: Answered) -> None:
        """Send a command, and have ``answered`` called with its reply, or with the UnavailableError in its place.

        It may be called at once. What it raises is taken for a reply that breaks the protocol.
        """
        if self.closed.done():
            answered(UnavailableError("the connection is closed"))
        elif self._overdue:
            answered(timed_out(self._timeout))
        else:
            self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub wants a 1-tuple
            self._unsent.append(_Slot(answered))
            if not self._flush_planned:
                self._flush_planned = True
                self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Have what was sent leave now, not at the end of this event-loop tick."""
        self._flush_planned = False
        if not self._out or self.closed.done() or self._transport is None:
            return
        self._transport.write(b"".join(self._out))
        self._out.clear()
        self._expect()

    def close(self) -> None:
        """End the connection now; whoever waits gets UnavailableError."""
        if self._transport is not None:
            self._transport.abort()
        self._end("the connection was closed")

    # -- called by the event loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if self.closed.done():  # close() came first
            transport.close()
        self._transport = transport  # type: ignore[assignment]  # a TCP transport is a Transport

    def data_received(self, data: bytes) -> None:
        """Hand each complete reply to the slot whose turn it is, and each push to the owner."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                # A subscription is confirmed by a push in the place of a reply; a refusal is a reply.
                if isinstance(reply, hiredis.PushNotification) and reply[0] != b"subscribe":
                    if self._on_push is not None:
                        self._on_push(reply)
                else:
                    self._answer(reply)
        except (hiredis.ProtocolError, TypeError, ValueError) as error:  # not Redis at the other end, or out of step
            self._end(f"the connection broke the protocol: {error}")
            if self._transport is not None:
                self._transport.abort()
            return
        if self._overdue:  # a push or a part of a reply does not end the wait of the slot whose turn it is
            self._overdue = bool(self._slots) and self._slots[0].deadline <= self._loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self._end(f"the connection was lost: {exc or 'closed by Redis'}")

    # -- inside -------------------------------------------------------------------------------------------------------

    def _answer(self, reply: Any) -> None:
        if not self._slots:  # a server that has too many clients says so before anybody asks
            raise hiredis.ProtocolError(f"nobody asked for {reply}")
        self._slots[0].answer(reply)
        self._slots.popleft()  # last: should the answer not fit, its callers are failed with the others

    def _expect(self) -> None:
        """Start the time of the commands that have just left: what kept them here was not Redis."""
        deadline = self._loop.time() + self._timeout
        for slot in self._unsent:
            slot.deadline = deadline
        self._slots.extend(self._unsent)
        self._unsent.clear()
        if self._timer is not None and self._timer.when() > deadline:  # it was set for something longer
            self._unwatch()
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        """Fail every slot whose time is up; close the connection if the oldest has waited past the stall limit."""
        self._timer = None
        now = self._loop.time()
        if self._slots and now >= self._given_up():
            self.close()
            return
        for slot in self._slots:
            if slot.deadline > now:
                break
            self._overdue = True
            slot.fail(timed_out(self._timeout))
        self._watch()

    def _watch(self) -> None:
        """Set the timer on what happens next: a slot becomes overdue, or the oldest is given up."""
        if self._timer is not None or not self._slots:
            return
        now, given_up = self._loop.time(), self._given_up()
        due = next((slot.deadline for slot in self._slots if slot.deadline > now), given_up)
        self._timer = self._loop.call_at(min(due, given_up), self._expire)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _given_up(self) -> float:
        """Return when the oldest slot has waited so long that the connection is closed."""
        return self._slots[0].deadline + max(0.0, self._login.connect_timeout - self._timeout)

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(None)
        self._unwatch()
        error = UnavailableError(reason)
        for slot in self._slots:
            slot.fail(error)
        for slot in self._unsent:
            slot.fail(error, in_doubt=False)
        for queue in (self._slots, self._unsent, self._out):
            queue.clear()
