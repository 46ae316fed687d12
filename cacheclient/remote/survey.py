"""Who serves which slot of a Redis Cluster, as most of its masters say.

Any node can tell (``CLUSTER SLOTS``), but one that is cut off tells of the past, and a master that was deposed while it
was cut off takes itself for the master still. So all masters are asked, about five times in each ``term``, and an
answer counts if more than half of them give it for every slot. A replica is promoted by the votes of most masters, and
a node never goes back to an older owner of a slot: so the argument of ``topology`` holds here, too. Once any client has
been led to a new master, no client is led to the old one any more, and those that were led there before know better
within a term.

Which masters there are is what the last survey said; at first, and when too few of those answer, what any node says
that is known. A node that was cut off before masters were added to the cluster, or taken from it, may count on a
majority that is none any more. The specification of Redis Cluster leaves that open, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cacheclient.clock import Clock
from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address, Target
from cacheclient.remote.encryption import redis_py_options
from cacheclient.remote.slots import Range, View, agree, parse_view

_PER_TERM: Final = 5
_RETRY: Final = (0.05, 0.15)  # seconds after a survey that came to nothing, drawn at random
_PACE: Final = 0.02  # seconds between surveys at least, whoever is in a hurry


class Found(NamedTuple):
    """What a survey that was begun at ``asked`` (on the clock) found."""

    ranges: tuple[Range, ...]
    asked: float


class Survey:
    """Asks the masters of one cluster, again and again."""

    def __init__(self, target: Target, timeout: float, term: float, clock: Clock) -> None:
        """Take the seconds that one question may take, and those for which an answer holds."""
        self._target = target
        self._timeout = timeout
        self._clock = clock
        self._pause = term / _PER_TERM
        # An answer that is handed out may have been asked for one pause ago, and a little: so much less it holds.
        self._age = 1.5 * self._pause
        self._whole_term = term
        self.term = term - self._age
        self._clients: dict[Address, redis.asyncio.Redis] = {}
        self._asking: dict[Address, asyncio.Task[View | None]] = {}
        self._masters: frozenset[Address] = frozenset()
        self._known = frozenset(target.nodes)
        self.trouble = ""  # why a node could not be asked, last
        self._found: Found | None = None
        self._hurried = asyncio.Event()
        self._ended: asyncio.Future[None] | None = None

    async def recent(self) -> Found:
        """Return what a survey found that was begun lately; wait for the next if there is none.

        Raises:
            UnavailableError: if the masters did not agree, or most did not answer.
        """
        if self._found is None or self._clock() - self._found.asked > self._age:
            if self._ended is None:
                self._ended = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ended)
        assert self._found is not None  # noqa: S101  a survey that ended well has found something
        return self._found

    def hurry(self) -> None:
        """Ask again at once: what is known seems to be out of date."""
        self._found = None
        self._hurried.set()

    async def run(self, changed: Callable[[tuple[Range, ...]], None], confirmed: Callable[[float], None]) -> None:
        """Ask until cancelled.

        Call ``changed`` with what most masters say whenever that is new, and ``confirmed`` after each survey with the
        moment until which what they said last may be taken for true.
        """
        told: tuple[Range, ...] = ()
        while True:
            self._hurried.clear()
            asked, pause = self._clock(), self._pause
            try:
                found = Found(await self._ask_masters(), asked)
            except UnavailableError as error:
                self._tell(error)
                pause = random.uniform(*_RETRY)  # noqa: S311  spreads load, guards nothing
            else:
                if found.ranges != told:
                    changed(told := found.ranges)
                confirmed(asked + self._whole_term)
                self._found = found
                self._tell(None)
            await asyncio.sleep(_PACE)
            with contextlib.suppress(TimeoutError):  # by `timeout`: `wait_for` of Python 3.11 swallows a cancellation
                async with asyncio.timeout(pause):
                    await self._hurried.wait()

    async def close(self) -> None:
        """Close the connections to the nodes."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()
        self._tell(UnavailableError("the cache was closed"))

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _ask_masters(self) -> tuple[Range, ...]:
        """Return what most masters say; raise UnavailableError if they do not agree, or most do not answer."""
        if self._masters and (agreed := await self._agreement(self._masters)):
            return agreed
        # Nobody is known yet, or most are gone: ask around who the masters are, and then those.
        tried = {self._masters}
        async for view in self._views(self._known):
            if view.masters and view.masters not in tried:
                tried.add(view.masters)
                if agreed := await self._agreement(view.masters):
                    return agreed
        if len(tried) > 1 or self._masters:
            raise UnavailableError("more than half of the cluster's masters have to agree on every slot")
        raise UnavailableError(f"no node of a cluster answered, of {', '.join(map(str, sorted(self._known)))}")

    async def _agreement(self, voters: frozenset[Address]) -> tuple[Range, ...] | None:
        """Ask ``voters``, and return what most of them say as soon as these have answered."""
        views: list[View] = []
        async for view in self._views(voters):
            views.append(view)
            if agreed := agree(views, len(voters)):
                self._masters = frozenset(part.master for part in agreed)
                self._known = frozenset(self._target.nodes).union(*(view.nodes for view in views))
                await self._forget_strangers()
                return agreed
        return None

    async def _views(self, nodes: frozenset[Address]) -> AsyncIterator[View]:
        """Yield what each of ``nodes`` says, except one that still owes an earlier answer: that would be too old."""
        idle = [node for node in sorted(nodes) if node not in self._asking]
        for answer in asyncio.as_completed([self._question(node) for node in idle]):
            if (view := await answer) is not None:
                yield view

    def _question(self, node: Address) -> asyncio.Task[View | None]:
        task = self._asking[node] = asyncio.create_task(self._ask(node), name="cacheclient-survey")
        task.add_done_callback(lambda _: self._asking.pop(node))
        return task

    async def _ask(self, node: Address) -> View | None:
        client = self._clients.get(node)
        if client is None:
            client = self._clients[node] = _client(node, self._target, self._timeout)
        try:
            return parse_view(await client.execute_command("CLUSTER", "SLOTS"), node)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            self.trouble = f"{node}: {error}"
            return None

    async def _forget_strangers(self) -> None:
        """Close the connections to nodes that are no part of the cluster any more."""
        for node in [node for node in self._clients if node not in self._known and node not in self._asking]:
            await self._clients.pop(node).aclose()

    def _tell(self, error: UnavailableError | None) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
            ended.exception()  # those who waited may be gone, and asyncio would report it


def _client(node: Address, target: Target, timeout: float) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(
        host=node.host, port=node.port, username=target.username or None, password=target.password or None,
        ssl=target.tls, protocol=2, decode_responses=True, socket_timeout=timeout, socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0), **(redis_py_options(target.tls_files) if target.tls else {}),
    )  # fmt: skip
