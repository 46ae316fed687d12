"""One RESP3 connection that nobody holds: the coalesced I/O of L2.

Theory of operation. Callers put commands in; all commands of one event-loop tick leave in one write, and all keys read
in that tick leave as one MGET, each distinct key once. Replies come back in order, so a queue of slots says whose turn
it is: 64 callers cost one system call, not 64.

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
Waiters = list["asyncio.Future[Any]"]
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
    """Who waits for one reply: the waiters of a command, or one list of waiters for each key of an MGET."""

    __slots__ = ("deadline", "many", "waiters")

    def __init__(self, waiters: list[Waiters], *, many: bool) -> None:
        self.deadline = 0.0  # set when the command leaves
        self.waiters = waiters
        self.many = many

    def answer(self, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.fail(refused(str(reply)), in_doubt=False)
            return
        for futures, value in zip(self.waiters, reply if self.many else (reply,), strict=True):
            for future in futures:
                if not future.done():  # its caller may have been cancelled, or told that time is up
                    future.set_result(value)

    def fail(self, error: UnavailableError, *, in_doubt: bool = True) -> None:
        for futures in self.waiters:
            for future in futures:
                if not future.done():
                    # One exception a caller: raised in several places, one object would grow its traceback for ever.
                    future.set_exception(UnavailableError(str(error), error.kind, in_doubt=in_doubt))


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
        self._reads: dict[str, Waiters] = {}
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
        if self._refuse(future):
            return future
        self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub wants a 1-tuple
        self._unsent.append(_Slot([[future]], many=False))
        self._plan_flush()
        return future

    def read(self, key: str) -> asyncio.Future[bytes | None]:
        """Send GET for ``key``, together with all other reads of this tick; the future gives the bytes or None."""
        future: asyncio.Future[bytes | None] = self._loop.create_future()
        if self._refuse(future):
            return future
        waiters = self._reads.get(key)
        if waiters is None:
            self._reads[key] = [future]
            self._plan_flush()
        else:
            waiters.append(future)
        return future

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

    def _refuse(self, future: asyncio.Future[Any]) -> bool:
        if self.closed.done():
            future.set_exception(UnavailableError("the connection is closed"))
        elif self._overdue:
            future.set_exception(timed_out(self._timeout))
        return future.done()

    def _plan_flush(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if self.closed.done() or self._transport is None:
            return
        reads, self._reads = self._reads, {}
        keys, waiters, size = list(reads), list(reads.values()), self._login.max_batch
        for start in range(0, len(keys), size):
            chunk = keys[start : start + size]
            many = len(chunk) > 1
            self._out.append(hiredis.pack_command(("MGET" if many else "GET", *chunk)))  # type: ignore[arg-type]
            self._unsent.append(_Slot(waiters[start : start + size], many=many))
        self._transport.write(b"".join(self._out))
        self._out.clear()
        self._expect()

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
        for slot in (*self._unsent, _Slot(list(self._reads.values()), many=True)):
            slot.fail(error, in_doubt=False)
        for queue in (self._slots, self._unsent, self._out, self._reads):
            queue.clear()
