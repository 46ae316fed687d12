"""``cachestack doctor`` before a real server, healthy and not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from cacheclient.contract import Env, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Run
    from tests.conftest import Server


@pytest.fixture
def server(launch: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    server = launch("", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lfu")
    monkeypatch.setenv(Env.URL, server.url)
    monkeypatch.setenv(f"{Env.OPTION_PREFIX}L2_TIMEOUT", "5")  # this machine may be busy
    return server


def test_a_healthy_cache_is_told_and_succeeds(run: Run, server: Server) -> None:
    said = run("doctor", "--namespace", "n", "--strict")
    assert (said.code, said.err) == (ExitCode.DONE, "")
    assert re.search(rf"^ok +master +127.0.0.1:{server.port}$", said.out, re.MULTILINE)
    assert "fix:" not in said.out


def test_a_warning_has_its_fix_and_fails_only_where_that_is_asked(run: Run, server: Server) -> None:
    server.client.config_set("maxmemory", "0")
    said = run("doctor", "--namespace", "n")
    assert said.code == ExitCode.DONE
    assert re.search(r"^warning +memory +no maxmemory.*\n +fix: set maxmemory", said.out, re.MULTILINE)
    assert run("doctor", "--namespace", "n", "--strict").code == ExitCode.FAILED


def test_an_error_fails_and_scripts_get_it_as_json(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.kill()
    monkeypatch.setenv(f"{Env.OPTION_PREFIX}L2_CONNECT_TIMEOUT", "0.05")
    said = run("doctor", "--namespace", "n", "--json")
    assert (said.code, said.err) == (ExitCode.FAILED, "")
    report = json.loads(said.out)
    assert not report["ok"]
    (master,) = [finding for finding in report["findings"] if finding["check"] == "master"]
    assert master["level"] == "error"
    assert "start Redis" in master["fix"]


def test_colours_are_for_terminals(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    del server
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[" not in run("doctor", "--namespace", "n").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mok" in run("doctor", "--namespace", "n").out
