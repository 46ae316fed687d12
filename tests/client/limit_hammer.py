"""One of several processes that hit one subject as often as they can.

Usage: limit_hammer.py PORT NAMESPACE SECONDS COUNT BURST. Prints how many hits passed, and the server's time in
microseconds before the first and after the last.
"""

from __future__ import annotations

import asyncio
import sys
import time

import redis

from cacheclient import AsyncCache, CacheOptions, L2Options, Limit


def _micros(port: int) -> int:
    with redis.Redis(port=port, protocol=2) as client:
        seconds, micros = client.time()  # type: ignore[misc]
    return int(seconds) * 1_000_000 + int(micros)


async def hammer(port: int, namespace: str, seconds: float, limit: Limit) -> None:
    """Hit ``everybody`` from 16 tasks for so many seconds."""
    passed = 0
    options = CacheOptions(l2=L2Options(timeout=5.0))
    async with AsyncCache.from_url(f"redis://127.0.0.1:{port}", namespace=namespace, options=options) as cache:
        limiter = cache.rate_limiter("hammer", limit, outage="closed", remember=0)  # every hit is Redis' to decide
        until = time.monotonic() + seconds

        async def hit() -> None:
            nonlocal passed
            while time.monotonic() < until:
                decision = await limiter.hit("everybody")
                passed += decision.allowed

        began = _micros(port)
        await asyncio.gather(*(hit() for _ in range(16)))
        ended = _micros(port)
        assert not cache.stats().rate_limited["refused/outage"]
        print(passed, cache.stats().rate_limited["refused/redis"], began, ended)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(hammer(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), Limit(int(sys.argv[4]), 1, int(sys.argv[5]))))
