"""A store and a network that tests drive by hand: what is lost, late or out of order happens when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from cacheclient import AsyncCache, CacheOptions, L1Options, LockOptions, SyncOptions, entry
from cacheclient.clock import Gate, ServerClock
from cacheclient.connect import Shared
from cacheclient.errors import UnavailableError
from cacheclient.remote import Leased, LocalLocks, parse
from tests.conftest import until


@pytest.fixture(autouse=True)
def nothing_ends_unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail tests whose tasks or futures end with an error that nobody looks at; asyncio only logs those."""
    yield
    unseen = [r.getMessage() for r in caplog.get_records("call") if r.name == "asyncio" and r.levelno >= logging.ERROR]
    assert not unseen


class HandClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


class Hold:
    """One call of the store that stops: before Redis executes it, or with its reply on the way back."""

    def __init__(self, *, executed: bool) -> None:
        self.executed = executed
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.lost = False


class HandStore:
    """The second tier in memory, with the rules of the Lua scripts; the test may hold or fail any call."""

    echoes = True

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.away = False
        self._holds: dict[str, Hold] = {}

    def hold(self, call: str, *, executed: bool) -> Hold:
        """Hold the next call of this name."""
        self._holds[call] = Hold(executed=executed)
        return self._holds[call]

    async def _call(self, name: str, execute: Callable[[], Any]) -> Any:
        if self.away:
            raise UnavailableError("the store is away")
        hold = self._holds.pop(name, None)
        if hold is None:
            return execute()
        result = execute() if hold.executed else None
        hold.reached.set()
        await hold.go.wait()
        if hold.lost:
            raise UnavailableError("the answer is lost", in_doubt=True)
        return result if hold.executed else execute()

    def _standing(self, key: str) -> bytes:
        return self.data.get(key, b"")[1:9]

    async def read(self, key: str) -> bytes | None:
        raw: bytes | None = await self._call("read", lambda: self.data.get(key))
        return raw

    async def lease(self, key: str, token: bytes, seconds: float, readable: bytes, reject: bytes = b"") -> Leased:
        del seconds

        def execute() -> Leased:
            raw = self.data.get(key, b"")
            if raw[:1] == entry.LEASE and len(raw) == 9:
                return Leased()
            if raw[:1] == entry.VALUE and raw[9:11] == readable and raw[1:9] != reject:
                return Leased(raw)
            self.data[key] = entry.LEASE + token
            return Leased(granted=True)

        leased: Leased = await self._call("lease", execute)
        return leased

    async def fill(self, key: str, expected: bytes, data: bytes, seconds: float | None) -> bool:
        del seconds

        def execute() -> bool:
            if self._standing(key) != expected:
                return False
            self.data[key] = data
            return True

        filled: bool = await self._call("fill", execute)
        return filled

    async def release(self, key: str, token: bytes) -> None:
        def execute() -> None:
            if self.data.get(key) == entry.LEASE + token:
                del self.data[key]

        await self._call("release", execute)

    async def put(self, key: str, data: bytes, seconds: float) -> None:
        del seconds
        await self._call("put", lambda: self.data.update({key: data}))

    async def claim(self, key: str, token: bytes, seconds: float) -> bool:
        del seconds
        claimed: bool = await self._call(
            "claim", lambda: self.data.setdefault(key, entry.LEASE + token) == entry.LEASE + token
        )
        return claimed

    async def mark(self, key: str, token: bytes, seconds: float | None) -> tuple[bytes, float]:
        marker: bytes = await self._call("mark", lambda: self.data.setdefault(key, token))
        return marker, float("inf") if seconds is None else seconds

    async def remark(self, key: str, token: bytes, seconds: float | None) -> None:
        del seconds
        await self._call("remark", lambda: self.data.update({key: token}))

    async def bury_matching(self, pattern: str, write_id: bytes, seconds: float) -> AsyncIterator[int]:
        del seconds
        found = [key for key in self.data if fnmatchcase(key, pattern)]
        await self._call("bury_matching", lambda: self.data.update(dict.fromkeys(found, entry.tombstone(write_id))))
        yield len(found)

    async def repair(self, key: str, expected: bytes, write_id: bytes, seconds: float) -> bool:
        del seconds

        def execute() -> bool:
            if self._standing(key) in (expected, b""):
                return False
            self.data[key] = entry.tombstone(write_id)
            return True

        repaired: bool = await self._call("repair", execute)
        return repaired

    def publish(self, channel: str, message: bytes) -> None:
        """Events are not what these tests are about: nobody hears them."""

    async def bury(self, key: str, write_id: bytes, seconds: float, *, durable: bool) -> bool:
        del seconds, durable
        await self._call("bury", lambda: self.data.update({key: entry.tombstone(write_id)}))
        return False


class Hand:
    """Caches over one HandStore with one HandClock; pushes arrive when the test delivers them."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.store = HandStore()
        self.server_clock = ServerClock(self.clock)  # one server: caches opened at different times agree on its time
        self.caches: list[AsyncCache] = []

    def _connect(self, *_: object) -> Shared:
        return Shared(self.store, Gate(self.clock.now + 1e6), self.server_clock, LocalLocks(self.clock))

    async def cache(self, **kwargs: Any) -> AsyncCache:
        options = CacheOptions(l1=L1Options(jitter=0), lock=LockOptions(load_timeout=60, lease=60, wait=60))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cacheclient.connect.connect", self._connect)
            cache = AsyncCache(
                parse("redis://nowhere"), namespace="hand", clock=self.clock, **{"options": options, **kwargs}
            )
        await cache.start()
        self.caches.append(cache)
        return cache

    def push(self, cache: AsyncCache, *keys: str) -> None:
        """Deliver a push of the listener; without keys it says that any may have changed."""
        cache._invalidation.told([cache.space.full(key) for key in keys] or None)


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
