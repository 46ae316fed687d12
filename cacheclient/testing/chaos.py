"""A real second tier that is slow, refuses and loses answers: seeded, so that a run can be repeated, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from cacheclient.clock import Clock
from cacheclient.contract import ErrorType, Tier
from cacheclient.errors import ConfigurationError, UnavailableError
from cacheclient.keys import KeySpace
from cacheclient.options import CacheOptions
from cacheclient.remote import LimitStore, LockStore, Store, Target
from cacheclient.shared import Connect, Shared
from cacheclient.stats import Stats
from cacheclient.testing.substitute import Substitution, substituted
from cacheclient.testing.wrapped import Wrapped

_LONGEST = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """What goes wrong between a cache and Redis.

    Attributes:
        seed: decides which calls are hit; one seed, the same calls in the same order: the same failures.
        latency: seconds that a call takes longer, drawn evenly between the two; at most 60.
        refused: share of the calls, 0 to 1, that fail before Redis sees them.
        lost: share of the calls that Redis executes and whose answer never comes.
        most: failures in all, then everything works: a test that waits for recovery ends.
        calls: names of the store's methods that are hit (``fetch``, ``lease``, ``fill``, ``put``, ``bury``, ...); none
            means all.
    """

    seed: int = 0
    latency: tuple[float, float] = (0.0, 0.0)
    refused: float = 0.0
    lost: float = 0.0
    most: int = 1000
    calls: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        low, high = self.latency
        if not 0 <= low <= high <= _LONGEST:
            raise ConfigurationError(f"chaos.latency={self.latency!r}: two numbers of seconds, 0 <= low <= high <= 60")
        if self.refused < 0 or self.lost < 0 or self.refused + self.lost > 1:
            raise ConfigurationError(
                f"chaos.refused={self.refused!r}, chaos.lost={self.lost!r}: shares, at most 1 in all"
            )
        if self.most < 0:
            raise ConfigurationError(f"chaos.most={self.most!r}: a whole number from 0")

    @contextlib.contextmanager
    def installed(self) -> Iterator[Counter[str]]:
        """Have every cache made in the block meet this chaos; give what was done so far, by kind.

        The kinds are ``delayed``, ``refused`` and ``lost``.
        """
        done: Counter[str] = Counter()
        with substituted(Substitution(connect=lambda inner: self._around(inner, done))):
            yield done

    def _around(self, inner: Connect, done: Counter[str]) -> Connect:
        draw = random.Random(self.seed)  # noqa: S311  failures, not secrets

        def connect(target: Target, space: KeySpace, options: CacheOptions, stats: Stats, clock: Clock) -> Shared:
            shared = inner(target, space, options, stats, clock)
            store, locks, limits = (
                _Chaotic(part, self, draw, done, stats) for part in (shared.store, shared.locks, shared.limits)
            )
            return msgspec.structs.replace(
                shared,
                store=cast("Store", store),
                locks=cast("LockStore", locks),
                limits=cast("LimitStore", limits),
            )

        return connect


class _Chaotic(Wrapped):
    def __init__(self, inner: object, chaos: Chaos, draw: random.Random, done: Counter[str], stats: Stats) -> None:
        super().__init__(inner)
        self._chaos = chaos
        self._draw = draw
        self._done = done
        self._stats = stats

    async def _through(self, name: str, execute: Callable[[], Awaitable[Any]]) -> Any:
        chaos = self._chaos
        if chaos.calls and name not in chaos.calls:
            return await execute()
        fate, pause = self._draw.random(), self._draw.uniform(*chaos.latency)
        if pause:
            self._done["delayed"] += 1
            await asyncio.sleep(pause)
        failed = self._done["refused"] + self._done["lost"]
        if fate >= chaos.refused + chaos.lost or failed >= chaos.most:
            return await execute()
        kind = "refused" if fate < chaos.refused else "lost"
        self._done[kind] += 1
        if kind == "lost":
            await execute()
        self._stats.errors[f"{Tier.L2}/{ErrorType.CONNECTION}"] += 1
        raise UnavailableError(f"chaos: {name} was {kind}", in_doubt=kind == "lost")
