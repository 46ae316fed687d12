"""Giving every cache that is made in a block another shared side, clock or options, however it is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cacheclient.cache import AsyncCache
from cacheclient.clock import Clock
from cacheclient.keys import KeySpace
from cacheclient.options import CacheOptions
from cacheclient.remote import Target, parse
from cacheclient.shared import Connect, Shared, connect
from cacheclient.stats import Stats


@dataclass(frozen=True, slots=True)
class Substitution:
    """What caches are made with instead; None keeps what they would have had.

    Attributes:
        connect: takes what would bring the shared side, and returns what does.
        options: takes a cache's options and returns those it gets.
        clock: the clock of the cache.
    """

    connect: Callable[[Connect], Connect] | None = None
    options: Callable[[CacheOptions], CacheOptions] | None = None
    clock: Clock | None = None

    def applied(self, made: dict[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments of AsyncCache that follow from ``made``."""
        if self.connect is not None:
            made["connect"] = self.connect(made.get("connect", connect))
        if self.options is not None:
            made["options"] = self.options(made.get("options") or CacheOptions())
        if self.clock is not None:
            made["clock"] = self.clock
        return made


_made_by = AsyncCache.__init__
_standing: list[Substitution] = []


def _make(self: AsyncCache[Any], *args: Any, **kwargs: Any) -> None:
    for substitution in _standing:
        kwargs = substitution.applied(kwargs)
    _made_by(self, *args, **kwargs)


@contextlib.contextmanager
def substituted(substitution: Substitution) -> Iterator[None]:
    """Apply ``substitution`` to every cache made in the block, those of a ``Cache`` too; blocks nest, outermost first.

    It is applied where AsyncCache is constructed, so the code under test needs no seam of its own.
    """
    _standing.append(substitution)
    AsyncCache.__init__ = _make  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        _standing.remove(substitution)
        if not _standing:
            AsyncCache.__init__ = _made_by  # type: ignore[method-assign]


@contextlib.contextmanager
def memory() -> Iterator[None]:
    """Have every cache that is made in the block do without Redis, as with the URL ``memory://``."""
    with substituted(Substitution(connect=lambda _: _in_memory)):
        yield


def _in_memory(_: Target, space: KeySpace, options: CacheOptions, stats: Stats, clock: Clock) -> Shared:
    return connect(parse("memory://"), space, options, stats, clock)
