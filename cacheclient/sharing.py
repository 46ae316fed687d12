"""Waiting for work that several callers share and none of them owns."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from cacheclient.errors import ClosedError

T = TypeVar("T")


async def outcome(work: asyncio.Task[T]) -> T:
    """Return how ``work`` ended; cancelling one who waits cancels neither the work nor the others.

    Raises:
        ClosedError: if the work was cancelled, which only closing the cache does.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if work.cancelled() and not (caller and caller.cancelling()):
            raise ClosedError("the cache was closed during the call") from None
        raise


def end_quietly(work: asyncio.Task[T]) -> None:
    """Look at the error of finished work: all who waited may have been cancelled, and asyncio would report it."""
    if not work.cancelled():
        work.exception()
