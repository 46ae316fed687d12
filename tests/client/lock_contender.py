"""One of several processes that add to a counter in Redis, not atomically, each time under the public lock.

Usage: lock_contender.py PORT NAMESPACE ROUNDS. The counter loses additions if two processes ever hold the lock at once.
"""

from __future__ import annotations

import asyncio
import sys

import redis

from cacheclient.lock import Lock, lock_key
from cacheclient.remote import FixedTopology, Link, Login, RedisLocks, RedisStore, parse
from cacheclient.stats import Stats


async def contend(port: int, namespace: str, rounds: int) -> None:
    """Add 1 to ``<namespace>:counter``, ``rounds`` times, and log each fencing token."""
    stats = Stats()
    link = Link(FixedTopology(parse(f"redis://127.0.0.1:{port}").nodes[0]), Login(timeout=5.0), stats)
    await link.start()
    plain = redis.Redis(port=port, protocol=2)
    locks = RedisLocks(RedisStore(link, stats, 5.0))
    for _ in range(rounds):
        async with Lock(locks, lock_key(namespace, "counter"), timeout=30, wait=60) as lock:
            before = int(plain.get(f"{namespace}:counter") or 0)
            await asyncio.sleep(0)
            plain.rpush(f"{namespace}:tokens", lock.token)
            plain.set(f"{namespace}:counter", before + 1)
    plain.close()
    await link.close()


if __name__ == "__main__":
    asyncio.run(contend(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
