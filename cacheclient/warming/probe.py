"""Asking Redis for almost nothing, all the while: how long others wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Final

from cacheclient.errors import UnavailableError
from cacheclient.warming.pace import WINDOW, Limits, Pace, percentile

_BETWEEN: Final = (0.004, 0.016)  # seconds between reads, drawn at random so that they fall in step with nothing
_IDLE: Final = 0.002  # before the warm-up: nobody is kept waiting by these few

Ask = Callable[[], Awaitable[object]]


async def timed(ask: Ask) -> float:
    """Return the seconds that one answer took; infinite if there was none."""
    began = perf_counter()
    try:
        await ask()
    except UnavailableError:
        return math.inf
    return perf_counter() - began


@contextlib.asynccontextmanager
async def paced(ask: Ask, limits: Limits) -> AsyncIterator[Pace]:
    """Give a pace that heeds how long ``ask`` takes, measured as long as the block lasts.

    Raises:
        UnavailableError: if ``ask`` is not answered even before that.
    """
    idle = []
    for _ in range(WINDOW):
        began = perf_counter()
        await ask()
        idle.append(perf_counter() - began)
        await asyncio.sleep(_IDLE)
    pace = Pace(limits, percentile(idle))
    task = asyncio.create_task(_heed(ask, pace), name="cacheclient-warming-probe")
    try:
        yield pace
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _heed(ask: Ask, pace: Pace) -> None:
    while True:
        window = []
        for _ in range(WINDOW):
            await asyncio.sleep(random.uniform(*_BETWEEN))  # noqa: S311  spreads load only
            window.append(await timed(ask))
        pace.heed(percentile(window))
