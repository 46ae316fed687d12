"""What a load is asked to do, what it shows while it is in flight, and how it ended. Values only."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypedDict

import msgspec

from cacheclient.contract import Tier
from cacheclient.entry import Stored

Loader = Callable[[str], Awaitable[Any]]

# Why a value past its time was served; also the labels of cache_stale_served_total.
LOAD_FAILED: Final = "load_failed"
RELOADING: Final = "reloading"
OFFLINE: Final = "offline"

_FURTHEST: Final = 37.0  # -log of the smallest number that a draw of 53 bits gives, rounded up


class KeepOptions(TypedDict, total=False):
    """How what is loaded is kept; see ``AsyncCache.get_or_load``. Times in seconds."""

    ttl: float | None
    negative_ttl: float | None
    tags: Iterable[str]
    stale: float | None
    load_timeout: float | None


class LoadOptions(KeepOptions, total=False):
    """What a call may say of a load, too."""

    fresh: bool


class Terms(msgspec.Struct, frozen=True):
    """What a caller wants of a load; times in seconds.

    Attributes:
        ttl: how long the value lives.
        negative_ttl: how long "the source has nothing" (the loader returned MISSING) is remembered; None: not at all.
        tags: names under which the value can be invalidated.
        stale: how long past its time the value may be served; it is kept for so long.
        load_timeout: how long the loader may take.
    """

    ttl: float
    negative_ttl: float | None
    tags: tuple[str, ...]
    stale: float
    load_timeout: float


class Landed(msgspec.Struct, frozen=True):
    """How a flight ended: the value, the tier it came from, what is stored of it (None if nothing is).

    ``stale`` says why the value is past its time; it is empty if it is not.
    """

    value: Any
    tier: Tier
    stored: Stored | None
    stale: str = ""


def due_early(remaining: float, load_time: float, beta: float) -> bool:
    """Return whether this reader should reload a value that has ``remaining`` seconds left.

    XFetch: the likelier, the closer the end and the longer a load takes, so that in the fleet about one reader does it
    just in time (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
    """
    reach = load_time * beta
    if not reach or remaining > reach * _FURTHEST:  # so nearly every reader is spared the draw
        return False
    return remaining <= -reach * math.log(1 - random.random())  # noqa: S311


class Flight:
    """What a load in flight shows to those who may join it."""

    __slots__ = ("pushed", "read_at", "suspect", "task")

    def __init__(self, now: float) -> None:
        self.task: asyncio.Task[Landed]
        self.read_at = now  # when the read whose outcome callers get began, on the cache's clock
        self.suspect = False  # a push named the key after that
        self.pushed = asyncio.Event()

    def mark_read(self, now: float) -> None:
        """Take note that what callers will get is read from now on."""
        self.read_at = now
        self.suspect = False


class Job(msgspec.Struct, frozen=True):
    """What a flight is to do.

    Without ``leased`` Redis is neither asked nor told; ``seen`` is a value to replace, and to serve if that fails;
    ``reject`` the write id of a value that cannot be used; ``anew`` says to load even if there is a value, and that
    nobody's earlier load will do.
    """

    key: str
    load: Loader
    terms: Terms
    leased: bool = True
    seen: Stored | None = None
    reject: bytes = b""
    anew: bool = False
