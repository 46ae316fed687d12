"""How far a lookup goes: what a cache was seen to ask of the second tier and of the loader, lookup by lookup."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final

from cacheclient import CacheOptions, L2Options
from handbook.drawings.svg import Drawing
from handbook.drawings.watched import fleet

_LANES: Final = {"caller": 300, "L1, in the process": 460, "L2, Redis": 640, "L3, the loader": 820}
_LEFT: Final = 20
_TOP: Final = 62
_STEP: Final = 26
_CALLS: Final = {
    "fetch": "MGET", "lease": "lease", "fill": "fill", "bury": "tombstone", "put": "set", "release": "release",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lookup:
    """One lookup, and what it took: calls of the second tier, and ``load`` where the loader was asked."""

    title: str
    call: str
    steps: tuple[str, ...]


def draw() -> str:
    """Return the drawing."""
    seen = asyncio.run(lookups())
    sheet = Drawing(900, _TOP + round(sum(map(_rows, seen)) * _STEP), "How far a lookup goes")
    for name, x in _LANES.items():
        sheet.text(x, 24, name, "title", "middle")
        sheet.rule(x, 34, x, sheet.height - 8)
    y = float(_TOP)
    for each in seen:
        y = _lookup(sheet, each, y)
    return sheet.svg()


def _lookup(sheet: Drawing, lookup: Lookup, y: float) -> float:
    caller, l1, l2, l3 = _LANES.values()
    sheet.text(_LEFT, y + 4, lookup.title)
    sheet.arrow(caller, y, l1, y, lookup.call)
    for number, step in enumerate(lookup.steps):
        at = y + number * _STEP
        sheet.arrow(
            l1, at, l3 if step == "load" else l2, at, _CALLS.get(step, step), at=0.25 if step == "load" else 0.5
        )
    return y + _rows(lookup) * _STEP


def _rows(lookup: Lookup) -> float:
    return max(1, len(lookup.steps)) + 0.6


async def lookups() -> list[Lookup]:
    """Make the lookups and writes of a life, and note what each took."""
    made, store = fleet()
    found: list[Lookup] = []

    async def load(key: str) -> str:
        store.seen.append(("", "load", ""))
        return key

    async def noted(title: str, call: str, *done: Awaitable[Any]) -> None:
        store.seen.clear()
        await asyncio.gather(*done)
        found.append(Lookup(title, call, tuple(name for _, name, _ in store.seen)))

    options = CacheOptions(l2=L2Options(early_refresh=0))
    async with made.cache(options=options) as one, made.cache(options=options) as two:
        read = "get_or_load"
        await noted("nobody has it", read, one.get_or_load("a", load))
        await one.get_or_load("a", load)  # the push of its own fill has emptied L1
        await noted("this process has it", read, one.get_or_load("a", load))
        await noted("another process has loaded it", read, two.get_or_load("a", load))
        callers = [(one, two)[number % 2].get_or_load("b", load) for number in range(50)]
        await noted("50 callers, 2 processes", read, *callers)
        await noted("the row has changed", "invalidate", one.invalidate("a"))
        await noted("the new value is known", "set", one.set("a", "b"))
    return found
