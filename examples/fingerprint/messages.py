"""What the conductor and its processes (readers, writer) tell each other over a pipe, and how they listen to it.

A process gets an ``Assignment``, answers ``READY``, and then obeys: ``Play`` begins a phase, ``Order.HALT`` ends it,
the end of the pipe ends the process. So no process outlives its conductor, however that ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from cacheclient import AsyncCache, CacheOptions, L1Options, L2Options
from cacheclient.stats import Stats
from examples.fingerprint.checker import Findings
from examples.fingerprint.ledger import LedgerReport

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from examples.fingerprint.trace import Trace
    from examples.fingerprint.traffic import ZipfMix

READY: Final = "ready"
REPORT_EVERY: Final = 0.25  # seconds
PROFILES: Final = ("fingerprint", 1)  # namespace and version, where `cachestack explain` looks for them
L2_SECONDS: Final = 180.0  # the life of profiles in L2
V = TypeVar("V")


class Order(StrEnum):
    """Orders without parameters; ``QUIT`` is what a process finds in its mailbox when the pipe has ended."""

    HALT = "halt"
    QUIT = "quit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the cache is: the client's URL and the files with its passwords.

    ``discovery`` is the folder by which Prometheus finds processes to scrape; None: nobody scrapes.
    """

    url: str
    password_file: Path | None = None
    sentinel_password_file: Path | None = None
    ca_file: Path | None = None
    discovery: Path | None = None

    def cache(self, namespace: str, version: int, kind: type[V], *, l1_entries: int) -> AsyncCache[V]:
        """Return a cache on this target that is not open yet; ``l1_entries`` 0 turns its L1 off."""
        # A run takes a minute or two. With the default of half an hour, runs repeated in that time would fill the small
        # local Redis with entries that nobody reads any more, until it must evict.
        return AsyncCache.from_url(
            self.url,
            namespace=namespace,
            version=version,
            type=kind,
            options=CacheOptions(l1=L1Options(max_entries=l1_entries), l2=L2Options(ttl=L2_SECONDS)),
            password_file=self.password_file,
            sentinel_password_file=self.sentinel_password_file,
            ca_file=self.ca_file,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All that a process must know for the whole run.

    Attributes:
        target: the cache.
        run: version of the ledger's keys, different for each run, so that no run reads entries of one before it.
        database: file of the SQLite database.
        floors: file of the floors.
        source: where the users to look up come from.
        reader: number of this reader, from 0; the writer has the number after the last.
        readers: readers in all.
        l1_entries: entries the L1 holds at most.
    """

    target: Target
    run: int
    database: Path
    floors: Path
    source: ZipfMix | Trace
    reader: int
    readers: int
    l1_entries: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Begin a phase.

    Attributes:
        phase: its name, which comes back in every report.
        lookups: lookups of all readers together, or None for as many as come until the phase is halted.
        rate: lookups per second of all readers together, or None for as fast as it goes.
        callers: concurrent callers in each reader.
        updates: rows that the writer changes and invalidates per second.
        ledger: whether the writer also keeps the ledger, and reads it back in the end.
    """

    phase: str
    lookups: int | None = None
    rate: float | None = None
    callers: int = 8
    updates: float = 40.0
    ledger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderReport:
    """What a reader counted in a phase so far. ``finished``: the last one of the phase."""

    phase: str
    finished: bool = False
    stats: Stats = field(default_factory=Stats)
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterReport:
    """What the writer counted in a phase so far; ``updates`` counts acknowledged invalidations."""

    phase: str
    finished: bool = False
    updates: int = 0
    ledger: LedgerReport = field(default_factory=LedgerReport)


class Mailbox:
    """The process's end of the pipe, inside its event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._orders: asyncio.Queue[Play | Order] = asyncio.Queue()
        asyncio.get_running_loop().add_reader(connection.fileno(), self._receive)

    async def next(self) -> Play | Order:
        """Wait for the next order."""
        return await self._orders.get()

    @property
    def waiting(self) -> bool:
        """Whether an order has come that was not taken yet."""
        return not self._orders.empty()

    def send(self, message: object) -> None:
        """Tell the conductor; nothing happens if it is gone, because the end of the pipe is an order to quit."""
        try:
            self._connection.send(message)
        except OSError:
            self._end()

    def _receive(self) -> None:
        try:
            self._orders.put_nowait(self._connection.recv())
        except (EOFError, OSError):
            self._end()

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._orders.put_nowait(Order.QUIT)
