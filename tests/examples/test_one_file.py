"""The applications of one file: each served twice by a real server over one real Redis, and asked over HTTP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest

from cacheclient.contract import Env
from tests.conftest import PATIENCE, Server, free_port, wait_for

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
PAGE: Final = EXAMPLES.parent / "docs" / "frameworks.md"
INTERFACES: Final = {"fastapi_app": "asgi", "django_app": "wsgi", "flask_app": "wsgi"}


@contextlib.contextmanager
def served(example: str, url: str, namespace: str) -> Iterator[httpx2.Client]:
    """Serve an example by granian; give a client of it."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface", INTERFACES[example], "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "warning", f"{example}:app"],
        cwd=EXAMPLES,
        env={**os.environ, Env.URL: url, Env.NAMESPACE: namespace},
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            wait_for(lambda: answers(client, process), 3 * PATIENCE)
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


def answers(client: httpx2.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, f"the server ended with code {process.returncode}"
    with contextlib.suppress(httpx2.HTTPError):
        return client.get("/users/2").status_code == 200
    return False


@pytest.fixture(params=sorted(INTERFACES))
def pods(request: pytest.FixtureRequest, own_server: Server, namespace: str) -> Iterator[list[httpx2.Client]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(served(request.param, own_server.url, namespace)) for _ in range(2)]


def name_of(pod: httpx2.Client, user: str = "1") -> str:
    answer = pod.get(f"/users/{user}")
    assert answer.status_code == 200, answer.text
    return answer.text.strip('"')  # FastAPI's is JSON


def test_what_one_process_changes_all_forget(pods: list[httpx2.Client], own_server: Server, namespace: str) -> None:
    here, there = pods
    assert [name_of(pod) for pod in pods] == ["Ada", "Ada"]
    assert own_server.client.keys(f"{namespace}:v1:*1"), "the value is not in Redis"
    assert here.get("/users/9").status_code == 404

    assert here.put("/users/1", params={"name": "Ada Lovelace"}).status_code == 200
    assert name_of(here) == "Ada Lovelace"
    # The other process has a database of its own, in which nobody was renamed: it has this from the cache.
    wait_for(lambda: name_of(there) == "Ada Lovelace")

    own_server.kill()
    began = time.monotonic()
    assert name_of(here, "2") == "Grace"
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("example", sorted(INTERFACES))
def test_it_is_short_and_shown_as_it_is(example: str) -> None:
    source = (EXAMPLES / f"{example}.py").read_text(encoding="utf-8")
    assert source.count("\n") < 30
    assert f"```python\n{source}```" in PAGE.read_text(encoding="utf-8"), f"copy examples/{example}.py to {PAGE.name}"
