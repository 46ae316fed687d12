"""Options without chance, expiry and waiting, for tests that are about something else."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from cacheclient.options import CacheOptions
from cacheclient.testing.substitute import Substitution, substituted

_DAY = 86_400.0


def quiet(options: CacheOptions | None = None) -> CacheOptions:
    """Return ``options`` with what would make a test wait, or differ from run to run, turned off.

    No jitter and no early refresh; no expiry by the defaults (a ``ttl`` that a call gives still counts); nobody waits
    for Redis to come up, nor for a load of another process: who finds a foreign lease loads by itself, uncached.
    """
    given = options or CacheOptions()
    return dataclasses.replace(
        given,
        l1=dataclasses.replace(given.l1, jitter=0, ttl=_DAY),
        l2=dataclasses.replace(given.l2, early_refresh=0, ttl=30 * _DAY, connect_timeout=0.01),
        lock=dataclasses.replace(given.lock, wait=0.001),
    )


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """Make the options of every cache that is made in the block ``quiet``."""
    with substituted(Substitution(options=quiet)):
        yield
