"""Reads that threads make by themselves, over a lane: who leads, what holds as on the loop, and how lanes end."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cacheclient import MISSING, Cache, CacheOptions, L1Options, L2Options, UnavailableError
from cacheclient import crossing as crossing_module
from cacheclient.crossing import Crossing
from cacheclient.journal import Journal
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.reading import Reader
from cacheclient.remote import Address, Connection, Lane, Login
from infra.local import binaries
from infra.local.errors import LocalError
from tests.conftest import PATIENCE, Server, wait_for

OPTIONS = CacheOptions(l1=L1Options(max_entries=0), l2=L2Options(timeout=PATIENCE))
WITH_L1 = CacheOptions(l1=L1Options(jitter=0), l2=L2Options(timeout=PATIENCE))
Opened = Callable[..., Cache[Any]]


def lane_of(cache: Cache[Any]) -> Lane:
    """Return the cache's lane; wait for it."""
    lanes = cache._here()._lanes
    assert lanes is not None
    lane: Lane = wait_for(lambda: lanes._lane)
    return lane


def on_loop(cache: Cache[Any], act: Callable[[], Any]) -> None:
    """Have ``act`` called on the cache's loop, and wait for it."""

    async def acted() -> None:
        act()

    cache._here().run(acted())


class Held:
    """The next read over ``lane``, held when its answer is there."""

    def __init__(self, lane: Lane) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        fetch = lane.fetch

        def held(keys: Sequence[str]) -> list[bytes | None]:
            lane.fetch = fetch  # type: ignore[method-assign]
            values = fetch(keys)
            self.reached.set()
            assert self.go.wait(PATIENCE)
            return values

        lane.fetch = held  # type: ignore[method-assign]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many tickets the loop found at each of its looks."""
    found: list[int] = []
    look = Crossing._look

    def counted(self: Crossing) -> None:
        found.append(len(self._asked))
        look(self)

    monkeypatch.setattr(Crossing, "_look", counted)
    return found


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the ids of every batch that a lane carried."""
    batches: list[list[str]] = []
    fetch = Lane.fetch

    def noted(self: Lane, keys: Sequence[str]) -> list[bytes | None]:
        batches.append([key.rpartition(":")[2] for key in keys])
        return fetch(self, keys)

    monkeypatch.setattr(Lane, "fetch", noted)
    return batches


@pytest.fixture
def opened(shared_server: Server, namespace: str) -> Iterator[Opened]:
    """Return a function that opens a cache with a lane, whose L2 holds "a" to "e" as their own values."""
    caches: list[Cache[Any]] = []

    def open_cache(
        server: Server = shared_server, options: CacheOptions = OPTIONS, ca: str | None = None
    ) -> Cache[Any]:
        url = server.url.replace("redis", "rediss") if ca else server.url
        cache: Cache[Any] = Cache.from_url(url, namespace=namespace, options=options, ca_file=ca or None)
        cache.start()
        caches.append(cache)
        assert cache.set_many({key: key for key in "abcde"})
        wait_for(lambda: cache._here().cache.stats().listener_connected)
        lane_of(cache)
        cache.get("known")  # L1 keeps nothing before the namespace's token is known
        return cache

    yield open_cache
    for cache in caches:
        cache.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a folder with a certificate of this machine and its authority."""
    certificates = pytest.importorskip("infra.certificates")
    for name, text in certificates.generate(("127.0.0.1", "localhost")).items():
        (tmp_path / name).write_text(text)
    return tmp_path


# -- who leads ---------------------------------------------------------------------------------------------------------


def test_a_thread_reads_without_the_loop_and_the_main_thread_through_it(
    opened: Opened, pool: ThreadPoolExecutor, looks: list[int], fetched: list[list[str]]
) -> None:
    cache = opened()
    looks.clear()
    assert [pool.submit(cache.get, key, MISSING).result(PATIENCE) for key in "abz"] == ["a", "b", MISSING]
    assert (looks, fetched) == ([], [["a"], ["b"], ["z"]])
    assert cache.get("c") == "c"
    assert (looks, fetched) == ([1], [["a"], ["b"], ["z"]])
    stats = cache.stats()
    assert (stats.l2.hits, stats.l2.misses) == (3, 2)  # "known", too


def test_threads_that_come_meanwhile_share_the_next_batch(
    opened: Opened, pool: ThreadPoolExecutor, looks: list[int], fetched: list[list[str]]
) -> None:
    cache = opened()
    held = Held(lane_of(cache))
    looks.clear()
    first = pool.submit(cache.get, "a")
    assert held.reached.wait(PATIENCE)
    rest = [pool.submit(cache.get, key, MISSING) for key in "bcdzb"]
    wait_for(lambda: len(cache._here().crossing._asked) == 5)
    held.go.set()
    assert [read.result(PATIENCE) for read in (first, *rest)] == ["a", "b", "c", "d", MISSING, "b"]
    assert [sorted(keys) for keys in fetched] == [["a"], ["b", "c", "d", "z"]]
    assert looks == []
    assert not cache._here().crossing._lead.locked()


def test_who_leads_gives_way_to_those_who_were_answered_together(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened()
    crossing = cache._here().crossing
    given: list[float] = []

    def give_way(seconds: float) -> None:
        given.append(seconds)
        pool.submit(cache.get, "b")
        wait_for(lambda: len(crossing._asked) == 2)

    monkeypatch.setattr(crossing_module, "time", SimpleNamespace(sleep=give_way))
    crossing._crowd = 2
    assert pool.submit(cache.get, "a").result(PATIENCE) == "a"
    assert (given, [sorted(keys) for keys in fetched]) == ([0], [["a", "b"]])
    monkeypatch.undo()
    crossing._crowd = 1  # alone before: there is nobody to give way to
    monkeypatch.setattr(crossing_module, "time", None)
    assert pool.submit(cache.get, "c").result(PATIENCE) == "c"


def test_the_lead_is_not_passed_on_to_the_main_thread(
    opened: Opened, pool: ThreadPoolExecutor, looks: list[int], fetched: list[list[str]]
) -> None:
    cache = opened()
    held = Held(lane_of(cache))
    looks.clear()
    first = pool.submit(cache.get, "a")
    assert held.reached.wait(PATIENCE)
    release = pool.submit(lambda: (wait_for(lambda: cache._here().crossing._asked), held.go.set()))
    assert cache.get("b") == "b"
    assert first.result(PATIENCE) == "a"
    release.result(PATIENCE)
    assert (looks, fetched) == ([1], [["a"]])


def test_an_interrupted_main_thread_takes_nothing_from_who_carries_its_read(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]]
) -> None:
    cache, main = opened(), threading.get_ident()
    lane, asked = lane_of(cache), cache._here().crossing._asked
    first = Held(lane)
    reads = [pool.submit(cache.get, "a")]
    assert first.reached.wait(PATIENCE)

    def interrupt() -> None:
        wait_for(lambda: asked)  # the main thread waits
        reads.append(pool.submit(cache.get, "b"))
        wait_for(lambda: len(asked) == 2)
        second = Held(lane)
        first.go.set()
        assert second.reached.wait(PATIENCE)  # the second thread leads, with both keys
        signal.pthread_kill(main, signal.SIGINT)
        pool.submit(lambda: (wait_for(lambda: interrupted), second.go.set()))

    interrupted: list[bool] = []
    interrupter = pool.submit(interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.get("c")
    interrupted.append(True)
    interrupter.result(PATIENCE)
    assert [read.result(PATIENCE) for read in reads] == ["a", "b"]
    assert [sorted(keys) for keys in fetched] == [["a"], ["b", "c"]]
    assert [cache.get(key) for key in "de"] == ["d", "e"]  # the answer that came late was for nobody


# -- what holds as it does on the loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fenced", [True, False])
def test_an_invalidation_meanwhile_voids_the_fill(
    opened: Opened, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, *, fenced: bool
) -> None:
    cache = opened(options=WITH_L1)
    if not fenced:
        commit = Local.commit

        def heedless(self: Local, key: str, fence: Any, *rest: Any) -> bool:
            self._fences[key] = fence
            return commit(self, key, fence, *rest)

        monkeypatch.setattr(Local, "commit", heedless)
    held = Held(lane_of(cache))
    read = pool.submit(cache.get, "a")
    assert held.reached.wait(PATIENCE)
    pushes = cache.stats().invalidations["key/remote"]
    assert cache.invalidate("a")
    wait_for(lambda: cache.stats().invalidations["key/remote"] > pushes)
    held.go.set()
    assert read.result(PATIENCE) == "a"  # it was asked for before
    assert (cache._here().cache.peek("a") is ABSENT) == fenced
    assert not cache._here().cache._parts.local._fences


def test_what_a_thread_does_besides_reading_waits_for_the_turn(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]]
) -> None:
    cache = opened()

    def occupied() -> threading.Event:
        """Have the loop be in the middle of something until the event is set."""
        begun, go = threading.Event(), threading.Event()
        cache._here().loop.call_soon_threadsafe(lambda: (begun.set(), go.wait(PATIENCE)))
        assert begun.wait(PATIENCE)
        return go

    assert pool.submit(cache.get, "c").result(PATIENCE) == "c"  # from now on the namespace's token is known
    held = Held(lane_of(cache))
    read = pool.submit(cache.get, "a")
    assert held.reached.wait(PATIENCE)
    go = occupied()
    held.go.set()
    with pytest.raises(TimeoutError):
        read.result(0.1)  # the answer is there, but not settled
    go.set()
    assert read.result(PATIENCE) == "a"
    go = occupied()
    read = pool.submit(cache.get, "b")
    with pytest.raises(TimeoutError):
        read.result(0.1)
    assert fetched == [["c"], ["a"]], "it was asked for in the middle of something"
    go.set()
    assert read.result(PATIENCE) == "b"


def test_what_is_read_over_a_lane_fills_l1(opened: Opened, pool: ThreadPoolExecutor) -> None:
    cache = opened(options=WITH_L1)
    wait_for(lambda: pool.submit(cache.get, "a").result(PATIENCE) == "a" and cache._here().cache.peek("a") == "a")


def test_what_is_owed_to_redis_is_not_asked_for_over_a_lane_either(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened()
    monkeypatch.setattr(Journal, "__len__", lambda _: 1)
    monkeypatch.setattr(Journal, "__contains__", lambda _, key: key == "a")
    assert [pool.submit(cache.get, key, MISSING).result(PATIENCE) for key in "ab"] == [MISSING, "b"]
    assert fetched == [["b"]]


def test_a_token_that_is_not_known_is_asked_for_on_the_loop(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]]
) -> None:
    cache = opened()
    assert cache.set("t", "tagged", tags=["t"])
    on_loop(cache, lambda: cache._here().cache._parts.tags.changed("t"))
    assert pool.submit(cache.get, "t").result(PATIENCE) == "tagged"
    assert fetched == [["t"]]
    assert cache.invalidate_tag("t")
    assert pool.submit(cache.get, "t", MISSING).result(PATIENCE) is MISSING


def test_past_its_tenure_nothing_is_read_over_a_lane(
    opened: Opened, pool: ThreadPoolExecutor, fetched: list[list[str]]
) -> None:
    cache = opened()
    link: Any = cache._here().cache._parts.shared.link
    link.tenure.until = 0.0
    assert pool.submit(cache.get, "a", MISSING).result(PATIENCE) is MISSING
    assert fetched == []


# -- how lanes end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_hung_server_takes_no_longer_than_a_read_may(
    launch: Callable[..., Server], certificate: Path, opened: Opened, pool: ThreadPoolExecutor, looks: list[int],
    *, encrypted: bool,
) -> None:  # fmt: skip
    if encrypted:
        try:
            binaries.require_tls(binaries.find())
        except LocalError as error:
            pytest.skip(str(error))
    server = launch("", *_encrypted(certificate)) if encrypted else launch()
    ca = str(certificate / "ca.crt") if encrypted else ""
    cache = opened(server, CacheOptions(l1=L1Options(max_entries=0), l2=L2Options(timeout=0.2)), ca)
    lane, before = lane_of(cache), cache.stats().errors["l2/timeout"]
    looks.clear()
    with server.frozen():
        began = time.monotonic()
        assert pool.submit(cache.get, "a", MISSING).result(PATIENCE) is MISSING
        assert time.monotonic() - began >= 0.2
        wait_for(lambda: cache.stats().errors["l2/timeout"] == before + 1)
    assert looks == []  # the loop had it answered, but did not ask again
    wait_for(lambda: cache._here()._lanes._lane not in (None, lane))  # type: ignore[union-attr]
    wait_for(lambda: pool.submit(cache.get, "a", MISSING).result(PATIENCE) == "a")
    cache.close()
    server.kill()


def _encrypted(folder: Path) -> tuple[str, ...]:
    files = {"--tls-ca-cert-file": "ca.crt", "--tls-cert-file": "tls.crt", "--tls-key-file": "tls.key"}
    named = (word for option, name in files.items() for word in (option, str(folder / name)))
    return ("--tls-auth-clients", "no", *named)


def test_a_lost_lane_costs_no_read(shared_server: Server, opened: Opened, pool: ThreadPoolExecutor) -> None:
    cache = opened()
    lane = lane_of(cache)
    port = lane._socket.getsockname()[1]
    shared_server.client.client_kill(f"127.0.0.1:{port}")
    assert pool.submit(cache.get, "a", MISSING).result(PATIENCE) == "a"
    wait_for(lambda: cache._here()._lanes._lane not in (None, lane))  # type: ignore[union-attr]
    assert not sum(cache.stats().errors.values())


def test_an_answer_that_outlives_its_link_is_not_believed(
    opened: Opened, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened()
    lane, link = lane_of(cache), cache._here().cache._parts.shared.link
    assert link is not None
    again: list[list[str]] = []
    send = Reader.send
    monkeypatch.setattr(Reader, "send", lambda self, batch, keys: (again.append(list(keys)), send(self, batch, keys)))
    held = Held(lane)
    read = pool.submit(cache.get, "a")
    assert held.reached.wait(PATIENCE)
    on_loop(cache, link._reconsider.set)  # type: ignore[attr-defined]
    wait_for(lambda: lane.ended)
    wait_for(lambda: link.connection is not None)  # type: ignore[attr-defined]
    held.go.set()
    assert read.result(PATIENCE) == "a"
    assert [keys for keys in again if keys[0].endswith(":a")] == [[f"{cache.space.prefix}a"]]


def test_a_lane_that_was_opened_beside_a_connection_that_is_gone_is_not_kept(opened: Opened) -> None:
    cache = opened()
    lane, lanes = lane_of(cache), cache._here()._lanes
    assert lanes is not None
    late = Lane.open(dataclasses.replace(lane.connection, epoch=0), lanes._link.login)
    on_loop(cache, lambda: lanes._opened(late))
    assert late.ended
    assert lanes._lane is not late


def test_a_lane_that_ends_in_use_keeps_its_descriptor_until_it_is_given_back(opened: Opened) -> None:
    cache = opened()
    lane, lanes, seen = lane_of(cache), cache._here()._lanes, []
    assert lanes is not None

    def end_in_use() -> None:
        assert lanes.take() is lane
        lane.end()
        seen.append(lane._socket.fileno())  # closed, it could be another file's by the time the thread reads from it
        lanes.give_back(lane)
        seen.append(lane._socket.fileno())

    on_loop(cache, end_in_use)
    assert seen[0] != -1
    assert seen[1] == -1


def test_closing_ends_a_read_over_a_lane(own_server: Server, opened: Opened, pool: ThreadPoolExecutor) -> None:
    cache = opened(own_server)
    crossing = cache._here().crossing
    with own_server.frozen():
        read = pool.submit(cache.get, "a", MISSING)
        wait_for(lambda: lane_of(cache).busy)
        began = time.monotonic()
        cache.close()
        assert read.result(PATIENCE) is MISSING
        assert time.monotonic() - began < PATIENCE / 2
    assert crossing._lead.locked()  # nobody leads any more
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cacheclient")]


def test_closing_waits_for_a_lane_that_is_being_opened(own_server: Server, opened: Opened) -> None:
    cache = opened(own_server)
    lane, lanes = lane_of(cache), cache._here()._lanes
    assert lanes is not None
    with own_server.frozen():  # it connects, and nobody answers
        on_loop(cache, lambda: lanes._open(lane.connection))
        opening = lanes._opening
        assert opening is not None
        assert opening.is_alive()
        cache.close()
        assert not opening.is_alive()


def test_a_lane_leads_to_a_master_only(own_server: Server) -> None:
    async def refused() -> None:
        connection: Any = Connection(Address("127.0.0.1", own_server.port), 1, None, None)  # type: ignore[arg-type]
        await asyncio.to_thread(Lane.open, connection, Login())

    own_server.client.replicaof("127.0.0.1", "1")
    with pytest.raises(UnavailableError, match="is slave, not master"):
        asyncio.run(refused())
