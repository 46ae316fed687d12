"""Several caches over one fake second tier, as the pods of a service are over one Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cacheclient.cache import AsyncCache
from cacheclient.clock import Clock, ServerClock
from cacheclient.keys import KeySpace
from cacheclient.options import CacheOptions
from cacheclient.remote import LocalLocks, LocalRecords, Target, parse
from cacheclient.shared import Shared
from cacheclient.stats import Stats
from cacheclient.sync import Cache
from cacheclient.testing.clock import FakeClock
from cacheclient.testing.limits import FakeLimits
from cacheclient.testing.line import Line
from cacheclient.testing.store import FakeStore
from cacheclient.testing.substitute import Substitution, substituted

_ANYWHERE = "redis://fake"  # never resolved


class Fleet:
    """A fake Redis, its clock, and the caches that use it. Nothing here opens a socket.

    Attributes:
        clock: the time of every cache and of the store.
        store: the second tier.
        server_clock: what the caches take for the server's time.
    """

    def __init__(self, clock: FakeClock | None = None) -> None:
        """Prepare a fleet with a clock that stands still, or the one given."""
        self.clock = clock or FakeClock()
        self.store = FakeStore(self.clock)
        self.server_clock = ServerClock(self.clock)  # one server: caches opened at different times agree on its time
        self._locks = LocalLocks(self.clock)
        self._records = LocalRecords(self.clock)
        self._limits = FakeLimits(self.store)

    def cache(self, namespace: str = "test", **settings: Any) -> AsyncCache[Any]:
        """Return a cache of this fleet, not yet open: use it with ``async with``. Settings as of AsyncCache."""
        made_of = {"connect": self._connect, "clock": self.clock, **settings}
        return AsyncCache(parse(_ANYWHERE), namespace=namespace, **made_of)

    def threads(self, namespace: str = "test", **settings: Any) -> Cache[Any]:
        """Return a cache for threads, not yet open: use it with ``with``."""
        return Cache(lambda: self.cache(namespace, **settings), settings.get("options"))

    def line(self, cache: AsyncCache[Any]) -> Line:
        """Return the tracking connection of a cache of this fleet.

        Raises:
            LookupError: if it is not one.
        """
        line = cache._parts.shared.listener  # noqa: SLF001  of one package
        if not isinstance(line, Line):
            raise LookupError("the cache was not made by this fleet, nor inside `installed`")  # noqa: TRY004
        return line

    @property
    def lines(self) -> list[Line]:
        """The tracking connections of the open caches, in the order in which they were opened."""
        return [line for line in self.store.audience if isinstance(line, Line)]

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have every cache that is made in the block belong to this fleet, whatever its URL."""
        with substituted(Substitution(connect=lambda _: self._connect, clock=self.clock)):
            yield

    def outage(self) -> None:
        """Take Redis away from every cache."""
        self.store.away = True
        for line in self.lines:
            line.cut()

    def recover(self, *, lost: dict[str, bytes] | None = None) -> None:
        """End an outage. ``lost``: the new master holds only this (``FakeStore.copy``), the rest went with the old."""
        if lost is not None:
            self.store.restore(lost)
        self.store.away = False
        for line in self.lines:
            line.connect(renewed=lost is not None)

    def failover(self, replicated: dict[str, bytes]) -> None:
        """Let a replica take over that holds ``replicated``: what ``FakeStore.copy`` returned at some moment before."""
        self.outage()
        self.recover(lost=replicated)

    def _connect(self, target: Target, space: KeySpace, options: CacheOptions, stats: Stats, clock: Clock) -> Shared:
        del target
        line = Line(self.store, (space.prefix, space.tag_prefix), options.sync.max_staleness, stats, clock)
        return Shared(self.store, line.gate, self.server_clock, self._locks, self._records, self._limits, line, line)
