"""The command line as users have it: arguments in, exit code, output and errors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from cacheclient.cli import main
from cacheclient.contract import Env
from tests.conftest import Server


class Said(NamedTuple):
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what this machine has set away from the commands."""
    for variable in Env:
        monkeypatch.delenv(variable.value, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs one command."""

    def command(*arguments: str) -> Said:
        capfd.readouterr()
        code = main(arguments)
        return Said(code, *capfd.readouterr())

    return command


@pytest.fixture
def cached(run: Run, shared_server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return ``run`` for commands over a cache on a real server."""
    monkeypatch.setenv(Env.URL, shared_server.url)
    monkeypatch.setenv(Env.NAMESPACE, namespace)
    return run
