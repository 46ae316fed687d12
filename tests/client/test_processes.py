"""What is left of a cache when its process is interrupted, forks, or is done with it: nothing."""

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
from pathlib import Path
from typing import Final

import pytest

from cacheclient import AsyncCache, Cache
from tests.conftest import PATIENCE, Server, until

# From 3.12 on Python warns of a fork beside threads, which is what is done here.
_FORK: Final = "ignore:This process (pid:DeprecationWarning"
STRICT: Final = ("-X", "dev", "-W", "error::ResourceWarning", "-W", _FORK, "-c")

HANGING: Final = {
    "tasks": """
        import asyncio, sys
        from cacheclient import AsyncCache

        async def hang(key):
            print("loading", flush=True)
            await asyncio.sleep(60)

        async def main():
            async with AsyncCache.from_url(sys.argv[1], namespace=sys.argv[2]) as cache:
                await cache.get_or_load("a", hang)

        asyncio.run(main())
    """,
    "threads": """
        import sys, time
        from cacheclient import Cache

        def hang(key):
            print("loading", flush=True)
            time.sleep(60)

        with Cache.from_url(sys.argv[1], namespace=sys.argv[2]) as cache:
            cache.get_or_load("a", hang)
    """,
    "threads, never closed": """
        import sys, time
        from cacheclient import Cache

        def hang(key):
            print("loading", flush=True)
            time.sleep(60)

        cache = Cache.from_url(sys.argv[1], namespace=sys.argv[2])
        cache.start()
        cache.get_or_load("a", hang)
    """,
}


@pytest.mark.parametrize("surface", HANGING)
@pytest.mark.parametrize("tier", ["redis", "memory"])
def test_ctrl_c_during_a_load_ends_the_process_at_once(
    shared_server: Server, namespace: str, surface: str, tier: str
) -> None:
    url = shared_server.url if tier == "redis" else "memory://"
    command = [sys.executable, "-c", textwrap.dedent(HANGING[surface]), url, namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        interrupted = time.monotonic()
        try:
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert time.monotonic() - interrupted < PATIENCE / 2
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    for noise in ("never retrieved", "Exception ignored", "never closed", "was destroyed"):
        assert noise not in said, said
    if tier == "redis" and surface != "threads, never closed":
        assert not shared_server.client.exists(f"{namespace}:v1:a"), "the lease was not given back"


PRELOADED: Final = """
    import asyncio, os, sys
    from cacheclient import AsyncCache, Cache, CacheOptions, L2Options, Limit

    # As a server does that loads the application once and then forks its workers.
    options = CacheOptions(l2=L2Options(timeout=5))
    threads = Cache.from_url(sys.argv[1], namespace=sys.argv[2], options=options)
    tasks = AsyncCache.from_url(sys.argv[1], namespace=sys.argv[2], options=options)
    limiter = threads.rate_limiter("work", Limit(10, per=3600))
    threads.start()
    assert threads.set("from", "the parent")
    assert limiter.hit("all").remaining == 9

    async def in_tasks():
        async with tasks as cache:
            assert await cache.set(f"task-{os.getpid()}", 1)
            return await cache.get("from")

    def work():
        assert threads.get("from") == "the parent"
        assert threads.set(f"thread-{os.getpid()}", 1)
        assert asyncio.run(in_tasks()) == "the parent"
        assert limiter.hit("all").decided_by == "redis"
        threads.close()

    for _ in range(2):
        if not (child := os.fork()):
            work()
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0, "a worker failed"
        assert threads.get(f"thread-{child}") == threads.get(f"task-{child}") == 1
    assert limiter.hit("all").remaining == 6
    assert threads.stats().connection_errors == threads.stats().gaps == 0
    threads.close()
"""

POOL: Final = """
    import multiprocessing, sys
    from cacheclient import Cache, CacheOptions, L2Options

    OPTIONS = CacheOptions(l2=L2Options(timeout=5))

    def work(url, namespace, number):
        with Cache.from_url(url, namespace=namespace, options=OPTIONS) as cache:
            assert cache.set(f"worker-{number}", number)
            assert cache.get_or_load("shared", lambda key: "loaded") in ("loaded", "the parent")

    if __name__ == "__main__":
        method, url, namespace = sys.argv[1:]
        context = multiprocessing.get_context(method)
        with Cache.from_url(url, namespace=namespace, options=OPTIONS) as cache:
            cache.set("shared", "the parent")
            workers = [context.Process(target=work, args=(url, namespace, n)) for n in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
            assert [worker.exitcode for worker in workers] == [0, 0]
            assert cache.get_many(["worker-0", "worker-1"]) == {"worker-0": 0, "worker-1": 1}
"""


def run(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_workers_forked_from_a_loaded_application(shared_server: Server, namespace: str) -> None:
    run(*STRICT, textwrap.dedent(PRELOADED), shared_server.url, namespace)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing(shared_server: Server, namespace: str, method: str, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"  # spawn imports it anew
    script.write_text(textwrap.dedent(POOL))
    run("-W", "error::ResourceWarning", str(script), method, shared_server.url, namespace)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count


@pytest.mark.parametrize("tier", ["redis", "memory"])
async def test_caches_that_come_and_go_leave_no_task_socket_or_thread(
    shared_server: Server, namespace: str, tier: str
) -> None:
    url = shared_server.url if tier == "redis" else "memory://"

    def in_thread() -> None:
        with Cache.from_url(url, namespace=namespace) as cache:
            cache.get_or_load("b", str.upper)

    async def use() -> None:
        async with AsyncCache.from_url(url, namespace=namespace) as cache:
            await cache.set("a", 1, tags=["t"])
            await cache.get("a")
            await cache.invalidate_pattern("*")
        await asyncio.to_thread(in_thread)

    await use()
    tasks, files = asyncio.all_tasks(), open_files()
    threads = {thread.name for thread in threading.enumerate()}
    for _ in range(10):
        await use()
    gc.collect()
    await until(lambda: asyncio.all_tasks() == tasks and open_files() <= files)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("cacheclient") and t.name not in threads]
