"""The public distributed lock: at most one holder of a name in the fleet, for a limited time.

::

    async with cache.lock("rebuild-index", timeout=30) as lock:
        await write_index(fencing_token=lock.token)

What it promises: while Redis keeps its data, nobody else gets the lock between its acquisition and ``timeout`` seconds
later, unless it is released before. What no such lock can promise: that its holder still has it at the moment when the
holder's work takes effect. The holder may be paused past the time limit, and a failover may lose the lock, because
replication is asynchronous. (Redis can also evict it when ``maxmemory`` is reached: it has an expiry, as all keys of a
cache.) So:

- Use it to save work (one pod rebuilds, the others need not), or
- give ``token`` to the resource that you write to and have it refuse a token lower than one it has seen: the *fencing
  token* of M. Kleppmann, "How to do distributed locking" (2016). Tokens of one name rise with every acquisition, with
  gaps; after a failover too, as long as the clocks of the two Redis servers differ by less than the failover took.
- Look at ``lost`` before a step that cannot be undone. ``extend`` and the end of the ``async with`` block raise
  ``LockLostError`` if the lock was lost; by then somebody else may have worked at the same time.

Taking is ``SET NX PX`` with a random holder id, giving back compares that id in Lua, and the holder counts its time
from before it asked, less a margin for clocks that run at different speeds: Redis documentation, "Distributed Locks
with Redis". Waiting is polling with exponential backoff and jitter (M. Brooker, "Exponential Backoff and Jitter",
2015), so waiters are not served in the order in which they came.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import secrets
import socket
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypedDict

from cacheclient.clock import Clock, boottime
from cacheclient.errors import ConfigurationError, LockError, LockLostError, LockTimeoutError, UnavailableError
from cacheclient.remote import LockStore

__all__ = ["Lock", "LockSettings", "lock_key"]

_PAUSES: Final = (0.01, 0.5)  # seconds between attempts: the first, and the longest (before jitter)
_DRIFT: Final = (0.01, 0.002)  # share of the lifetime and seconds that are not trusted (Redis documentation)
_RELEASES: Final = 3  # attempts to give a lock back before it is left to expire
_SHORTEST: Final = 0.05  # seconds a lock lives at least: less would expire on its way
_MAX_NAME_BYTES: Final = 256
_log = logging.getLogger("cacheclient")


def lock_key(namespace: str, name: str) -> str:
    """Return the Redis key of a lock: ``namespace:lock:<name>``, the same for all versions of the namespace.

    Raises:
        ConfigurationError: if ``name`` is not 1 to 256 bytes of printable characters without braces.
    """
    if (
        not isinstance(name, str)
        or not name.isprintable()
        or not 0 < len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES
        or set(name) & set("{}")  # they would choose the slot in a Redis Cluster
    ):
        raise ConfigurationError(
            f"lock name={name!r:.80}: 1 to {_MAX_NAME_BYTES} bytes of printable characters, no braces"
        )
    return f"{namespace}:lock:{name}"


class LockSettings(TypedDict, total=False):
    """What a caller may say of a lock; see ``Lock`` for ranges and defaults. Times in seconds."""

    timeout: float
    wait: float
    max_attempts: int | None
    auto_extend: bool


@dataclass(slots=True)
class _Held:
    """A lock that was acquired: by whom, its fencing token, until when (on our clock) that is certain."""

    holder: str
    token: int
    until: float
    gone: bool = False  # Redis said so


class Lock:
    """A lock, not yet taken. Use it with ``async with``, or call ``acquire`` and ``release``.

    It is not re-entrant, and one object is one holder: tasks that exclude each other need one object each.
    """

    def __init__(
        self,
        store: LockStore,
        key: str,
        *,
        timeout: float = 30.0,
        wait: float = 10.0,
        max_attempts: int | None = None,
        auto_extend: bool = False,
        clock: Clock = boottime,
        outcomes: Counter[str] | None = None,
    ) -> None:
        """Prepare a lock.

        Args:
            store: where it is kept.
            key: its Redis key (``lock_key``).
            timeout: seconds after which it expires if it is neither released nor extended, 0.05 to 86400.
            wait: seconds to wait for it, 0 (one attempt) to 86400.
            max_attempts: attempts at most, 1 or more; None: as many as ``wait`` has room for.
            auto_extend: extend it every third of ``timeout`` until it is released. A holder that hangs keeps it then:
                only the end of its process (or event loop) frees it.
            clock: seconds; tests bring their own.
            outcomes: what is counted: ``acquired``, ``timeout`` (not to be had), ``lost`` (while it was held).

        Raises:
            ConfigurationError: if a value is out of its range.
        """
        _check("timeout", timeout, _SHORTEST)
        _check("wait", wait, 0)
        if max_attempts is not None and (
            isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 1
        ):
            raise ConfigurationError(f"lock max_attempts={max_attempts!r}: a whole number from 1, or None")
        self._store = store
        self._key = key
        self._timeout = timeout
        self._wait = wait
        self._max_attempts = max_attempts
        self._auto_extend = auto_extend
        self._clock = clock
        self._outcomes: Counter[str] = Counter() if outcomes is None else outcomes
        self._held: _Held | None = None
        self._acquiring = False
        self._extender: asyncio.Task[None] | None = None

    # -- what the holder knows ----------------------------------------------------------------------------------------

    @property
    def token(self) -> int:
        """The fencing token; raises LockError if the lock is not held."""
        return self._mine().token

    @property
    def remaining(self) -> float:
        """Seconds for which the lock is certainly held; 0 if it is not, or may not be."""
        held = self._held
        return 0.0 if held is None or held.gone else max(0.0, held.until - self._clock())

    @property
    def lost(self) -> bool:
        """Whether the lock was acquired and is not certainly held any more: stop, or be fenced."""
        return self._held is not None and self.remaining <= 0

    # -- taking -------------------------------------------------------------------------------------------------------

    async def acquire(self) -> int:
        """Take the lock and return its fencing token.

        Raises:
            LockTimeoutError: if it was not to be had within ``wait`` seconds or ``max_attempts``, or Redis was away.
            LockError: if this object holds it already, or is waiting for it.
        """
        if self._held is not None or self._acquiring:
            raise LockError(f"{self._key}: this object holds the lock or waits for it; use one object for each holder")
        # Readable, so that GET shows who has it; random, so that it is nobody else's, whatever the host is called.
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(16)}"
        self._acquiring = True
        try:
            self._held = await self._poll(holder)
        except BaseException as error:
            self._outcomes["timeout"] += isinstance(error, LockTimeoutError)
            # The last attempt may have succeeded without our knowing it. Sent after it, so executed after it.
            await self._give_back(holder)
            raise
        finally:
            self._acquiring = False
        self._outcomes["acquired"] += 1
        if self._auto_extend:
            self._extender = asyncio.create_task(self._keep(), name=f"cacheclient-lock {self._key}")
        return self._held.token

    async def _poll(self, holder: str) -> _Held:
        """Ask until the lock is ours, and certainly so for a while, or the limits are reached."""
        began, attempts = self._clock(), 0
        while True:
            attempts += 1
            asked, expires_in, cause = self._clock(), math.inf, None
            try:
                answer = await self._store.acquire(self._key, holder, self._timeout)
            except UnavailableError as error:
                why, cause = str(error), error
            else:
                until = _trusted(asked, self._timeout)
                if answer.token is not None and self._clock() < until:
                    return _Held(holder, answer.token, until)
                why = "somebody else holds it" if answer.token is None else f"an answer took {self._timeout:g} s"
                expires_in = answer.expires_in
            left = began + self._wait - self._clock()
            if left <= 0 or attempts == self._max_attempts:
                raise LockTimeoutError(f"{self._key}: not acquired (attempts: {attempts}): {why}") from cause
            await asyncio.sleep(min(left, next_pause(attempts, expires_in)))

    # -- holding ------------------------------------------------------------------------------------------------------

    async def extend(self, seconds: float | None = None) -> None:
        """Let the lock live at least ``seconds`` from now (default: its ``timeout``); never less than it would.

        Raises:
            LockLostError: if it expired or is somebody else's.
            UnavailableError: if Redis did not answer; the lock lives as long as it did before, or longer.
            LockError: if it is not held.
            ConfigurationError: if ``seconds`` is out of the range of ``timeout``.
        """
        seconds = self._timeout if seconds is None else seconds
        _check("extend", seconds, _SHORTEST)
        held, asked = self._mine(), self._clock()
        if held.gone or not await self._store.extend(self._key, held.holder, seconds):
            held.gone = True
            raise LockLostError(f"{self._key}: the lock expired, or was lost with a Redis node")
        held.until = max(held.until, _trusted(asked, seconds))

    async def _keep(self) -> None:
        """Extend in time, more often while Redis does not answer, until the lock is lost."""
        while True:
            await asyncio.sleep(min(self._timeout, self.remaining) / 3)
            try:
                await self.extend()
            except LockLostError as error:
                _log.warning("cacheclient: %s", error)
                return
            except UnavailableError as error:
                if self.remaining < _PAUSES[0]:
                    _log.warning("cacheclient: lock %s not extended, so it may be lost: %s", self._key, error)
                    return

    # -- giving back --------------------------------------------------------------------------------------------------

    async def release(self) -> None:
        """Give the lock back. If Redis does not answer, it is left to expire.

        Raises:
            LockLostError: if it was lost before: somebody else may have held it meanwhile.
            LockError: if it is not held.
        """
        held = self._mine()
        extender, self._extender = self._extender, None
        if extender is not None:
            extender.cancel()
        try:
            was_mine = await self._give_back(held.holder)
            if was_mine is False or (was_mine is None and self.lost):
                self._outcomes["lost"] += 1
                raise LockLostError(f"{self._key}: the lock was lost before it was released")
        finally:
            self._held = None
            if extender is not None:
                await asyncio.wait([extender])
        if extender is not None and not extender.cancelled():
            extender.result()  # an error nobody expected must not pass unseen

    async def _give_back(self, holder: str) -> bool | None:
        """Release; return whether the lock was ours until then, None if that cannot be known."""
        unanswered: UnavailableError | None = None
        for attempt in range(1, _RELEASES + 1):
            try:
                was_mine = await self._store.release(self._key, holder)
            except UnavailableError as error:
                unanswered = error  # it may have been executed: then the next attempt finds nothing
            else:
                return was_mine if was_mine or unanswered is None else None
            if attempt < _RELEASES:
                await asyncio.sleep(next_pause(attempt + 2, math.inf))
        _log.warning("cacheclient: lock %s may stay until it expires: %s", self._key, unanswered)
        return None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._held is None:  # the block has released it
            return
        try:
            await self.release()
        except LockLostError as lost:
            if error is None:
                raise
            error.add_note(str(lost))  # the error of the block must not be hidden by this one

    def _mine(self) -> _Held:
        if self._held is None:
            raise LockError(f"{self._key}: this object does not hold the lock")
        return self._held


def _trusted(asked: float, seconds: float) -> float:
    """Return until when a lock is certainly held that was asked for at ``asked``, for ``seconds``."""
    return asked + seconds - seconds * _DRIFT[0] - _DRIFT[1]


def next_pause(attempt: int, expires_in: float) -> float:
    """Return the seconds to wait after the ``attempt``-th try (from 1), drawn at random.

    Doubling, bounded, half of it random; but no longer than until the other holder's lock expires.
    """
    doubled: float = _PAUSES[0] * 2 ** min(attempt - 1, 16)
    pause = min(_PAUSES[1], doubled, max(_PAUSES[0], expires_in))
    return pause * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards nothing


def _check(name: str, seconds: float, low: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not low <= seconds <= 86_400:  # noqa: PLR2004
        raise ConfigurationError(f"lock {name}={seconds!r}: seconds, from {low:g} to 86400")
