"""The writer process: changes rows and invalidates them, and keeps the ledger."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

import apify_fingerprint_datapoints

from cacheclient import TTL
from examples.fingerprint.checker import Floors, Promises
from examples.fingerprint.exposition import exposed
from examples.fingerprint.ledger import Ledger
from examples.fingerprint.messages import PROFILES, READY, REPORT_EVERY, Assignment, Mailbox, Order, Play, WriterReport
from examples.fingerprint.profiles import Profile, ProfileSampler
from examples.fingerprint.reader import lookups
from examples.fingerprint.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cacheclient import AsyncCache

LEDGER_PAUSE: Final = 0.005  # seconds between two writes: the resolution of "seconds without writes"
RETRY_PAUSE: Final = 0.1  # seconds until an invalidation that was not acknowledged is asked for again
FLOOR_PAUSE: Final = 0.005  # seconds: by so much the check may be milder than the promise
MAX_OUTSTANDING: Final = 256  # updates without an acknowledgement; beyond it no further row is changed
READ_BACK: Final = 5.0  # seconds within which every ledger entry must be found
READ_BACK_BATCH: Final = 500


class Writer:
    """Updates rows as the service's write path would: commit to the database, then invalidate."""

    def __init__(
        self, assignment: Assignment, profiles: AsyncCache[Profile], ledger: AsyncCache[int], mailbox: Mailbox
    ) -> None:
        self._profiles = profiles
        self._ledger_cache = ledger
        # Where there are replicas they have an invalidation before it counts: a killed master cannot take it along.
        self._durable = "+sentinel" in assignment.target.url
        self._mailbox = mailbox
        self._users = lookups(assignment)  # changed as often as they are read: popular rows change most
        self._sampler = ProfileSampler(apify_fingerprint_datapoints.get_fingerprint_network())
        self._rng = random.Random(assignment.run)  # noqa: S311  input, not a secret
        self._store = Store(assignment.database)
        self._database_thread = ThreadPoolExecutor(1)
        self._promises = Promises(profiles.options.sync.max_staleness)
        self._numbers = count(1)
        self._outstanding: set[asyncio.Task[None]] = set()
        self._updates = 0

    async def run(self, floors: Floors) -> None:
        """Obey until the order to quit."""
        self._mailbox.send(READY)
        async with asyncio.TaskGroup() as group:
            lifting = group.create_task(self._lift(floors))
            while (order := await self._mailbox.next()) is not Order.QUIT:
                if isinstance(order, Play):
                    await self._play(order, group)
            for task in (lifting, *self._outstanding):
                task.cancel()
        self._database_thread.submit(self._store.close)
        self._database_thread.shutdown()

    async def _play(self, play: Play, group: asyncio.TaskGroup) -> None:
        ledger, self._updates = Ledger(time.monotonic()), 0
        work = [group.create_task(self._change(play.updates, group))]
        if play.ledger:
            work.append(group.create_task(self._keep(ledger)))

        def report(missing: Iterable[int] | None = None) -> None:
            figures = ledger.report(time.monotonic(), missing)
            self._mailbox.send(
                WriterReport(phase=play.phase, finished=missing is not None, updates=self._updates, ledger=figures)
            )

        while not self._mailbox.waiting:
            await asyncio.wait(work, timeout=REPORT_EVERY)
            report()
        for task in work:
            task.cancel()
        report(await self._read_back(list(ledger.acknowledgements)))

    async def _keep(self, ledger: Ledger) -> None:
        while True:
            number = next(self._numbers)
            if await self._ledger_cache.set(str(number), number, ttl=TTL.MEDIUM):
                ledger.acknowledged(number, time.monotonic())
            else:
                ledger.refused += 1
            await asyncio.sleep(LEDGER_PAUSE)

    async def _read_back(self, numbers: list[int]) -> list[int]:
        """Return the ledger entries that are not found, after asking for them again until ``READ_BACK`` has passed."""
        deadline, missing = time.monotonic() + READ_BACK, numbers
        while missing and time.monotonic() < deadline:
            missing = [
                number
                for start in range(0, len(missing), READ_BACK_BATCH)
                for number in await self._not_found(missing[start : start + READ_BACK_BATCH])
            ]
            await asyncio.sleep(RETRY_PAUSE if missing else 0)
        return missing

    async def _not_found(self, numbers: list[int]) -> list[int]:
        found = await self._ledger_cache.get_many([str(number) for number in numbers])
        return [number for number in numbers if found.get(str(number)) != number]

    async def _change(self, rate: float, group: asyncio.TaskGroup) -> None:
        while True:
            if len(self._outstanding) < MAX_OUTSTANDING:
                task = group.create_task(self._update(next(self._users)))
                self._outstanding.add(task)
                task.add_done_callback(self._outstanding.discard)
            await asyncio.sleep(1 / rate)

    async def _update(self, user: int) -> None:
        loop = asyncio.get_running_loop()
        version = await loop.run_in_executor(
            self._database_thread, self._store.update, user, self._sampler.draw(self._rng)
        )
        while not await self._profiles.invalidate(str(user), durable=self._durable):  # noqa: ASYNC110  Redis is asked
            await asyncio.sleep(RETRY_PAUSE)
        self._updates += 1
        self._promises.acknowledged(user, version, time.monotonic())

    async def _lift(self, floors: Floors) -> None:
        while True:
            for user, version in self._promises.due(time.monotonic()):
                floors.lift(user, version)
            await asyncio.sleep(FLOOR_PAUSE)


async def main(connection: Connection) -> None:
    """Run the writer at this end of the pipe."""
    assignment: Assignment = connection.recv()
    mailbox = Mailbox(connection)
    target, run = assignment.target, assignment.run
    profiles = target.cache(*PROFILES, Profile, l1_entries=assignment.l1_entries)
    ledger = target.cache("ledger", run, int, l1_entries=0)
    with Floors(assignment.floors) as floors:
        async with profiles, ledger:
            with exposed(profiles, "writer", target.discovery):
                await Writer(assignment, profiles, ledger, mailbox).run(floors)


if __name__ == "__main__":
    asyncio.run(main(Connection(int(sys.argv[1]))))
