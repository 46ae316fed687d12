"""One Redis server for the bars: a real process on a free port of the loopback interface, without persistence."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

import redis

from bench.rounds import BenchError
from infra.local.binaries import find
from infra.local.errors import LocalError

_PATIENCE = 10.0  # seconds to start


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str]]:
    """Start a server and stop it in the end; give its port and its version.

    Raises:
        BenchError: if no server is installed, or it does not start.
    """
    try:
        binaries = find()
    except LocalError as error:
        raise BenchError(str(error)) from error
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="cachestack-bench-") as folder:
        command = [str(binaries.server), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait_for(process, port)
            yield port, binaries.version.split(" (")[0]
        finally:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    with redis.Redis(port=port) as client:
        while True:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the Redis server did not start on port {port}")
            time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
