"""A reader process: one event loop, several concurrent callers, every value checked."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from examples.fingerprint.checker import Findings, Floors
from examples.fingerprint.exposition import exposed
from examples.fingerprint.messages import PROFILES, READY, REPORT_EVERY, Assignment, Mailbox, Order, Play, ReaderReport
from examples.fingerprint.profiles import Profile
from examples.fingerprint.store import Store
from examples.fingerprint.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cacheclient import AsyncCache


def lookups(assignment: Assignment) -> Iterator[int]:
    """Return the users that this process looks up, without end."""
    source = assignment.source
    if isinstance(source, Trace):
        return source.lookups(assignment.reader, assignment.readers)
    return source.lookups(assignment.reader)


class Reader:
    """Looks users up through the cache, as the service's request handlers would."""

    def __init__(self, assignment: Assignment, cache: AsyncCache[Profile], floors: Floors, mailbox: Mailbox) -> None:
        self._cache = cache
        self._floors = floors
        self._mailbox = mailbox
        self._users = lookups(assignment)
        self._reader, self._readers = assignment.reader, assignment.readers
        self._store = Store(assignment.database)
        self._database_thread = ThreadPoolExecutor(1)
        self._left = 0.0
        self._findings = Findings()

    async def run(self) -> None:
        """Obey until the order to quit."""
        self._mailbox.send(READY)
        while (order := await self._mailbox.next()) is not Order.QUIT:
            if isinstance(order, Play):
                await self._play(order)
        self._database_thread.submit(self._store.close)
        self._database_thread.shutdown()

    async def _play(self, play: Play) -> None:
        before, self._findings = self._cache.stats(), Findings()
        own_share = None if play.lookups is None else len(range(self._reader, play.lookups, self._readers))
        self._left = math.inf if own_share is None else own_share

        def report(*, finished: bool) -> None:
            stats = self._cache.stats() - before
            self._mailbox.send(ReaderReport(phase=play.phase, finished=finished, stats=stats, findings=self._findings))

        callers = asyncio.gather(*(self._caller(play, number) for number in range(play.callers)))
        while not callers.done() and not self._mailbox.waiting:
            await asyncio.wait([callers], timeout=REPORT_EVERY)
            report(finished=False)
        self._left = 0
        await callers
        report(finished=True)

    async def _caller(self, play: Play, number: int) -> None:
        interval = play.callers * self._readers / play.rate if play.rate else 0.0
        due = time.monotonic() + interval * number / play.callers  # spread, so that the callers do not march in step
        while self._left > 0:
            self._left -= 1
            await self._lookup(next(self._users))
            # A caller that fell behind does not catch up in a burst. Without a rate this is still a turn of the event
            # loop, as each request of a server is: L1 hits alone would never give way to anything else.
            due = max(due + interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _lookup(self, user: int) -> None:
        floor = self._floors[user]
        try:
            value = await self._cache.get_or_load(str(user), self._load)
        except Exception as error:  # noqa: BLE001  whatever a caller of the cache would see is a finding
            self._findings.error(user, error)
        else:
            self._findings.check(user, value, floor)

    async def _load(self, key: str) -> Profile:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database_thread, self._store.read, int(key))


async def main(connection: Connection) -> None:
    """Run a reader at this end of the pipe."""
    assignment: Assignment = connection.recv()
    mailbox = Mailbox(connection)
    cache = assignment.target.cache(*PROFILES, Profile, l1_entries=assignment.l1_entries)
    with Floors(assignment.floors) as floors:
        async with cache:
            with exposed(cache, f"reader-{assignment.reader + 1}", assignment.target.discovery):
                await Reader(assignment, cache, floors, mailbox).run()


if __name__ == "__main__":
    asyncio.run(main(Connection(int(sys.argv[1]))))
