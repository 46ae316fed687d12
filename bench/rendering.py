"""P13: rendering the stacks without the Pulumi CLI: the first one in a new process, and each further one in it.

A process is started anew for every round, so the first render pays for all imports, as ``make render`` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from bench.figures import Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting

COLD: Final = "first stack, imports included"
FURTHER: Final = "each further stack"
_PROGRAM: Final = """
import json, time
began = time.perf_counter()
from infra.render import render
took = []
for stack in ("prod", "staging", "dev"):
    assert render(stack).manifests
    took.append(time.perf_counter() - began)
print(json.dumps(took))
"""


async def rendering(setting: Setting) -> Outcome:
    """P13: seconds of a new process until the first stack is rendered, and of each stack after it."""
    found = await setting.take_turns("P13 render", {"infra.render": _render})
    cold = [times[0] for times in found["infra.render"]]
    further = [(times[-1] - times[0]) / (len(times) - 1) for times in found["infra.render"]]
    return Outcome(
        (Series("render", "s", {COLD: cold, FURTHER: further}),),
        (
            Check(COLD, Limit(3.0, "s", at_most=True), tuple(cold)),
            Check(FURTHER, Limit(0.3, "s", at_most=True), tuple(further)),
        ),
    )


async def _render() -> list[float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise BenchError(f"the stacks cannot be rendered: {err.decode().strip().splitlines()[-1:]}")
    times: list[float] = json.loads(out)
    return times
