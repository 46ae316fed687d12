"""A real Prometheus over a history that a test has written."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from dashboards.preview.results import Prometheus


@contextlib.contextmanager
def serving(promtool: str, folder: Path, history: Iterable[str], rules: str = "groups: []") -> Iterator[Prometheus]:
    """Serve ``history`` (lines of OpenMetrics with times) and evaluate ``rules``."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not on PATH: install Prometheus (Debian, Ubuntu: apt-get install prometheus)")
    (folder / "history.txt").write_text("\n".join(history) + "\n", encoding="utf-8")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    (folder / "prometheus.yml").write_text('rule_files: ["rules.yml"]', encoding="utf-8")
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "history.txt", "data"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binary, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_until_ready(address, server, folder / "log")
        yield Prometheus(f"http://{address}")
    finally:
        server.terminate()
        server.wait(20)


def _wait_until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://{address}/-/ready", timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())
