"""Is everything there that a cache needs, and as it should be?

What is seen is collected here, and judged in ``findings``. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

from cacheclient.clock import Clock, Gate, parse_time
from cacheclient.errors import UnavailableError
from cacheclient.findings import Master, Report, Seen, judge
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.patient import Patient
from cacheclient.remote import Connection, Login, info_fields
from cacheclient.rights import refused
from cacheclient.stats import Stats
from cacheclient.tags import NAMESPACE

_SAMPLES: Final = 10  # questions from which the latency is told
_GONE: Final = -2  # what PTTL answers for a key that is not there


class Doctor:
    """Looks at what one cache stands on."""

    def __init__(
        self, patient: Patient | None, space: KeySpace, journal: Journal, *, timeout: float, gate: Gate, stats: Stats,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._patient = patient
        self._space = space
        self._journal = journal
        self._timeout = timeout
        self._gate = gate
        self._stats = stats
        self._clock = clock

    async def examine(self) -> Report:
        """Look at everything, and judge. Redis away is a finding, not an error."""
        if self._patient is None:
            return judge(Seen(redis=False))
        votes = None if self._patient.votes is None else tuple(await self._patient.votes())
        problem = ""
        masters: tuple[Master, ...] = ()
        try:
            looks = (self._look(connection, self._patient.login) for connection in self._patient.masters.everywhere())
            masters = tuple(await asyncio.gather(*looks))
        except UnavailableError as error:
            problem = str(error)
        seen = Seen(
            problem=problem, votes=votes, masters=masters, listening=self._stats.listener_connected,
            gate_open=self._clock() < self._gate.until, storm=self._stats.l1_off, owed=len(self._journal),
            timeout=self._timeout,
        )  # fmt: skip
        return judge(seen)

    async def _look(self, connection: Connection, login: Login) -> Master:
        pipe = connection.reads
        info = info_fields(await pipe.call("INFO"))
        round_trips, offset = [], 0.0
        for _ in range(_SAMPLES):
            asked, began = time.time(), time.perf_counter()
            server = parse_time(await pipe.call("TIME"))
            round_trips.append(time.perf_counter() - began)
            offset = server - asked - round_trips[-1] / 2
        return Master(
            address=str(connection.address),
            info=info,
            offset=offset,
            round_trips=tuple(round_trips),
            refused=tuple(await refused(connection, login, self._space)),
            marker=await self._marker_life(connection),
        )

    async def _marker_life(self, connection: Connection) -> float | None:
        try:
            left: int = await connection.reads.call("PTTL", self._space.marker(NAMESPACE))
        except UnavailableError:  # it is another master's, or the user may not ask, which the rights tell
            return None
        return None if left == _GONE else math.inf if left < 0 else left / 1000
