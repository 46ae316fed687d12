"""The keys that every process should have in L1: written down by a warm-up, read when its event is heard.

An event says that there is something to fetch; the list is in Redis, once. Each process waits a moment of its own
before it reads, so that the fleet does not ask at once, and reads in small batches: it serves callers meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cacheclient.cache import AsyncCache
from cacheclient.contract import Record
from cacheclient.errors import CacheError
from cacheclient.events import Event

_LIFE: Final = 86_400.0  # seconds for which a list is kept
_SPREAD: Final = 2.0  # seconds over which the processes of a fleet begin to read
_CHUNK: Final = 100
_log = logging.getLogger("cacheclient")


def _record(cache: AsyncCache[Any], plan: str) -> str:
    return cache.space.record(Record.WARMING, f"v{cache.space.version}:hottest:{plan}")


async def publish(cache: AsyncCache[Any], plan: str, keys: Sequence[str]) -> None:
    """Write down ``keys``, the most wanted first, and tell the fleet.

    Raises:
        UnavailableError: if Redis does not answer.
    """
    await cache.records.put(_record(cache, plan), msgspec.json.encode(list(keys)), _LIFE)
    cache.request_prewarm(WARMED + plan)


async def pull(cache: AsyncCache[Any], plan: str) -> int:
    """Read into L1 what the last warm-up of ``plan`` wrote down; return how many there were.

    Raises:
        UnavailableError: if Redis does not answer.
    """
    raw = await cache.records.read(_record(cache, plan))
    keys = msgspec.json.decode(raw, type=list[str])[: cache.options.l1.max_entries] if raw else []
    found = 0
    for start in range(0, len(keys), _CHUNK):
        found += len(await cache.get_many(keys[start : start + _CHUNK]))
        await asyncio.sleep(0)
    return found


# The word of an event that a warm-up is done, before the name of the plan: others ask for one to be made.
WARMED: Final = "warmed:"


class Follower:
    """Pulls into the L1 of one cache whatever a warm-up anywhere in the fleet names as hot."""

    def __init__(self, cache: AsyncCache[Any], spread: float = _SPREAD) -> None:
        """Follow the events of ``cache``, which must be open; ``spread`` is for at most how many seconds it waits."""
        self._cache = cache
        self._spread = spread
        self._tasks: dict[str, asyncio.Task[None]] = {}
        cache.on_prewarm(self._heard)

    async def close(self) -> None:
        """Stop pulling."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _heard(self, event: Event) -> None:
        plan = event.plan.removeprefix(WARMED)
        if plan == event.plan or plan in self._tasks:  # not ours, or on its way already
            return
        task = asyncio.create_task(self._pull(plan), name=f"cacheclient-warming-pull {plan}")
        self._tasks[plan] = task
        task.add_done_callback(lambda _: self._tasks.pop(plan, None))

    async def _pull(self, plan: str) -> None:
        await asyncio.sleep(random.uniform(0, self._spread))  # noqa: S311  spreads load only
        try:
            found = await pull(self._cache, plan)
        except (CacheError, msgspec.DecodeError) as error:
            _log.warning("cacheclient: the keys of the warm-up %s were not pulled into L1: %s", plan, error)
        else:
            _log.info("cacheclient: %d keys of the warm-up %s pulled into L1", found, plan)
