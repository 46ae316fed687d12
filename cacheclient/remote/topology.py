"""Who is the master: what every way of finding it promises, and the simplest one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from cacheclient.remote.address import Address


class Topology(Protocol):
    """Finds the master and tells when it may have changed."""

    electors: str  # who confirms a master, as people call them

    @property
    def term(self) -> float:
        """Seconds, counted from the question, for which an answer of ``find_master`` holds."""

    async def find_master(self) -> Address:
        """Return the master's address now; raise UnavailableError if it cannot be told."""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever another master may have been named; runs until cancelled."""

    async def close(self) -> None:
        """Close the connections that finding the master took."""


class FixedTopology:
    """One server at a known address."""

    electors = "nobody"
    term = math.inf

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find_master(self) -> Address:
        """Return the address."""
        return self._address

    async def watch(self, changed: Callable[[], None]) -> None:  # noqa: ARG002  nothing ever changes
        """Wait until cancelled."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing to close."""
