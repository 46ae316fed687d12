"""The extra `api`: granian serves the HTTP API, and an invalidation by HTTP reaches Redis."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cacheclient import Cache

TOKEN = "a token of the smoke test"  # noqa: S105  of this test alone


def ask(address: str, body: object = None) -> int:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310  loopback
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  same
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def serve(url: str, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    (folder / "tokens").mkdir()
    (folder / "tokens" / "smoke").write_text(TOKEN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = ["-m", "granian", "--interface", "asgi", "--no-ws", "--factory", "cacheclient.api:app", "--port", port]
    environment = {"CACHE_URL": url, "CACHE_NAMESPACE": "api", "CACHE_ADMIN_TOKEN_FILE": str(folder / "tokens")}
    server = subprocess.Popen([sys.executable, "-I", *command], env={**os.environ, **environment})
    return server, f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    server, address = serve(sys.argv[1], Path(sys.argv[2]))
    try:
        deadline = time.monotonic() + 30
        while ask(f"{address}/readyz") != 200:
            assert server.poll() is None, "granian ended"
            assert time.monotonic() < deadline, "the API is not ready"
            time.sleep(0.05)
        with Cache.from_url(sys.argv[1], namespace="api", type=str) as cache:
            cache.set("k", "v")
            assert ask(f"{address}/cache/invalidate", {"key": "k"}) == 200
            assert not cache.exists("k")
    finally:
        server.terminate()
        server.wait(10)
