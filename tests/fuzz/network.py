"""The network of a run: a TCP proxy before every server, which tells its clients apart and can cut and slow them.

Each Redis and Sentinel listens on a back address and announces its front address, where the proxy listens. Servers and
workers connect from addresses of their own, so that each pair of parties has a path that can be cut. Whoever comes from
elsewhere (the scripts, this program) always passes.

A cut path is silent, as a partition is: bytes on their way are held, and so are ends of connections. When it heals, the
bytes arrive late, unless the sender has given its connection up meanwhile: TCP would not send them again either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

Place = tuple[str, int]
_CHUNK: Final = 1 << 16
_BACKS: Final = {"redis": "127.0.0.4", "sentinel": "127.0.0.5", "worker": "127.0.0.6"}


def back(party: str) -> str:
    """Return the address that a server or worker such as redis-0 has to itself, and connects from."""
    kind, _, number = party.rpartition("-")
    return f"{_BACKS[kind]}{int(number) + 1}"


class _Path:
    """The way from one party to one server."""

    def __init__(self) -> None:
        self.passable = asyncio.Event()
        self.passable.set()
        self.delay = 0.0
        self._cuts = 0

    def cut(self) -> None:
        self._cuts += 1
        self.passable.clear()

    def join(self) -> None:
        self._cuts -= 1
        if not self._cuts:
            self.passable.set()


class Network:
    """The paths between all parties. Used from one event loop."""

    def __init__(self, parties: Iterable[str]) -> None:
        """Take the names of all that connect: servers and workers."""
        self._names = {back(party): party for party in parties}
        self._paths: defaultdict[tuple[str, str], _Path] = defaultdict(_Path)
        self._listening: list[asyncio.Server] = []
        self._carried: set[asyncio.Task[None]] = set()

    async def serve(self, server: str, front: Place) -> None:
        """Listen at the address that ``server`` announces."""

        async def accept(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
            peer = self._names.get(to_client.get_extra_info("peername")[0], "")
            # close() cancels this task, and asyncio before 3.12 reports that as an error of the server.
            with contextlib.suppress(asyncio.CancelledError):
                await self._carry(self._paths[peer, server], (back(server), front[1]), client, to_client)

        self._listening.append(await asyncio.start_server(accept, *front))

    def cut(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Let nothing pass between the two sides until ``join``."""
        for path in self._between(one, other):
            path.cut()

    def join(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Undo one ``cut``."""
        for path in self._between(one, other):
            path.join()

    def slow(self, one: Iterable[str], other: Iterable[str], seconds: float) -> None:
        """Delay everything between the two sides by so many seconds in each direction."""
        for path in self._between(one, other):
            path.delay = seconds

    async def close(self) -> None:
        """End all connections."""
        for listening in self._listening:
            listening.close()
        for carried in self._carried:
            carried.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _between(self, one: Iterable[str], other: Iterable[str]) -> list[_Path]:
        others = list(other)
        return [self._paths[pair] for a in one for b in others for pair in ((a, b), (b, a))]

    async def _carry(
        self, path: _Path, to: Place, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        try:
            await path.passable.wait()
            with contextlib.suppress(OSError):
                server, to_server = await asyncio.open_connection(*to)
                try:
                    await _both_ways(path, client, to_client, server, to_server)
                finally:
                    to_server.transport.abort()
        finally:
            self._carried.discard(task)
            to_client.transport.abort()


async def _both_ways(
    path: _Path,
    client: asyncio.StreamReader,
    to_client: asyncio.StreamWriter,
    server: asyncio.StreamReader,
    to_server: asyncio.StreamWriter,
) -> None:
    """Carry bytes until one side ends, and let that news wait for the path, too."""
    pumps = [
        asyncio.ensure_future(_pump(path, client, to_client, to_server)),
        asyncio.ensure_future(_pump(path, server, to_server, to_client)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        await path.passable.wait()
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    path: _Path, source: asyncio.StreamReader, to_source: asyncio.StreamWriter, to: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            if path.delay:
                await asyncio.sleep(path.delay)
            if not path.passable.is_set():
                await path.passable.wait()
                if to_source.transport.is_closing():
                    return
            to.write(data)
            await to.drain()
