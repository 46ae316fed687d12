"""An application's pod: reads through cacheclient without end, over one connection, and over a new one again and again.

Every half second it prints what it has counted so far, as JSON. Runs in the image of the jobs, which holds cacheclient.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from cacheclient import AsyncCache

KEYS = 100
PAUSE = 0.005
REPORT = 0.5

seen: Counter[str] = Counter(read=0, failed=0, logins=0, refused=0)


async def read(cache: AsyncCache[int]) -> None:
    """Read over the connection there is. L1 is off, so every read asks Redis."""
    while True:
        number = seen["read"] % KEYS
        seen["read"] += 1
        seen["failed"] += await cache.get(f"reader:{number}") != number
        await asyncio.sleep(PAUSE)


async def log_in() -> None:
    """Find the master and log in, as a pod that starts now."""
    while True:
        async with AsyncCache[int].from_env() as cache:
            seen["logins"] += 1
            seen["refused"] += await cache.get("reader:7") != 7
        await asyncio.sleep(PAUSE)


async def report() -> None:
    """Say what was seen."""
    while True:
        print(json.dumps(seen), flush=True)  # noqa: T201
        await asyncio.sleep(REPORT)


async def main() -> None:
    """Write the keys, then read them."""
    async with AsyncCache[int].from_env() as cache:
        for number in range(KEYS):
            while not await cache.set(f"reader:{number}", number):  # noqa: ASYNC110  until there is a master
                await asyncio.sleep(REPORT)
        await asyncio.gather(read(cache), log_in(), report())


if __name__ == "__main__":
    asyncio.run(main())
