"""Who is the master: votes of Sentinels that a test plays, and following a change on real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cacheclient import AsyncCache, CacheOptions, L2Options
from cacheclient.errors import UnavailableError
from cacheclient.remote import Address, parse
from cacheclient.remote.sentinels import SentinelTopology, majority
from tests.conftest import Server, free_port, until

A, B, C = Address("a", 1), Address("b", 1), Address("c", 1)
QUICK = CacheOptions(l2=L2Options(connect_timeout=0.5))


@pytest.mark.parametrize(
    ("votes", "sentinels", "master"),
    [([A], 1, A), ([A, A], 3, A), ([A, A, B], 3, A), ([B, A, B], 3, B), ([A] * 3, 5, A)],
)
def test_more_than_half_of_all_sentinels_decide(votes: list[Address], sentinels: int, master: Address) -> None:
    assert majority(votes, sentinels) == master


@pytest.mark.parametrize(
    ("votes", "sentinels"), [([], 3), ([A], 3), ([A, B], 3), ([A, B, C], 3), ([A, A], 4), ([A, A, B, B], 4)]
)
def test_without_a_majority_there_is_no_master(votes: list[Address], sentinels: int) -> None:
    assert majority(votes, sentinels) is None


class Sentinel:
    """Answers who the master is, and tells subscribers."""

    def __init__(self) -> None:
        self.names: Address | None = None
        self.subscribers: list[asyncio.StreamWriter] = []
        self.asked = 0
        self.silent = False
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def place(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while header := await reader.readline():
                words = []
                for _ in range(int(header[1:])):
                    await reader.readline()
                    words.append((await reader.readline()).strip().upper())
                self._answer(words, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> None:
        if self.silent:
            return
        if words[0] == b"SENTINEL":
            self.asked += 1
            host, port = self.names or ("", 0)
            answer = f"*2\r\n${len(host)}\r\n{host}\r\n${len(str(port))}\r\n{port}\r\n" if self.names else "*-1\r\n"
            writer.write(answer.encode())
        elif words[0] == b"SUBSCRIBE":
            self.subscribers.append(writer)
            writer.write(b"*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n")
        else:
            writer.write(b"+OK\r\n")

    def tell(self, text: str) -> None:
        for writer in self.subscribers:
            writer.write(f"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${len(text)}\r\n{text}\r\n".encode())

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def sentinels() -> AsyncIterator[list[Sentinel]]:
    sentinels = [Sentinel() for _ in range(3)]
    for sentinel in sentinels:
        await sentinel.start()
    yield sentinels
    for sentinel in sentinels:
        sentinel.close()


def url_of(sentinels: list[Sentinel]) -> str:
    return f"redis+sentinel://{','.join(sentinel.place for sentinel in sentinels)}/cache-test"


async def test_sentinels_are_asked_each_by_itself(sentinels: list[Sentinel]) -> None:
    for sentinel, name in zip(sentinels, (A, A, B), strict=True):
        sentinel.names = name
    topology = SentinelTopology(parse(url_of(sentinels)), 0.5, 1.0)
    assert await topology.find_master() == A
    await until(lambda: [sentinel.asked for sentinel in sentinels] == [1, 1, 1])
    sentinels[0].close()  # one is away: two who disagree are no majority
    with pytest.raises(
        UnavailableError, match="more than half of 3 Sentinels have to agree on a master: a:1 by 1, b:1"
    ):
        await topology.find_master()
    sentinels[
        2
    ].names = None  # one that does not know the set has no vote, and one alone may stand with a deposed master
    with pytest.raises(UnavailableError, match="more than half of 3 Sentinels have to agree on a master: a:1 by 1"):
        await topology.find_master()
    await topology.close()


async def test_silent_sentinels_cost_their_time_limit_and_no_more(sentinels: list[Sentinel]) -> None:
    for sentinel in sentinels:
        sentinel.silent = True
    topology = SentinelTopology(parse(url_of(sentinels)), 0.2, 1.0)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="no Sentinel answered"):
        await topology.find_master()
    assert time.monotonic() - began < 3
    await topology.close()


async def test_a_silent_minority_costs_nothing(sentinels: list[Sentinel]) -> None:
    for sentinel in sentinels:
        sentinel.names = A
    topology = SentinelTopology(parse(url_of(sentinels)), 30.0, 1.0)
    assert await topology.find_master() == A
    sentinels[1].silent = True
    for _ in range(3):
        async with asyncio.timeout(5):
            assert await topology.find_master() == A
    await topology.close()


async def test_a_cache_follows_what_the_sentinels_name(
    sentinels: list[Sentinel],
    launch: Callable[..., Server],
    opened: Callable[..., Awaitable[AsyncCache]],
    namespace: str,
) -> None:
    first, second = launch(), launch()
    for sentinel in sentinels:
        sentinel.names = Address("127.0.0.1", first.port)
    cache = await opened(url_of(sentinels), namespace, options=QUICK)
    assert await cache.set("a", 1)
    await until(lambda: all(sentinel.subscribers for sentinel in sentinels))
    for sentinel in sentinels:
        sentinel.names = Address("127.0.0.1", second.port)
    sentinels[0].tell("another-set 127.0.0.1 1 127.0.0.1 2")
    assert await cache.get("a") == 1
    sentinels[1].tell(f"cache-test 127.0.0.1 {first.port} 127.0.0.1 {second.port}")  # the old master still answers
    await until(lambda: cache.stats().failovers == 1)
    assert await cache.set("b", 2)
    assert second.client.exists(f"{namespace}:v1:b")
    assert not first.client.exists(f"{namespace}:v1:b")
    await until(lambda: cache.stats().listener_connected)
    for server in (first, second):
        server.kill()


async def test_a_replica_that_sentinels_still_name_is_refused_until_it_leads(
    sentinels: list[Sentinel],
    launch: Callable[..., Server],
    opened: Callable[..., Awaitable[AsyncCache]],
    namespace: str,
) -> None:
    server = launch()
    server.client.replicaof("127.0.0.1", free_port())
    for sentinel in sentinels:
        sentinel.names = Address("127.0.0.1", server.port)
    cache = await opened(url_of(sentinels), namespace, options=QUICK)
    assert cache.stats().circuit_open
    assert not await cache.set("a", 1)
    server.client.replicaof("NO", "ONE")
    await until(lambda: not cache.stats().circuit_open)
    assert await cache.set("a", 1)
    assert cache.stats().outage.count == 1
    server.kill()
