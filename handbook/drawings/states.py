"""The states of an entry in Redis: what a key was seen to hold, and which call of the client changed that."""

from __future__ import annotations

import asyncio
from typing import Final

from cacheclient import AsyncCache, CacheOptions, L2Options
from handbook.drawings.svg import Drawing
from handbook.drawings.watched import NOTHING, Watched, fleet

OVER: Final = "its time is over"
_MEANING: Final = {
    NOTHING: "nobody has it",
    "lease": "one process loads it",
    "value": "everybody may read it",
    "tombstone": "no older load may fill it",
}
_PLACES: Final = {NOTHING: (40, 40), "lease": (660, 40), "value": (660, 300), "tombstone": (40, 300)}
_SIZE: Final = (190, 64)
_NAMES: Final = {
    "lease": "lease: a load begins", "fill": "fill: the load ends", "put": "set", "bury": "invalidate",
    "release": "release: the load fails", "bury_matching": "invalidate_pattern", "unlink": "drop_version",
}  # fmt: skip
Change = tuple[str, str]


def draw() -> str:
    """Return the drawing."""
    sheet = Drawing(890, 405, "The states of an entry in Redis, and what changes them")
    seen = asyncio.run(changes())
    for (before, after), calls in sorted(seen.items()):
        _connect(sheet, before, after, sorted(calls))
    for state, place in _PLACES.items():
        sheet.box(*place, *_SIZE, state, [_MEANING[state]])
    return sheet.svg()


async def changes() -> dict[Change, set[str]]:
    """Cause everything that may happen to a key; return which calls led from one state to another."""
    made, store = fleet()
    found: dict[Change, set[str]] = {}
    options = CacheOptions(l2=L2Options(early_refresh=0))
    async with made.cache(options=options) as cache:
        for prepare in (_nothing, _value, _tombstone):
            for act in (_set, _load, _fail, _invalidate, _pattern, _expire):
                await cache.clear()
                store.data.clear()
                await prepare(cache)
                before, at = store.state(_KEY), len(store.seen)
                await act(cache)
                if act is _expire:
                    made.clock.advance(7200)
                    found.setdefault((before, store.state(_KEY)), set()).add(OVER)
                for state, call, after in store.seen[at:]:
                    if state != after:
                        found.setdefault((state, after), set()).add(_NAMES.get(call, call))
        await _while_loading(cache, store, found)
    return {change: calls for change, calls in found.items() if change[0] != change[1]}


_KEY: Final = "test:v1:a"


async def _while_loading(cache: AsyncCache[object], store: Watched, found: dict[Change, set[str]]) -> None:
    """Write and invalidate a key whose load is under way."""
    for act in (_set, _invalidate):
        await cache.invalidate("a")
        begun, go = asyncio.Event(), asyncio.Event()

        async def load(key: str, begun: asyncio.Event = begun, go: asyncio.Event = go) -> str:
            begun.set()
            await go.wait()
            return key

        read = asyncio.create_task(cache.get_or_load("a", load))
        await begun.wait()
        at = len(store.seen)
        await act(cache)
        found.setdefault(store.seen[at][::2], set()).add(_NAMES[store.seen[at][1]])
        go.set()
        await read


async def _nothing(cache: AsyncCache[object]) -> None:
    del cache


async def _value(cache: AsyncCache[object]) -> None:
    await cache.set("a", 1)


async def _tombstone(cache: AsyncCache[object]) -> None:
    await cache.invalidate("a")


async def _set(cache: AsyncCache[object]) -> None:
    await cache.set("a", 2)


async def _load(cache: AsyncCache[object]) -> None:
    await cache.get_or_load("a", _loaded)


async def _loaded(key: str) -> str:
    return key


async def _fail(cache: AsyncCache[object]) -> None:
    try:
        await cache.get_or_load("a", _failing)
    except LookupError:
        return


async def _failing(key: str) -> str:
    raise LookupError(key)


async def _invalidate(cache: AsyncCache[object]) -> None:
    await cache.invalidate("a")


async def _pattern(cache: AsyncCache[object]) -> None:
    await cache.invalidate_pattern("a*")


async def _expire(cache: AsyncCache[object]) -> None:
    del cache


def _connect(sheet: Drawing, before: str, after: str, calls: list[str]) -> None:
    (x, y), (to_x, to_y), (w, h) = _PLACES[before], _PLACES[after], _SIZE
    label = " · ".join(calls)
    if x == to_x:
        down = to_y > y
        aside = x + w * (0.35 if down else 0.65)
        sheet.arrow(aside, y + h if down else y, aside, to_y if down else to_y + h, label, at=0.38)
    elif y == to_y:
        right = to_x > x
        aside = y + h * (0.32 if right else 0.68)
        sheet.arrow(x + w if right else x, aside, to_x if right else to_x + w, aside, label)
    else:
        right = to_x > x
        start = x + w * (0.88 if right else 0.12)
        end = to_x + w * (0.12 if right else 0.88)
        sheet.arrow(start, y + h if to_y > y else y, end, to_y if to_y > y else to_y + h, label, bend=16, at=0.36)
