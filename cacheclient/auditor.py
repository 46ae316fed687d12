"""How consistent the cache is, measured: a sample of all invalidations is looked after.

As Meta's Polaris and Uber's Cache Inspector do ("Cache made consistent", Meta engineering, 2022; "How Uber serves over
40 million reads per second", 2024): of every so many invalidations one is chosen, and 1, 10 and 60 s later this process
compares, for its key, what its L1 answers with what L2 holds, and, where the application can tell versions, what L2
holds with the source. "Above 99.99 %" is then a figure that operators see: checks, and checks that found a difference,
by window and comparison.

Nothing here is on the hot path: to choose costs an addition per push, and the rest is one background task with bounded
memory and rate. Where L1 does not answer there is nothing to compare, so nothing is counted: the figure is about what
callers are served. A difference counts only once it can no longer be news on its way:

- L1 and L2 differ, and still do after the listener has proved itself with a question asked after L2 was read: the push
  of whatever changed the key has been handled by then.
- L2 and the source differ, and a second later L2 still holds the same write: the writer had the time to invalidate.

An event of a sampled invalidation, sent by another cache of ours, does not drop its key: it must be the push that does,
or the check would find what the event has mended.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cacheclient.clock import Clock, Gate
from cacheclient.contract import AUDIT_WINDOWS, Comparison
from cacheclient.errors import UnavailableError
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.missing import MISSING
from cacheclient.options import SyncOptions
from cacheclient.remote import Store
from cacheclient.serializer import Serializer
from cacheclient.stats import Stats
from cacheclient.tags import Tags

_MAX_WATCHED: Final = 1000  # keys looked after in each window; while there are more, no others are chosen
_PAUSE: Final = 0.01  # seconds between two checks: at most 100 a second
_SETTLE: Final = 1.0  # seconds a writer may take from its commit to its invalidation
_VERSION_TIMEOUT: Final = 5.0
_log = logging.getLogger("cacheclient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """How the auditor tells versions.

    Attributes:
        version_of: takes a key and returns the version the source has of it now, None if it has none. An async
            function, or a plain one, which then runs in a thread. Read the source itself, not a replica of it.
        version_in: takes a cached value and returns its version, comparable with ``==`` to the source's.
    """

    version_of: Callable[[str], Awaitable[object] | object]
    version_in: Callable[[Any], object]


class Auditor:
    """Looks after a sample of the invalidations of one cache."""

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        tags: Tags,
        *,
        options: SyncOptions,
        versions: Versions | None,
        gate: Gate,
        stats: Stats,
        clock: Clock,
    ) -> None:
        """Choose one of ``options.audit`` invalidations, none at 0."""
        self._space = space
        self._store = store
        self._local = local
        self._serializer = serializer
        self._tags = tags
        self._every = options.audit
        self._max_staleness = options.max_staleness
        self._versions = versions
        self._gate = gate
        self._stats = stats
        self._clock = clock
        self._left = self._gap()
        self._watched: dict[str, deque[tuple[float, str]]] = {window: deque() for window in AUDIT_WINDOWS}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def sample(self, keys: Sequence[str]) -> bool:
        """Choose among the ids ``keys`` that were invalidated just now; return whether one was chosen."""
        if not self._every:
            return False
        self._left -= len(keys)
        chosen = False
        while self._left <= 0:
            self._watch(keys[self._left - 1])  # counted from the end: 0 is the last, -1 the one before
            self._left += self._gap()
            chosen = True
        return chosen

    async def close(self) -> None:
        """Stop."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check_due(self) -> None:
        """Carry out the checks that are due now."""
        now = self._clock()
        for window, watched in self._watched.items():
            while watched and watched[0][0] <= now:
                _, key = watched.popleft()
                with contextlib.suppress(UnavailableError):  # nobody can tell: not counted
                    await self._check(key, window)
                await asyncio.sleep(_PAUSE)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _gap(self) -> int:
        # Random, so that no rhythm of the writers hides from it; the mean is ``every``.
        return random.randint(1, 2 * self._every - 1) if self._every else 0  # noqa: S311

    def _watch(self, key: str) -> None:
        if self._closed or max(map(len, self._watched.values())) >= _MAX_WATCHED:
            return
        now = self._clock()
        for window, watched in self._watched.items():
            watched.append((now + AUDIT_WINDOWS[window], key))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="cacheclient-auditor")

    async def _run(self) -> None:
        while due := [watched[0][0] for watched in self._watched.values() if watched]:
            await asyncio.sleep(max(_PAUSE, min(min(due) - self._clock(), 1.0)))
            await self.check_due()

    async def _check(self, key: str, window: str) -> None:
        await self._against_l2(key, window)
        if self._versions is not None:
            await self._against_source(key, window, self._versions)

    async def _against_l2(self, key: str, window: str) -> None:
        item = self._local.answering(key, self._clock())
        if item is None or not self._open():
            return
        write_id = item.write_id
        (found,) = await self._store.write_ids([self._space.full(key)])
        same = found == write_id
        if not same:
            if not await self._proved_since(self._clock()):
                return
            still = self._local.answering(key, self._clock())
            same = still is None or still.write_id != write_id
        self._count(Comparison.L1_L2, window, same=same)

    async def _proved_since(self, moment: float) -> bool:
        """Wait until the listener has proved itself with a question asked after ``moment``; False if it does not."""
        deadline = moment + 2 * self._max_staleness
        while self._gate.until <= moment + self._max_staleness:
            if not self._open() or self._clock() >= deadline:
                return False
            await asyncio.sleep(self._max_staleness / 10)
        return True

    def _open(self) -> bool:
        return self._clock() < self._gate.until

    async def _against_source(self, key: str, window: str, versions: Versions) -> None:
        full = self._space.full(key)
        (held,) = await self._store.inspect([full])
        stored = self._serializer.load(held.raw, full)
        if stored is None or self._serializer.remaining(stored) <= 0:
            return
        if not await self._tags.stand(stored.tags):
            return
        try:
            async with asyncio.timeout(_VERSION_TIMEOUT):
                current = await self._ask_source(versions, key)
            cached = None if stored.value is MISSING else versions.version_in(stored.value)
        except Exception as error:  # noqa: BLE001  the application's own code: it must not end the auditor
            _log.warning("cacheclient: the auditor cannot compare %r with its source: %r", key, error)
            return
        same = current == cached
        if not same:
            await asyncio.sleep(_SETTLE)
            (found,) = await self._store.write_ids([full])
            same = found != stored.write_id
        self._count(Comparison.L2_SOURCE, window, same=same)

    @staticmethod
    async def _ask_source(versions: Versions, key: str) -> object:
        ask = versions.version_of
        if inspect.iscoroutinefunction(ask):
            return await ask(key)
        answer = await asyncio.to_thread(ask, key)
        return await answer if inspect.isawaitable(answer) else answer

    def _count(self, comparison: Comparison, window: str, *, same: bool) -> None:
        self._stats.audited[f"{comparison}/{window}"] += 1
        if not same:
            self._stats.inconsistent[f"{comparison}/{window}"] += 1
