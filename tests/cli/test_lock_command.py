"""``cachestack lock``: real commands under a lock on a real Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cacheclient import Cache
from cacheclient.contract import Env, ExitCode
from tests.conftest import PATIENCE, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.conftest import Server

LOCK = [sys.executable, "-m", "cacheclient", "lock"]


@pytest.fixture
def cache(shared_server: Server, namespace: str) -> Iterator[Cache[Any]]:
    with Cache.from_url(shared_server.url, namespace=namespace) as cache:
        yield cache


def test_the_command_runs_under_the_lock_with_its_token_and_its_exit_code_is_kept(
    cached: Run, cache: Cache[Any]
) -> None:
    said = cached("lock", "job", "--", "sh", "-c", "echo $CACHE_LOCK_TOKEN; exit 3")
    assert (said.code, said.err) == (3, "")
    assert int(said.out) > 0
    assert cached("lock", "job", "--", "sh", "-c", "kill -9 $$").code == 128 + 9
    assert cache.lock_holder("job") is None, "it is given back"


def test_with_json_the_last_line_on_stderr_says_how_it_went(cached: Run) -> None:
    said = cached("lock", "job", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (said.code, said.out) == (3, "out\n")
    about = json.loads(said.err.splitlines()[-1])
    assert (about["lock"], about["exit_code"], about["token"] > 0) == ("job", 3, True)
    assert 0 <= about["seconds"] < PATIENCE


def test_a_command_that_does_not_exist_is_told_as_shells_do(cached: Run, cache: Cache[Any]) -> None:
    said = cached("lock", "job", "--", "no-such-command")
    assert (said.code, said.err) == (127, "no-such-command: No such file or directory\n")
    assert cache.lock_holder("job") is None


def test_a_lock_that_somebody_has_is_not_to_be_had_and_shown(cached: Run, cache: Cache[Any]) -> None:
    assert cached("lock", "job", "--show") == (ExitCode.FAILED, "job: free\n", "")
    with cache.lock("job"):
        said = cached("lock", "job", "--wait", "0", "--", "true")
        assert said.code == ExitCode.BUSY
        assert "somebody else holds it" in said.err
        assert said.err.count("\n") == 1
        shown = cached("lock", "job", "--show")
        assert (shown.code, shown.err) == (ExitCode.DONE, "")
        assert ": held by " in shown.out
        told = json.loads(cached("lock", "job", "--show", "--json").out)
        assert 0 < told["expires_in"] <= 30
        assert told["holder"].count(":") == 1, "the part that would free it is not shown"


def test_that_redis_is_away_is_not_taken_for_somebody_who_has_it(cached: Run) -> None:
    away = ("--url", f"redis://127.0.0.1:{free_port()}")
    said = cached("lock", "job", *away, "--wait", "0", "--", "true")
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert "no Redis master is known at the moment" in said.err


def test_neither_a_command_nor_show_is_refused(cached: Run) -> None:
    for arguments in ([], ["--show", "--", "true"]):
        said = cached("lock", "job", *arguments)
        assert (said.code, said.err) == (
            ExitCode.USAGE,
            "cachestack lock: `-- COMMAND...` to run under the lock, or --show\n",
        )


def test_a_lost_lock_ends_the_command(
    own_server: Server, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(Env.URL, own_server.url)
    monkeypatch.setenv(Env.NAMESPACE, namespace)
    begun = tmp_path / "begun"
    command = [*LOCK, "job", "--timeout", "0.5", "--", "sh", "-c", f"touch {begun}; exec sleep 60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(begun.exists)
        own_server.client.set(f"{namespace}:lock:job", "another")
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == ExitCode.FAILED
    assert err == f"cachestack lock: {namespace}:lock:job: the lock was lost before it was released\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + 15), (signal.SIGINT, ExitCode.INTERRUPTED)])
def test_who_ends_it_ends_the_command_and_frees_the_lock(
    number: signal.Signals, code: int, shared_server: Server, namespace: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, cache: Cache[Any],
) -> None:  # fmt: skip
    monkeypatch.setenv(Env.URL, shared_server.url)
    monkeypatch.setenv(Env.NAMESPACE, namespace)
    begun = tmp_path / "begun"
    command = [*LOCK, "job", "--", "sh", "-c", f"touch {begun}; exec sleep 60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(begun.exists)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (code, "")
    assert cache.lock_holder("job") is None
