"""What `import cacheclient` costs an application's start: in fresh interpreters, beside what it cannot do without."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import Setting, Turn

_TIMED: Final = "from time import perf_counter; began = perf_counter(); {}; print((perf_counter() - began) * 1000)"


async def importing(setting: Setting) -> Outcome:
    """S5: the time of the import, over none: the best of some interpreters, because only the first finds cold files."""
    starts = setting.scaled(10, 3)
    found = await setting.take_turns("S5 import", {
        OURS: _turn("import cacheclient", starts),
        "asyncio alone": _turn("import asyncio", starts),
        "redis-py": _turn("import redis.asyncio", starts),
    })  # fmt: skip
    took = Series("import in a fresh interpreter", "ms", found)
    return Outcome((took,), (Check("import cacheclient", Limit(100, "ms", at_most=True), tuple(found[OURS])),))


def _turn(statement: str, starts: int) -> Turn[float]:
    async def turn() -> float:
        return min([await _time(statement) for _ in range(starts)])

    return turn


async def _time(statement: str) -> float:
    command = (sys.executable, "-I", "-c", _TIMED.format(statement))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    return float(printed)
