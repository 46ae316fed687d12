"""Cache: what threads and forks may do to it. The rest of its promises is in the conformance suite."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cacheclient import (
    MISSING,
    AsyncCache,
    Cache,
    CacheOptions,
    ClosedError,
    ConfigurationError,
    L1Options,
    SyncOptions,
)
from cacheclient.testing import Fleet
from tests.conftest import PATIENCE, Server, free_port, wait_for

OPTIONS = CacheOptions(l1=L1Options(jitter=0), sync=SyncOptions(max_staleness=0.3))


def threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cacheclient")]


def test_many_threads_share_one_load(shared_server: Server, namespace: str) -> None:
    calls = []

    def load(key: str) -> str:
        calls.append(key)
        wait_for(lambda: cache.stats().coalesced["process"] == 15)
        return "v"

    with (
        Cache.from_url(shared_server.url, namespace=namespace, options=OPTIONS) as cache,
        ThreadPoolExecutor(16) as pool,
    ):
        assert list(pool.map(lambda _: cache.get_or_load("a", load), range(16))) == ["v"] * 16
    assert calls == ["a"]


def test_a_hit_is_answered_in_the_calling_thread(shared_server: Server, namespace: str) -> None:
    with Cache.from_url(shared_server.url, namespace=namespace, options=OPTIONS) as cache:
        cache.set("a", 1)
        wait_for(lambda: cache.get("a") == 1 and cache.stats().l1.hits)
        runtime = cache._runtime
        assert runtime is not None
        held, go = threading.Event(), threading.Event()

        def occupy() -> None:
            held.set()
            go.wait(0.1)

        runtime.loop.call_soon_threadsafe(occupy)
        assert held.wait(PATIENCE)
        assert cache.get("a") == 1  # although the loop is busy
        assert cache.get_or_load("a", lambda _: 2) == 1
        go.set()


def test_an_interrupt_ends_the_wait_and_the_call_on_the_loop(namespace: str) -> None:
    go, main = threading.Event(), threading.get_ident()

    def load(_: str) -> str:
        signal.pthread_kill(main, signal.SIGINT)
        go.wait(PATIENCE)
        return "late"

    with Cache.from_url("memory://", namespace=namespace) as cache:
        runtime = cache._runtime
        assert runtime is not None
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_load("a", load)
        kept = {"cacheclient-journal", "cacheclient-tuner", "cacheclient-flight a"}  # but no caller
        wait_for(lambda: {task.get_name() for task in asyncio.all_tasks(runtime.loop)} == kept)
        go.set()
        wait_for(lambda: cache.get("a") == "late")


def test_an_interrupt_while_a_call_is_handed_to_the_loop_cancels_it_too(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    hand_over = asyncio.run_coroutine_threadsafe

    def interrupted(*call: Any) -> None:
        monkeypatch.undo()
        hand_over(*call)
        assert begun.wait(PATIENCE)
        raise KeyboardInterrupt

    def load(_: str) -> str:
        begun.set()
        go.wait(PATIENCE)
        return "late"

    with Cache.from_url("memory://", namespace=namespace) as cache:
        runtime = cache._here()
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.get_or_load("a", load)
        kept = {"cacheclient-journal", "cacheclient-tuner", "cacheclient-flight a"}  # but no caller
        wait_for(lambda: {task.get_name() for task in asyncio.all_tasks(runtime.loop)} == kept)
        go.set()


def occupied(cache: Cache[Any]) -> tuple[threading.Event, threading.Event]:
    """Keep the loop busy; return what is set when it is, and what sets it free."""
    runtime = cache._runtime
    assert runtime is not None
    held, go = threading.Event(), threading.Event()

    def occupy() -> None:
        held.set()
        go.wait(PATIENCE)

    runtime.loop.call_soon_threadsafe(occupy)
    assert held.wait(PATIENCE)
    return held, go


def test_reads_of_many_threads_travel_together() -> None:
    fleet = Fleet()
    with fleet.threads("threads") as cache, ThreadPoolExecutor(8) as pool:
        assert cache.set_many({str(number): number for number in range(4)})
        _, go = occupied(cache)
        reads = [pool.submit(cache.get, str(number % 5), MISSING) for number in range(8)]
        wait_for(lambda: len(cache._runtime.crossing._asked) == 8)  # type: ignore[union-attr]
        fleet.store.log.clear()
        go.set()
        assert [read.result(PATIENCE) for read in reads] == [0, 1, 2, 3, MISSING, 0, 1, 2]
        fetched = [call.split() for call in fleet.store.called("fetch")]
    assert sorted(fetched[0]) == [f"threads:v1:{number}" for number in range(5)]
    assert all("tag" in key for keys in fetched[1:] for key in keys)


def test_an_interrupted_reader_shifts_no_answer_of_its_thread() -> None:
    fleet = Fleet()
    main = threading.get_ident()
    with fleet.threads("threads") as cache:
        assert cache.set_many({"a": "a", "b": "b"})
        assert cache.get("c", MISSING) is MISSING  # the thread has its place to wait now, and would use it again
        _, go = occupied(cache)
        asked = cache._runtime.crossing._asked  # type: ignore[union-attr]
        interrupter = threading.Thread(
            target=lambda: (wait_for(lambda: asked), signal.pthread_kill(main, signal.SIGINT))
        )
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            cache.get("a")
        interrupter.join()
        go.set()
        wait_for(lambda: not asked)
        assert [cache.get(key) for key in "ba"] == ["b", "a"]  # the late answer to the first was for nobody


def test_closing_ends_the_reads_that_the_loop_never_saw(namespace: str) -> None:
    cache = Cache.from_url("memory://", namespace=namespace)
    cache.start()
    crossing = cache._here().crossing
    crossing._awake = True  # so that nobody wakes the loop
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(cache.get, "a") for _ in range(2)]
        wait_for(lambda: len(crossing._asked) == 2)
        cache.close()
        for read in reads:
            with pytest.raises(ClosedError):
                read.result(PATIENCE)
    with pytest.raises(ClosedError):
        crossing.read("a")
    assert len(crossing._asked) == 1


def test_a_key_that_cannot_be_is_refused_in_its_thread(namespace: str) -> None:
    with Cache.from_url("memory://", namespace=namespace) as cache:
        for wrong in ("", "a\n", 7):
            with pytest.raises(ConfigurationError, match="key="):
                cache.get(wrong)  # type: ignore[arg-type]
        assert cache.get("a", MISSING) is MISSING


def test_calls_that_race_with_close_end_one_way_or_the_other(shared_server: Server, namespace: str) -> None:
    for _ in range(5):
        cache = Cache.from_url(shared_server.url, namespace=namespace, options=OPTIONS)
        cache.start()
        begun = threading.Barrier(9)

        def hammer() -> str:
            begun.wait(PATIENCE)  # noqa: B023  used within the round
            try:
                while True:
                    cache.get_or_load("a", lambda _: 1)  # noqa: B023
                    cache.set("b", 1)  # noqa: B023
                    cache.get("c")  # noqa: B023
            except ClosedError:
                return "closed"

        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(hammer) for _ in range(8)]
            begun.wait(PATIENCE)
            cache.close()
            assert [call.result(PATIENCE) for call in calls] == ["closed"] * 8
    wait_for(lambda: not threads_of_ours())


def test_a_call_that_chose_its_loop_just_before_close_is_told(namespace: str) -> None:
    cache = Cache.from_url("memory://", namespace=namespace)
    cache.start()
    runtime = cache._here()
    cache.close()
    with pytest.raises(ClosedError):  # nobody would ever run it
        runtime.run(runtime.cache.get("a"))


def test_closing_does_not_wait_for_a_loader_that_hangs(namespace: str) -> None:
    go = threading.Event()
    cache = Cache.from_url("memory://", namespace=namespace)
    cache.start()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(cache.get_or_load, "a", lambda _: go.wait(PATIENCE))
        wait_for(lambda: cache._runtime is not None and cache._runtime.cache._parts.flights._running)
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < PATIENCE / 2
        with pytest.raises(ClosedError):
            call.result(PATIENCE)
        go.set()
    wait_for(lambda: not threads_of_ours())


def test_a_closed_cache_can_be_started_again(namespace: str) -> None:
    cache = Cache.from_url("memory://", namespace=namespace)
    for number in range(2):
        with cache:
            assert cache.get("a", MISSING) is MISSING
            cache.set("a", number)
            assert cache.get("a") == number
        with pytest.raises(ClosedError):
            cache.get("a")


@pytest.mark.parametrize("wrong", [{"namespace": "BAD"}, {"version": 0}, {"codec": "pickle"}])
def test_what_cannot_work_is_refused_before_anything_starts(wrong: dict[str, Any]) -> None:
    before = threading.active_count()
    for surface in (AsyncCache, Cache):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            surface.from_url("memory://", **{"namespace": "a", **wrong})
    assert threading.active_count() == before


def test_a_start_that_fails_leaves_no_thread() -> None:
    def build() -> AsyncCache:
        raise LookupError("no settings")

    cache = Cache(build)
    with pytest.raises(LookupError):
        cache.start()
    wait_for(lambda: not threads_of_ours())
    with pytest.raises(ClosedError):
        cache.get("a")


def test_a_cache_that_was_never_closed_is_told(namespace: str) -> None:
    cache = Cache.from_url("memory://", namespace=namespace)
    cache.start()
    runtime = cache._runtime
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del cache
        gc.collect()
    assert [w for w in caught if w.category is ResourceWarning and "never closed" in str(w.message)]
    assert runtime is not None
    runtime.close()


def test_without_redis_threads_load(namespace: str) -> None:
    with Cache.from_url(f"redis://127.0.0.1:{free_port()}", namespace=namespace, options=OPTIONS) as cache:
        assert cache.get_or_load("a", lambda key: key * 2) == "aa"


FORKING = """
    import os, sys, time
    from cacheclient import Cache, CacheOptions, L1Options, SyncOptions
    url, namespace, ending = sys.argv[1:]
    options = CacheOptions(l1=L1Options(jitter=0), sync=SyncOptions(max_staleness=0.3))
    cache = Cache.from_url(url, namespace=namespace, options=options)
    cache.start()

    def in_l1(key):
        end = time.monotonic() + 10
        while cache.get_entry(key).tier != "l1":
            assert time.monotonic() < end
        return cache.get(key)

    cache.set("shared", "parent")
    assert in_l1("shared") == "parent"
    child = os.fork()
    if child == 0:
        assert cache.get("shared") == "parent"
        assert cache.get_or_load("loaded", lambda key: "by the child") == "by the child"
        assert cache.set("shared", "child")
        assert in_l1("shared") == "child"
        assert cache.stats().l1.hits < 100  # its own counters
        if ending != "forget":
            cache.close()
        if ending == "hard":
            os._exit(0)
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"
    end = time.monotonic() + 2
    while cache.get("shared") != "child":
        assert time.monotonic() < end, "the parent is deaf"
    assert in_l1("shared") == "child"
    assert cache.get("loaded") == "by the child"
    assert cache.set("shared", "again") and in_l1("shared") == "again"
    assert cache.stats().gaps == 0 and cache.stats().connection_errors == 0
    cache.close()
"""


@pytest.mark.parametrize("ending", ["close", "hard", "forget"])
def test_a_fork_uses_sockets_of_its_own_and_leaves_the_parent_s_alone(
    shared_server: Server, namespace: str, ending: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORKING), shared_server.url, namespace, ending],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONWARNINGS": "default"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert ("never closed" in result.stderr) == (ending == "forget")
