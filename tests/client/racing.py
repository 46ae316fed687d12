"""Races: each is played out in one order, and once more with its defence taken away, when it must go wrong.

A test that cannot fail proves nothing, so every race names its defence: RACES maps a race to what removes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from cacheclient import AsyncCache
from cacheclient.missing import ABSENT
from tests.client.conftest import Hand, Proxy, Source
from tests.conftest import PATIENCE, Server, until

_IMPATIENCE: Final = 1.0  # seconds after which a race without its defence counts as lost


@dataclass
class Scene:
    """What a race may use. ``patience`` is for how many seconds it waits for what must come."""

    hand: Hand
    server: Server
    namespace: str
    opened: Callable[..., Awaitable[AsyncCache]]
    proxied: Callable[[int], Awaitable[Proxy]]
    launch: Callable[..., Server]
    patience: float = PATIENCE
    source: Source = field(default_factory=Source)

    async def cache(self, url: str = "", **kwargs: Any) -> AsyncCache:
        return await self.opened(url or self.server.url, self.namespace, **kwargs)

    def key(self, key: str = "a") -> str:
        return f"{self.namespace}:v1:{key}"

    async def until(self, condition: Callable[[], Any]) -> Any:
        return await until(condition, self.patience)


Race = Callable[[Scene], Awaitable[None]]
Patch = Callable[[pytest.MonkeyPatch], None]


def proofs(races: Mapping[Race, Patch]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the two tests of ``races``: each is closed, and none is without its defence."""

    @pytest.mark.parametrize("race", races, ids=lambda race: race.__name__)
    async def closed(race: Race, scene: Scene) -> None:
        await race(scene)

    @pytest.mark.parametrize(("race", "removed"), races.items(), ids=lambda part: part.__name__)
    async def lost(race: Race, removed: Patch, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        removed(monkeypatch)
        scene.patience = _IMPATIENCE
        with pytest.raises((AssertionError, TimeoutError)):
            await race(scene)
        scene.source.may_end.set()

    return closed, lost


async def heard(*caches: AsyncCache) -> None:
    """Wait until the caches are told of changes."""
    await until(lambda: all(cache.stats().listener_connected for cache in caches))


async def in_l1(cache: AsyncCache, key: str = "a") -> None:
    """Read ``key`` until L1 has it: what was pushed lately may have dropped it once more."""
    deadline = time.monotonic() + PATIENCE
    while cache.peek(key) is ABSENT:
        assert time.monotonic() < deadline, f"L1 never took {key}"
        await cache.get(key)
        await asyncio.sleep(0.002)


async def settled(cache: AsyncCache) -> None:
    """Wait until every entry of L1 that was suspect has been compared."""
    comparing = cache._parts.revalidation._task
    assert comparing is not None
    await asyncio.wait_for(asyncio.shield(comparing), PATIENCE)
