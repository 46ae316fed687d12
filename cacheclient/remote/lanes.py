"""Keeps a lane open beside the link: see ``lane``.

To wake the loop for a read, and to be woken by it, costs a thread more than the read. So threads read by themselves, as
long as there is an open link to one master within its tenure, and a lane beside it. Whatever fails on a lane ends it;
reads then go through the loop, whose pipe has the rules for a hung or lost server, until another lane has been opened:
by a thread, since that blocks, and not sooner than a second after the last.

A lane is taken and given back by who has the loop's turn (see ``turns``); in between it is that thread's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

from cacheclient.errors import UnavailableError
from cacheclient.remote.lane import Lane
from cacheclient.remote.link import Connection, Link

_AGAIN: Final = 1.0  # seconds between a lane that ended and the next attempt to open one


class Lanes:
    """Keeps a lane beside the link of one cache. Belongs to the event loop, and to who has its turn."""

    def __init__(self, link: Link, count: Callable[[UnavailableError, int], None]) -> None:
        """Prepare; ``count`` takes each error, and for how many keys it was the answer."""
        self._link = link
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._lane: Lane | None = None
        self._opening: threading.Thread | None = None
        self._again: asyncio.TimerHandle | None = None
        self._closed = False
        link.on_open(self._open)
        link.on_close(self._end)

    def take(self) -> Lane | None:
        """Return the lane to the master, for this thread alone until it is given back; None if there is none."""
        lane = self._lane
        if lane is None or lane.busy:
            return None
        try:
            if self._link.current() is not lane.connection:
                return None
        except UnavailableError:  # no master is known, or its tenure is over
            return None
        lane.busy = True
        return lane

    def give_back(self, lane: Lane, error: UnavailableError | None = None, keys: int = 0) -> None:
        """Let others use ``lane``, if it has not failed or ended; count ``error``, the answer for so many ``keys``."""
        lane.busy = False
        if lane.failed or lane.ended:
            lane.end()
            self._loop.call_soon_threadsafe(self._lost, lane, error, keys)

    def close(self) -> None:
        """End the lane; none is opened any more."""
        self._closed = True
        self._end()

    def wait_closed(self) -> None:
        """Wait, after ``close``, for who was opening a lane: blocks for two ``connect_timeout`` at most."""
        opening = self._opening
        if opening is not None:
            opening.join(2 * self._link.login.connect_timeout)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _open(self, connection: Connection) -> None:
        """Open a lane beside ``connection``, in a thread: it blocks."""
        self._end()
        if not self._closed and self._opening is None:
            self._opening = threading.Thread(
                target=self._attempt, args=(connection,), name="cacheclient-lane", daemon=True
            )
            self._opening.start()

    def _attempt(self, connection: Connection) -> None:
        lane = None
        with contextlib.suppress(UnavailableError):  # the link tells what is the matter with this server
            lane = Lane.open(connection, self._link.login)
        try:
            self._loop.call_soon_threadsafe(self._opened, lane)
        except RuntimeError:  # the cache was closed meanwhile
            if lane is not None:
                lane.end()

    def _opened(self, lane: Lane | None) -> None:
        self._opening = None
        if lane is not None and not self._closed and lane.connection is self._link.connection:
            self._lane = lane
            return
        if lane is not None:
            lane.end()
        self._try_again()

    def _lost(self, lane: Lane, error: UnavailableError | None, keys: int) -> None:
        if error is not None:
            self._count(error, keys)
        if self._lane is lane:
            self._lane = None
            self._try_again()

    def _try_again(self) -> None:
        if not self._closed and self._again is None:
            self._again = self._loop.call_later(_AGAIN, self._reopen)

    def _reopen(self) -> None:
        self._again = None
        if self._link.connection is not None:
            self._open(self._link.connection)

    def _end(self) -> None:
        """End the lane, because the link has."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.end()
