"""Who is the master: what the Sentinels say, asked by redis-py.

The resolver asks every Sentinel by its own address and takes what most of them name (``SENTINEL MASTERS``, which some
clients poll, stays on the old address about five seconds longer). Most of all that are configured, not of those that
answer: a client that reaches only a few may stand with them and a deposed master on the small side of a partition.

An answer holds for a ``term``. Two majorities share a Sentinel, and it never goes back to an older master: so once any
client has been led to a new master, no client is led to the old one any more, and those that were led there before ask
again before their term is over. A deposed master still answers reads, for ever if it is cut off from the rest.

One subscription to each Sentinel's ``+switch-master`` tells of a change at once; a lost connection or a READONLY reply
makes the client ask as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError

from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address, Target, fresh
from cacheclient.remote.encryption import redis_py_options

_LOOK_UP: Final = 1.0  # seconds of silence after which a subscription looks whether it is to end
_RESUBSCRIBE: Final = 1.0  # seconds between attempts to subscribe to a Sentinel that is away


def majority(votes: list[Address], sentinels: int) -> Address | None:
    """Return the address that more than half of all ``sentinels`` name, None if there is none (yet)."""
    named, count = Counter(votes).most_common(1)[0] if votes else (None, 0)
    return named if 2 * count > sentinels else None


class SentinelTopology:
    """The set ``target.set_name`` of the Sentinels ``target.nodes``."""

    electors = "Sentinels"

    def __init__(self, target: Target, timeout: float, term: float) -> None:
        """Take the seconds that a question to one Sentinel may take, and those for which a majority's answer holds."""
        self.term = term
        self._set = target.set_name
        self._nodes = target.nodes
        self._clients = [_client(node, target, timeout) for node in target.nodes]
        self._asking: dict[redis.asyncio.Redis, asyncio.Task[Address | None]] = {}

    async def find_master(self) -> Address:
        """Ask all Sentinels at once, and return what most of them name as soon as these have answered.

        A Sentinel that still owes an earlier answer is not asked again meanwhile: that answer would be too old.

        Raises:
            UnavailableError: if there is no majority: during a failover that lasts a second.
        """
        idle = [client for client in self._clients if client not in self._asking]
        votes: list[Address] = []
        for answer in asyncio.as_completed([self._question(client) for client in idle]):
            if (vote := await answer) is not None:
                votes.append(vote)
            if named := majority(votes, len(self._clients)):
                return named
        if not votes:
            raise UnavailableError("no Sentinel answered")
        named_by = ", ".join(f"{address} by {count}" for address, count in Counter(votes).most_common())
        raise UnavailableError(
            f"more than half of {len(self._clients)} Sentinels have to agree on a master: {named_by}"
        )

    async def votes(self) -> list[tuple[Address, Address | None]]:
        """Return each Sentinel and the master it names; None if it does not answer, or does not know the set."""
        answers = await asyncio.gather(*map(self._ask, self._clients))
        return list(zip(self._nodes, answers, strict=True))

    def _question(self, client: redis.asyncio.Redis) -> asyncio.Task[Address | None]:
        task = self._asking[client] = asyncio.create_task(self._ask(client), name="cacheclient-sentinel")
        task.add_done_callback(lambda _: self._asking.pop(client))
        return task

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
                    while not _cancelled():
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_LOOK_UP)
                        if message and message["data"].split(" ")[0] == self._set:
                            changed()
            if _cancelled():
                raise asyncio.CancelledError
            await asyncio.sleep(_RESUBSCRIBE)

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        for client in self._clients:
            await client.aclose()


def _cancelled() -> bool:
    """Whether this task was told to end. redis-py loses that now and then while it opens a connection over TLS."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class _SentinelLogin(CredentialProvider):
    """The Sentinels' password, asked for at every connection."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def get_credentials(self) -> tuple[str]:
        """Return the password; there is no user."""
        return (fresh(self._target.sentinel_password, self._target.sentinel_password_file),)

    async def get_credentials_async(self) -> tuple[str]:
        """Return the same; what redis-py provides logs a warning each time."""
        return self.get_credentials()


def _client(node: Address, target: Target, timeout: float) -> redis.asyncio.Redis:
    login = _SentinelLogin(target) if target.sentinel_password else None
    return redis.asyncio.Redis(
        host=node.host, port=node.port, credential_provider=login, protocol=2, decode_responses=True,
        socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0), ssl=target.tls,
        **(redis_py_options(target.tls_files) if target.tls else {}),
    )  # fmt: skip
