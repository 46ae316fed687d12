"""``cachestack warm`` as people and CronJobs run it: on a real Redis, from a plan file."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cacheclient import Cache
from cacheclient.contract import Env, ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.conftest import Server

DONE, FAILED, USAGE, BUSY, INTERRUPTED = (
    ExitCode.DONE, ExitCode.FAILED, ExitCode.USAGE, ExitCode.BUSY, ExitCode.INTERRUPTED,
)  # fmt: skip


@pytest.fixture
def plan_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a plan file with one source of three lines, one of which is broken, and have the command find it."""
    entries = tmp_path / "entries.jsonl"
    entries.write_text('{"key": "a", "value": 1}\n{"key": "b", \n{"key": "c", "value": 3}\n')
    path = tmp_path / "warm.toml"
    path.write_text(f'[[sources]]\nkind = "files"\nname = "entries"\nplans = ["full"]\npath = "{entries}"\n')
    monkeypatch.setenv(Env.PLAN_FILE, str(path))
    return path


def test_a_warm_up_says_what_it_did_and_what_it_could_not_read(
    cached: Run, plan_file: Path, shared_server: Server, namespace: str
) -> None:
    said = cached("warm", "full")
    assert said.code == DONE
    assert "entries: done: 3 read, 2 written, 0 skipped, 1 failed in " in said.out
    assert "full: done: 2 written, 0 skipped, 1 failed of 3 read in " in said.out
    assert f"{plan_file.parent / 'entries.jsonl'}:2: no JSON" in said.err
    with Cache.from_url(shared_server.url, namespace=namespace) as cache:
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "c": 3}
    assert json.loads(cached("warm", "full", "--json").out)["sources"][0]["skipped"] == 2


def test_a_dry_run_writes_nothing(cached: Run, plan_file: Path, shared_server: Server, namespace: str) -> None:
    said = cached("warm", "full", "--dry-run", "--plan-file", str(plan_file))
    assert said.code == DONE
    assert "full (dry run): done: 2 written" in said.out
    assert not shared_server.client.keys(f"{namespace}:v1:*")


def test_another_process_that_does_it_is_told_apart_from_a_failure(
    cached: Run, plan_file: Path, shared_server: Server, namespace: str
) -> None:
    shared_server.client.set(f"{namespace}:lock:warming:full", "somebody", px=60_000)
    assert plan_file.exists()
    said = cached("warm", "full")
    assert said.code == BUSY
    assert "elsewhere (another process carries it out)" in said.out


def test_one_that_was_killed_is_outwaited(cached: Run, plan_file: Path, shared_server: Server, namespace: str) -> None:
    """Its lock outlives it: the pod that a Job makes anew has to wait, or it is one of three attempts lost."""
    shared_server.client.set(f"{namespace}:lock:warming:full", "a pod that is gone", px=700)
    assert plan_file.exists()
    said = cached("warm", "full", "--wait", "20")
    assert said.code == DONE, said.err
    assert "full: done: 2 written" in said.out


def test_a_source_that_fails_is_an_exit_code(cached: Run, plan_file: Path) -> None:
    plan_file.with_name("entries.jsonl").unlink()
    said = cached("warm", "full")
    assert said.code == FAILED
    assert "there is no such file" in said.out


def test_who_looks_on_sees_a_bar_for_each_source_and_nothing_of_it_stays(
    shared_server: Server, namespace: str, plan_file: Path
) -> None:
    entries = plan_file.with_name("entries.jsonl")
    entries.write_text("".join(f'{{"key": "k{number}", "value": {number}}}\n' for number in range(300)))
    where = ["--url", shared_server.url, "--namespace", namespace]
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:  # noqa: PTH123  a descriptor has no path
        process = subprocess.Popen(
            [sys.executable, "-m", "cacheclient", "warm", "full", *where],
            stdout=subprocess.PIPE, stderr=theirs, text=True, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # the terminal is closed
            while part := screen.read(65536):
                drawn += part
        out, _ = process.communicate(timeout=30)
    assert process.returncode == DONE
    assert "300 read, 300 written, 0 skipped, 0 failed" in out
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode())
    assert re.search(r"entries +━+ 300 read, 300 written, 0 skipped, 0 failed 0:00:\d\d", text), text
    assert drawn.rstrip().endswith(b"\x1b[2K"), "the line of the bar is erased"


@pytest.mark.parametrize(
    ("arguments", "text", "says"),
    [
        (["full"], None, "--plan-file or CACHE_PLAN_FILE: which sources?"),
        (["full", "--plan-file", "nowhere.toml"], None, "plan file nowhere.toml: [Errno 2] No such file"),
        (["everything"], "", "plan 'everything': critical, hot, full"),
        (["full", "--wait", "-1"], "", "wait=-1"),
        (["full"], '[[sources]]\nkind = "file"\n', "sources[0].kind: 'file'; did you mean files?"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    cached: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], text: str | None, says: str
) -> None:
    if text is not None:
        path = tmp_path / "warm.toml"
        whole = text or '[[sources]]\nkind = "files"\nname = "a"\nplans = ["full"]\npath = "x"\n'
        path.write_text(whole)
        monkeypatch.setenv(Env.PLAN_FILE, str(path))
    said = cached("warm", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert says in said.err


def test_a_pod_that_is_stopped_says_how_to_go_on(
    shared_server: Server, namespace: str, tmp_path: Path, plan_file: Path
) -> None:
    fifo = tmp_path / "endless.jsonl"
    os.mkfifo(fifo)
    plan_file.write_text(plan_file.read_text().replace("entries.jsonl", fifo.name))
    command = [
        sys.executable,
        "-m",
        "cacheclient",
        "warm",
        "full",
        "--url",
        shared_server.url,
        "--namespace",
        namespace,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # It is read from now on, and gives nothing. The reader may have gone before it is let go.
        with contextlib.suppress(BrokenPipeError), fifo.open("w") as pipe:
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            said = process.stderr.readline()
            pipe.write("\n")  # lets the thread go that reads
        process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    assert said == "interrupted: --resume goes on where it was\n"
    assert not shared_server.client.exists(f"{namespace}:lock:warming:full")
