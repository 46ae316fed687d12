"""What a scrape costs: after little and after much traffic, because counters must not grow with what they count."""

from __future__ import annotations

from contextlib import AsyncExitStack
from time import perf_counter
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

from bench.figures import Check, Limit, Outcome, Series
from bench.rounds import Setting, Turn
from cacheclient import AsyncCache
from cacheclient.metrics import register

LITTLE: Final = 1_000  # lookups
_SCRAPES: Final = 20  # in one turn
_KEYS: Final = 5_000


async def scraping(setting: Setting) -> Outcome:
    """S1: a scrape after many lookups over one after few."""
    much = setting.scaled(1_000_000, 100_000)
    async with AsyncExitStack() as stack:
        turns: dict[str, Turn[float]] = {}
        for lookups in (LITTLE, much):
            cache = await stack.enter_async_context(AsyncCache.from_url("memory://", namespace="scraped"))
            await _used(cache, lookups)
            turns[f"after {lookups:,} lookups"] = _turn(cache)
        found = await setting.take_turns("S1 scrape", turns)
    took = Series("scrape", "ms", found)
    little, after = found
    limit = Limit(1.5, "x", at_most=True)
    return Outcome((took,), (Check(f"{after} over {little}", limit, took.over(little, after)),))


async def _used(cache: AsyncCache, lookups: int) -> None:
    async def load(key: str) -> str:
        return key

    for number in range(lookups):
        await cache.get_or_load(f"key:{number * number % _KEYS}", load)


def _turn(cache: AsyncCache) -> Turn[float]:
    registry = CollectorRegistry()
    register(cache, registry=registry)

    async def turn() -> float:
        began = perf_counter()
        for _ in range(_SCRAPES):
            generate_latest(registry)
        return (perf_counter() - began) / _SCRAPES * 1000

    return turn
