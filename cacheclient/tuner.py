"""Looks at one cache's figures every few seconds: what sizes are worth (see ``sizing``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import Final

from cacheclient.clock import Clock
from cacheclient.doctor import Patient
from cacheclient.errors import UnavailableError
from cacheclient.options import TuningOptions
from cacheclient.remote import redis_memory
from cacheclient.sizing import Follower
from cacheclient.stats import Stats

_ASK: Final = 60.0  # seconds between two questions about Redis' memory
_log = logging.getLogger("cacheclient")


class Tuner:
    """The loop of one cache; without a follower it does nothing."""

    def __init__(
        self,
        follower: Follower | None,
        patient: Patient | None,
        options: TuningOptions,
        *,
        stats: Stats,
        clock: Clock,
    ) -> None:
        self._follower = follower
        self._patient = patient
        self._options = options
        self._stats = stats
        self._clock = clock
        self._ask_at = -math.inf
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on; needs a running loop."""
        if self._follower is not None:
            self._task = asyncio.create_task(self._run(self._follower), name="cacheclient-tuner")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self, follower: Follower) -> None:
        """Look at the figures once."""
        now = self._clock()
        if self._patient is not None and now >= self._ask_at:
            self._ask_at = now + _ASK
            with contextlib.suppress(UnavailableError):  # nobody can tell: what was known stays
                follower.looked_at(await redis_memory(self._patient.masters.everywhere()))
        l1, l2 = self._stats.l1, self._stats.l2
        self._stats.curves = follower.settle(now, (l1.lookups, l1.hits), (l2.lookups, l2.hits))

    async def _run(self, follower: Follower) -> None:
        while True:
            await asyncio.sleep(self._options.interval)
            try:
                await self.look(follower)
            except Exception:  # noqa: BLE001  a wrong figure must not end the looking
                _log.exception("cacheclient: the tuner could not look")
