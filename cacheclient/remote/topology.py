"""Who is the master: a fixed address, or what the Sentinels say.

The resolver asks every Sentinel by its own address and takes what most of them name (``SENTINEL MASTERS``, which some
clients poll, stays on the old address about five seconds longer). Between failovers one subscription to each Sentinel's
``+switch-master`` tells of a change; a lost connection or a READONLY reply makes the client ask as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address, Target

_RESUBSCRIBE: Final = 1.0  # seconds between attempts to subscribe to a Sentinel that is away


class Topology(Protocol):
    """Finds the master and tells when it may have changed."""

    async def find_master(self) -> Address:
        """Return the master's address now; raise UnavailableError if it cannot be told."""

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever another master may have been named; runs until cancelled."""

    async def close(self) -> None:
        """Close the connections that finding the master took."""


class FixedTopology:
    """One server at a known address."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def find_master(self) -> Address:
        """Return the address."""
        return self._address

    async def watch(self, changed: Callable[[], None]) -> None:  # noqa: ARG002  nothing ever changes
        """Wait until cancelled."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Nothing to close."""


def majority(votes: list[Address]) -> Address:
    """Return the address that more than half of the answering Sentinels name.

    Raises:
        UnavailableError: if there is no answer, or none has more than half: during a failover that lasts a second.
    """
    if not votes:
        raise UnavailableError("no Sentinel answered")
    (named, count), *_ = Counter(votes).most_common(1)
    if 2 * count <= len(votes):
        raise UnavailableError(f"the Sentinels disagree: {', '.join(sorted(map(str, set(votes))))}")
    return named


class SentinelTopology:
    """The set ``target.set_name`` of the Sentinels ``target.nodes``."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._set = target.set_name
        self._clients = [_client(node, target, timeout) for node in target.nodes]

    async def find_master(self) -> Address:
        """Ask all Sentinels at once and take the majority; raise UnavailableError if there is none."""
        answers = await asyncio.gather(*(self._ask(client) for client in self._clients))
        return majority([answer for answer in answers if answer is not None])

    async def _ask(self, client: redis.asyncio.Redis) -> Address | None:
        try:
            reply = await client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._set)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError):
            return None
        return Address(reply[0], int(reply[1])) if reply else None

    async def watch(self, changed: Callable[[], None]) -> None:
        """Subscribe to ``+switch-master`` on every Sentinel."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(self._watch_one(client, changed))

    async def _watch_one(self, client: redis.asyncio.Redis, changed: Callable[[], None]) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe("+switch-master")
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message and message["data"].split(" ")[0] == self._set:
                            changed()
            await asyncio.sleep(_RESUBSCRIBE)

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        for client in self._clients:
            await client.aclose()


def _client(node: Address, target: Target, timeout: float) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(
        host=node.host, port=node.port, password=target.sentinel_password or None, ssl=target.tls, protocol=2,
        decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
