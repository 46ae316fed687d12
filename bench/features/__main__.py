"""``python -m bench.features`` puts the questions to every cache and writes the answers to docs/features.json."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis

from bench.features.candidate import Make
from bench.features.peers import CANDIDATES, OLDEST_REDIS
from bench.features.questions import CALLERS, QUESTIONS, Scene
from bench.server import server

ANSWERS: Final = Path(__file__).parents[2] / "docs" / "features.json"
_OURS: Final = "cacheclient"


async def answers(make: Make, port: int) -> dict[str, str]:
    """Return what a cache answered, by the name of the question."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * CALLERS))
    url = f"redis://127.0.0.1:{port}/0"
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(make(url)) for _ in range(2)]
        scene = Scene(one, two, stack.enter_context(redis.Redis(port=port)))
        return {question.__name__: await question(scene) for question in QUESTIONS}


def refuses(name: str, release: str) -> bool:
    """Return whether a cache works with no server of this release, such as ``Redis 7.0.15``."""
    product, _, number = release.partition(" ")
    oldest = OLDEST_REDIS.get(name)
    return oldest is not None and (product != "Redis" or tuple(map(int, number.split(".")[:2])) < oldest)


def main() -> int:
    """Ask, write, and say where."""
    logging.disable()  # what a cache says of a server that was ended on purpose
    found = {}
    for name, make in CANDIDATES.items():
        with server() as (port, release):
            if refuses(name, release):
                sys.stderr.write(f"{name}: left out, it does not work with {release}\n")
                continue
            found[name] = asyncio.run(answers(make, port))
        sys.stderr.write(f"{name}: {found[name]}\n")
    packages = sorted({name.partition(",")[0] for name in found} - {_OURS} | {"redis"})
    versions = {name: version(name) for name in packages}
    told = {
        "server": release,
        "questions": {question.__name__: (question.__doc__ or "").rstrip(".") for question in QUESTIONS},
        "versions": versions,
        "answers": found,
    }
    ANSWERS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{ANSWERS} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
