"""The service as a process, with and without the cache, and known to Prometheus."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cacheclient.contract import Env
from examples.fingerprint.exposition import listed
from examples.fingerprint.service.app import CACHED, WARM_USERS
from examples.fingerprint.service.postgres import DSN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).parents[3]  # where `-m examples...` finds the package
_PATIENCE: Final = 180.0  # seconds to be ready: the warm-up is waited for
# L1 goes on answering while there is no master, marked stale; a report that cannot be loaded may be a minute old.
_OPTIONS: Final = {"FAILSAFE_OFFLINE": "60", "FAILSAFE_WINDOW": "60", "L2_TIMEOUT": "0.5"}


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    port: int
    pid: int

    def stats(self) -> dict[str, Any]:
        """Return the figures of its cache: GET /cache/stats."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/cache/stats", timeout=10) as answer:
            figures: dict[str, Any] = json.load(answer)
            return figures

    def size(self, path: str) -> int:
        """Return how many bytes it answers ``path`` with."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=10) as answer:
            return len(answer.read())


@contextlib.contextmanager
def serving(
    dsn: str, cache: Mapping[str, str], *, cached: bool, warm: int, log: Path, discovery: Path | None = None,
    factory: str = "examples.fingerprint.service.app:app",
) -> Iterator[Service]:  # fmt: skip
    """Start the service with one worker, wait until it is ready, and stop it in the end.

    Args:
        dsn: the database.
        cache: the environment of a cache (``contract.Env``).
        cached: whether it reads through the cache.
        warm: how many of the most popular reports it loads before it is ready.
        log: where it writes.
        discovery: the folder in which Prometheus looks for targets; None: nobody scrapes.
        factory: what is served.

    Raises:
        OSError: if it does not start.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    environment = {**os.environ, **cache, DSN: dsn, CACHED: str(int(cached)), WARM_USERS: str(warm if cached else 0)}
    environment |= {Env.CODEC.value: "raw"} | {f"{Env.OPTION_PREFIX.value}{k}": v for k, v in _OPTIONS.items()}
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--workers", "1", "--no-ws"]
    command += ["--host", HOST, "--port", str(port), factory]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=_ROOT)
    try:
        _wait(process, port, log)
        with listed(f"{HOST}:{port}", "service", discovery):
            yield Service(port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/docs", timeout=5).close()
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"the service did not start: {log.read_text()[-600:]}") from None
            time.sleep(0.1)
        else:
            return
