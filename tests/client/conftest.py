"""A fleet and a network that tests drive by hand: what is lost, late or out of order happens when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from cacheclient import AsyncCache, CacheOptions, L1Options, LockOptions, SyncOptions
from cacheclient.errors import UnavailableError
from cacheclient.remote import Address, FixedTopology, Link, Login, RedisStore, parse
from cacheclient.stats import Stats
from cacheclient.testing import Fleet
from tests.conftest import Server, until


@pytest.fixture(autouse=True)
def nothing_ends_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail tests whose tasks or futures end with an error that nobody looks at; asyncio only logs those."""
    yield
    unseen = [r.getMessage() for r in caplog.get_records("call") if r.name == "asyncio" and r.levelno >= logging.ERROR]
    assert not unseen


@contextlib.asynccontextmanager
async def store_on(server: Server, within: float = 5.0) -> AsyncIterator[RedisStore]:
    """Open the operations on one server, without a cache; ``within`` is their time limit in seconds."""
    stats = Stats()
    link = Link(FixedTopology(parse(server.url).nodes[0]), Login(timeout=within), stats)
    await link.start()
    try:
        yield RedisStore(link, stats, within)
    finally:
        await link.close()


class Hand:
    """Caches over one fake store with one clock that stands still; pushes arrive when the test delivers them."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.clock, self.store = self.fleet.clock, self.fleet.store
        self.caches: list[AsyncCache] = []

    async def cache(self, **settings: Any) -> AsyncCache:
        options = CacheOptions(l1=L1Options(jitter=0), lock=LockOptions(load_timeout=60, lease=60, wait=60))
        cache = self.fleet.cache("hand", **{"options": options, **settings})
        await cache.start()
        self.fleet.line(cache).hold()
        self.caches.append(cache)
        return cache

    def push(self, cache: AsyncCache, *keys: str) -> None:
        """Deliver a push of the listener; without keys it says that any may have changed."""
        self.fleet.line(cache).push(*(cache.space.full(key) for key in keys))


@pytest.fixture
async def hand() -> AsyncIterator[Hand]:
    hand = Hand()
    yield hand
    for cache in hand.caches:
        await cache.close()


class Source:
    """The database: one value, and loads that the test lets end."""

    def __init__(self, value: str = "old") -> None:
        self.value = value
        self.calls = 0
        self.reading = asyncio.Event()
        self.may_end = asyncio.Event()

    async def held(self, key: str) -> str:
        """Read the value now and return it when the test says so."""
        del key
        self.calls += 1
        value = self.value
        self.reading.set()
        await self.may_end.wait()
        return value

    async def load(self, key: str) -> str:
        """Read the value and return it at once."""
        del key
        self.calls += 1
        return self.value


class Named:
    """A topology that names what a test says, for a second each time; None: there is no majority."""

    electors = "voices"
    term = 1.0
    master: Address | None = None

    def __init__(self, address: Address) -> None:
        type(self).master = address

    async def find_master(self) -> Address:
        if self.master is None:
            raise UnavailableError("no majority")
        return self.master

    async def watch(self, changed: Callable[[], None]) -> None:  # noqa: ARG002  nobody tells: a partition
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Passage:
    """One TCP connection through the proxy."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.seen = b""  # what the client has sent
        self.flowing = asyncio.Event()
        self.flowing.set()

    @property
    def tracking(self) -> bool:
        return b"TRACKING" in self.seen

    def cut(self) -> None:
        """End the connection at both ends."""
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """A TCP proxy in front of Redis: connections can be frozen (half-open), cut, or led to another server."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.passages: list[Passage] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def tracking(self) -> list[Passage]:
        return [passage for passage in self.passages if passage.tracking]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        passage = Passage(writer, far_writer)
        self.passages.append(passage)
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, passage, out=True), self._pump(far_reader, writer, passage, out=False)
            )
        except asyncio.CancelledError:  # the loop ends; asyncio would report the cancellation as an error
            pass
        finally:
            passage.cut()
            self.passages.remove(passage)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passage: Passage, *, out: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if out:
                    passage.seen += data
                await passage.flowing.wait()
                sink.write(data)
                await sink.drain()
        passage.cut()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for passage in list(self.passages):
            passage.flowing.set()
            passage.cut()
        await until(lambda: not self.passages)


@pytest.fixture
async def proxied() -> AsyncIterator[Callable[[int], Awaitable[Proxy]]]:
    """Return a function that opens a proxy to a port of this machine."""
    proxies: list[Proxy] = []

    async def open_proxy(target: int) -> Proxy:
        proxy = Proxy(target)
        await proxy.start()
        proxies.append(proxy)
        return proxy

    yield open_proxy
    for proxy in proxies:
        await proxy.close()


RACE = CacheOptions(
    l1=L1Options(jitter=0), lock=LockOptions(load_timeout=5, lease=5, wait=5), sync=SyncOptions(max_staleness=0.3)
)


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Awaitable[AsyncCache]]]:
    """Return a function that opens a cache at a URL; all are closed afterwards."""
    caches: list[AsyncCache] = []

    async def open_cache(url: str, namespace: str, **kwargs: Any) -> AsyncCache:
        cache = AsyncCache.from_url(url, namespace=namespace, **{"options": RACE, **kwargs})
        await cache.start()
        caches.append(cache)
        return cache

    yield open_cache
    for cache in caches:
        await cache.close()


@pytest.fixture
def scene(
    hand: Hand,
    shared_server: Server,
    namespace: str,
    opened: Callable[..., Awaitable[AsyncCache]],
    proxied: Callable[[int], Awaitable[Proxy]],
    launch: Callable[..., Server],
) -> Any:
    """Return what a race may use; see ``racing``."""
    from tests.client.racing import Scene  # noqa: PLC0415  it builds on this module

    return Scene(hand, shared_server, namespace, opened, proxied, launch)
