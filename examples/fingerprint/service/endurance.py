"""A run under full load in whose middle the Redis master is killed, with somebody who looks at the answers.

A writer changes users and keeps the version that each change returned; from then on no answer may hold an older one.
The readers beside it ask for the same users, as the load does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from examples.fingerprint.service.callers import Caller
from examples.fingerprint.service.load import Load, popular

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.fingerprint.service.load import Generator
    from examples.fingerprint.watch import Nodes

READERS: Final = 4
CHANGES_PER_SECOND: Final = 5.0
_AT_LEAST: Final = 500  # a status from here on is the service's fault


@dataclass(slots=True)
class Endured:
    """What was seen.

    Attributes:
        load: what the generator counted.
        reads: answers that were looked at.
        failed: of these, those with a status of 500 or more, and requests without an answer.
        wrong: answers for another user, or with an older version than a change had returned before they were asked for.
        changes: changes that were committed.
        acknowledged: of these, those whose invalidation Redis had acknowledged when they returned.
        without_writes: the longest time in seconds without such an acknowledgement; None without any.
        masters: who was master before, and in the end.
        examples: some of what was wrong.
    """

    load: Load = field(default_factory=lambda: Load(requests=0, seconds=1, p50=0, p95=0, p99=0, refused=0, broken=0))
    reads: int = 0
    failed: int = 0
    wrong: int = 0
    changes: int = 0
    acknowledged: int = 0
    without_writes: float | None = None
    masters: tuple[str, str] = ("", "")
    examples: list[str] = field(default_factory=list)


class Checker:
    """Changes users through the service and looks at what it answers."""

    def __init__(self, generator: Generator, seen: Endured) -> None:
        self._generator = generator
        self._seen = seen
        self._floors: dict[int, int] = {}
        self._users = itertools.cycle(popular(generator.users, 10_000, seed=2))
        self._over = False

    async def run(self, over: Callable[[], bool]) -> None:
        """Go on until ``over``."""
        tasks = [asyncio.create_task(work()) for work in (self._write, *[self._read] * READERS)]
        try:
            while not over():
                for task in tasks:
                    if task.done():
                        task.result()  # raises: none of them ends by itself
                await asyncio.sleep(0.1)
        finally:
            self._over = True
            await asyncio.gather(*tasks)

    def _caller(self) -> Caller:
        return Caller(self._generator.host, self._generator.port)

    async def _write(self) -> None:
        last = time.monotonic()
        async with self._caller() as caller:
            while not self._over:
                user = next(self._users)
                try:
                    status, body = await caller.ask("PUT", f"/users/{user}/screen", str(user % 200).encode())
                except OSError:
                    status, body = 0, b""
                if status == 200:  # noqa: PLR2004  OK
                    done = json.loads(body)
                    self._floors[user] = max(done["version"], self._floors.get(user, 0))
                    self._seen.changes += 1
                    self._seen.acknowledged += done["acknowledged"]
                    if done["acknowledged"]:
                        now = time.monotonic()
                        self._seen.without_writes = max(self._seen.without_writes or 0.0, now - last)
                        last = now
                await asyncio.sleep(1 / CHANGES_PER_SECOND)

    async def _read(self) -> None:
        async with self._caller() as caller:
            while not self._over:
                user = next(self._users)
                floor = self._floors.get(user, 1)
                try:
                    status, body = await caller.ask("GET", self._generator.path.format(user=user))
                except OSError as error:
                    self._fail(f"user {user}: {error}")
                else:
                    self._look(user, floor, status, body)
                await asyncio.sleep(0.002)  # the load makes the load

    def _look(self, user: int, floor: int, status: int, body: bytes) -> None:
        self._seen.reads += 1
        if status >= _AT_LEAST:
            self._fail(f"user {user}: {status} {body[:100]!r}")
            return
        found = json.loads(body)
        if found.get("user") != user or found.get("version", 0) < floor:
            self._seen.wrong += 1
            self._seen.examples.append(f"user {user}, version {floor} at least: {body[:60]!r}")

    def _fail(self, what: str) -> None:
        self._seen.failed += 1
        self._seen.examples.append(what)


async def endure(
    generator: Generator, nodes: Nodes, connections: int, seconds: float, say: Callable[[str], None]
) -> Endured:
    """Run the load for ``seconds``; in the middle the master is killed, and it is started again in the end."""
    seen, master = Endured(), nodes.master()
    load = generator.start(connections, seconds)
    checking = asyncio.create_task(Checker(generator, seen).run(lambda: load.over))
    try:
        await asyncio.sleep(seconds / 2)
        say(f"SIGKILL of {master}, the master, under {connections} connections")
        await asyncio.to_thread(nodes.kill, master)
        await checking
    finally:
        checking.cancel()
        await asyncio.to_thread(nodes.start, master)
        seen.load = await asyncio.to_thread(load.result)
    seen.masters = master, await asyncio.to_thread(nodes.master)
    say(f"{seen.masters[1]} is master; {master} is started again, to join as a replica")
    return seen
