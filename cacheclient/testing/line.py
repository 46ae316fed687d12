"""The tracking connection of one cache, as a test drives it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from cacheclient.clock import Clock, Gate
from cacheclient.stats import Stats
from cacheclient.testing.store import FakeStore

Message = str | bytes  # the key of a push, or an event


class Line:
    """What tells one cache of changes: pushes arrive at once, unless the test holds, drops or reorders them.

    Attributes:
        gate: open while the line is up, and for ``max_staleness`` after it froze.
        held: whether pushes and events wait until the test delivers them.
        waiting: those that wait, in order; a test may delete some and reorder them.
    """

    def __init__(
        self, store: FakeStore, prefixes: tuple[str, ...], max_staleness: float, stats: Stats, clock: Clock
    ) -> None:
        self.gate = Gate(0.0)
        self.held = False
        self.waiting: list[Message] = []
        self._store = store
        self._prefixes = prefixes
        self._max_staleness = max_staleness
        self._stats = stats
        self._clock = clock
        self._renewed: list[Callable[[], None]] = []
        self._told: Callable[[list[str] | None], None]
        self._heard: Callable[[bytes], None]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = False

    # -- for tests ----------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let pushes and events wait in ``waiting``. The gate stays open: the line is only slow."""
        self.held = True

    def deliver(self) -> None:
        """Deliver what waits, in the order of ``waiting``, and whatever comes from now on at once."""
        self.held = False
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            self._deliver(message)

    def push(self, *keys: str) -> None:
        """Tell the cache that these Redis keys changed; without keys that any may have."""
        self._tell(list(keys) or None)

    def freeze(self) -> None:
        """Make the connection half-open: nothing arrives, and no question is answered from now on."""
        self.held = True
        self.gate.until = min(self.gate.until, self._clock() + self._max_staleness)

    def thaw(self) -> None:
        """End ``freeze``: what waited arrives, and questions are answered again."""
        self.deliver()
        self.gate.until = math.inf

    def cut(self) -> None:
        """Break the connection: what waits is lost, and so is whatever happens until ``connect``."""
        if self._up:
            self._tell([])  # it has proved itself until now
        self._up = False
        self.waiting.clear()
        self.gate.until = 0.0
        self._stats.gaps += self._stats.listener_connected
        self._stats.listener_connected = False
        self._stats.circuit_open = True

    def connect(self, *, renewed: bool = False) -> None:
        """Connect anew; ``renewed``: to a master that may have lost what the one before had acknowledged."""
        self._up, self.held = True, False
        self._stats.circuit_open = False
        for repeat in self._renewed if renewed else ():
            repeat()
        self._tell(None)
        self.gate.until = math.inf
        self._tell([])
        self._stats.listener_connected = True

    # -- for the cache ------------------------------------------------------------------------------------------------

    def report_to(self, told: Callable[[list[str] | None], None], heard: Callable[[bytes], None]) -> None:
        """Have ``told`` called with changed Redis keys (None: any may have changed), ``heard`` with each event."""
        self._told, self._heard = told, heard

    def on_renewal(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the master may have lost what was acknowledged before."""
        self._renewed.append(callback)

    async def start(self) -> None:
        """Connect, unless the store is away."""
        self._loop = asyncio.get_running_loop()
        self._store.audience.append(self)
        if not self._store.away:
            self.connect()

    async def close(self) -> None:
        """Disconnect. Twice is fine."""
        if self in self._store.audience:
            self._store.audience.remove(self)
        self._up = False

    # -- for the store ------------------------------------------------------------------------------------------------

    def changed(self, key: str) -> None:
        """Take note that ``key`` changed."""
        if key.startswith(self._prefixes):
            self._arrived(key)

    def message(self, data: bytes) -> None:
        """Take an event."""
        self._arrived(data)

    def _arrived(self, message: Message) -> None:
        if not self._up:
            return
        if self.held:
            self.waiting.append(message)
        elif self._loop is _running():
            self._deliver(message)
        elif self._loop is not None:  # another thread's cache made the change
            self._loop.call_soon_threadsafe(self._deliver, message)

    def _tell(self, keys: list[str] | None) -> None:
        if self._loop is None or self._loop is _running():
            self._told(keys)
        else:
            self._loop.call_soon_threadsafe(self._told, keys)

    def _deliver(self, message: Message) -> None:
        if isinstance(message, str):
            self._told([message])
        else:
            self._heard(message)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
