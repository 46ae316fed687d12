"""Pods of the API over a real Redis: in this process, and as granian serves them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cacheclient import AsyncCache, CacheOptions, L2Options
from cacheclient.api import Administrators, Tokens, problems, router
from cacheclient.contract import Env
from tests.conftest import PATIENCE, Server, free_port

ALICE, BOB = "alice-correct-horse", "bobs-battery-staple"
Pod = Callable[..., TestClient]


def bearer(token: str = ALICE) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Return a directory of tokens, as a mounted Secret: links into a directory that is replaced as a whole."""
    folder = tmp_path / "tokens"
    (folder / "..2026").mkdir(parents=True)
    for name, token in {"alice": ALICE, "bob": BOB}.items():
        (folder / "..2026" / name).write_text(f"{token}\n")
    (folder / "..data").symlink_to("..2026")
    for name in ("alice", "bob"):
        (folder / name).symlink_to(Path("..data") / name)
    return folder


@pytest.fixture
def pod(tokens: Path, shared_server: Server, namespace: str) -> Iterator[Pod]:
    """Return a function that opens a pod of an application that mounts the router; arguments are the router's."""
    with contextlib.ExitStack() as stack:

        def open_pod(url: str = shared_server.url, *, patience: float = PATIENCE, **arguments: Any) -> TestClient:
            """``patience``: seconds that a command may take: a busy machine is no lost server."""
            options = CacheOptions(l2=L2Options(timeout=patience))
            opened: list[AsyncCache[Any]] = []

            @contextlib.asynccontextmanager
            async def lifespan(_: FastAPI) -> AsyncIterator[None]:
                async with AsyncCache.from_url(url, namespace=namespace, options=options) as cache:
                    opened.append(cache)
                    yield

            arguments.setdefault("administrators", Administrators(Tokens(tokens)))
            app = FastAPI(lifespan=lifespan)
            problems(app)
            app.include_router(router(lambda: opened[0], **arguments))
            client = stack.enter_context(TestClient(app, raise_server_exceptions=False))
            client.app_state["cache"] = opened[0]
            return client

        yield open_pod


@contextlib.contextmanager
def granian(url: str, namespace: str, tokens: Path, **environment: str) -> Iterator[str]:
    """Serve the bundle's API as its Deployment does; give its address."""
    with granian_process(url, namespace, tokens, **environment) as (address, _):
        yield address


@contextlib.contextmanager
def granian_process(
    url: str, namespace: str, tokens: Path, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Do the same; give its main process, too."""
    port = free_port()
    own = {Env.URL: url, Env.NAMESPACE: namespace, Env.ADMIN_TOKEN_FILE: str(tokens), Env.API_LIMIT: "0"}
    own |= CacheOptions(l2=L2Options(timeout=PATIENCE)).to_env()
    command = ["granian", "--interface", "asgi", "--no-ws", "--factory", "cacheclient.api:app", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--log-level", "warning"],
        env={**os.environ, **{str(name): value for name, value in own.items()}, **environment},
        stdout=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 6 * PATIENCE  # two interpreters start, and import all there is
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{address}/readyz").status_code == 200:
                    break
            assert process.poll() is None, f"granian ended with code {process.returncode}"
            assert time.monotonic() < deadline, "granian does not serve"
            time.sleep(0.02)
        yield address, process
    finally:
        process.terminate()
        process.wait(3 * PATIENCE)


@pytest.fixture(scope="session")
def served(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of one pod for all tests."""
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "alice").write_text(ALICE)
    with granian(shared_server.url, "served", folder) as address:
        yield address
