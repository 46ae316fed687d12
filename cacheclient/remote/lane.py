"""A connection that a thread reads over by itself, without the event loop: see ``crossing``.

It is an offer, not a second way to do everything: it only reads, and its first failure is its last. Ending it shuts the
socket down, which ends a read in it, too; the descriptor is closed by whoever uses it last, because its number could be
another file's by the time a thread reads from it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

import hiredis

from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection
from cacheclient.remote.pipe import Argument, Login
from cacheclient.remote.replies import refused, timed_out

_CHUNK: Final = 128 * 1024  # bytes read at once
_TIMEVAL: Final = struct.Struct("@ll")
_INCOMPLETE: Final = object()
_BROKEN: Final = (OSError, hiredis.ProtocolError, ValueError)  # time-outs, ends, and what is not Redis


class Lane:
    """One connection in RESP3, used by one thread at a time.

    Attributes:
        connection: what it stands beside.
        busy: whether a thread uses it now.
        failed: whether a read over it did.
        ended: whether it must not be used, nor its answers believed, any more.
    """

    def __init__(self, connection: Connection, sock: socket.socket, login: Login) -> None:
        self.connection = connection
        self.busy = self.failed = self.ended = False
        self.max_batch = login.max_batch
        self._socket = sock
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._timeout = login.timeout

    @classmethod
    def open(cls, connection: Connection, login: Login) -> Lane:
        """Connect to the master of ``connection``; blocks for at most about ``login.connect_timeout``.

        Raises:
            UnavailableError: if that does not succeed, or the server is not a master.
        """
        address = connection.address
        try:
            sock = socket.create_connection((address.host, address.port), timeout=login.connect_timeout)
        except (OSError, UnicodeError) as error:
            raise UnavailableError(f"cannot connect to {address}: {error}") from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if login.ssl is not None:
                sock = login.ssl.wrap_socket(sock, server_hostname=address.host)
            lane = cls(connection, sock, login)
            lane._greet(login)
        except BaseException as error:
            sock.close()
            if isinstance(error, _BROKEN):
                raise UnavailableError(f"cannot connect to {address}: {error}") from error
            raise
        return lane

    def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        """MGET: return what is stored under each of ``keys``; blocks for at most about twice ``l2.timeout``.

        Raises:
            UnavailableError: if there is no such answer. Then the lane is not used again: an answer may still come.
        """
        try:
            return self._mget(keys)
        except UnavailableError:
            self.failed = True
            raise

    def end(self) -> None:
        """Use it no more. Whoever reads from it is told at once. Twice is fine."""
        self.ended = True
        with contextlib.suppress(OSError):  # it may have ended by itself
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # not TLS's own, which is not for another thread
        if not self.busy:
            self._socket.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _greet(self, login: Login) -> None:
        """Log in, as a pipe does, and look whether this is a master: the name may lead to another server by now."""
        self._call("HELLO", 3, *login.auth(), "SETNAME", login.name, seconds=login.connect_timeout)
        if login.database:
            self._call("SELECT", login.database, seconds=login.connect_timeout)
        role = self._call("ROLE", seconds=login.connect_timeout)
        if role[0] != b"master":
            raise UnavailableError(f"{self.connection.address} is {role[0].decode()}, not master")
        if login.ssl is not None:  # OpenSSL tries again by itself when the kernel says that time is up
            self._socket.settimeout(self._timeout)
            return
        # The kernel keeps the time: a time limit of Python's own costs one more system call with every read.
        self._socket.settimeout(None)
        limit = _TIMEVAL.pack(int(self._timeout), int(self._timeout % 1 * 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, limit)

    def _mget(self, keys: Sequence[str]) -> list[bytes | None]:
        try:
            reply = self._call("MGET", *keys, seconds=self._timeout)
        except (BlockingIOError, TimeoutError) as error:
            raise timed_out(self._timeout) from error
        except _BROKEN as error:
            raise UnavailableError(f"the connection was lost: {error}") from error
        if not isinstance(reply, list) or len(reply) != len(keys):
            raise UnavailableError(f"MGET of {len(keys)} keys was answered by {str(reply)[:40]}")
        return reply

    def _call(self, *command: Argument, seconds: float) -> Any:
        deadline = monotonic() + seconds
        self._socket.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub wants a 1-tuple
        while True:
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ConnectionResetError("closed by Redis")
            self._parser.feed(data)
            reply = self._parser.gets()
            if reply is _INCOMPLETE:
                if monotonic() > deadline:
                    raise BlockingIOError
            elif isinstance(reply, hiredis.ReplyError):
                raise refused(str(reply))
            elif not isinstance(reply, hiredis.PushNotification):
                return reply
