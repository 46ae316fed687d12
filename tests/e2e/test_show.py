"""The show with its real processes: against one Redis, against caches that cannot hear of each other, and cut short."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from alerts.thresholds import Thresholds
from dashboards.boards import BOARDS
from dashboards.preview.picture import ask
from dashboards.preview.results import Choices, Prometheus, Span
from dashboards.quiet import QUIET
from examples.fingerprint.__main__ import main
from examples.fingerprint.crew import Crew
from examples.fingerprint.messages import Assignment, Target
from examples.fingerprint.report import ExitCode, Verdict
from examples.fingerprint.show import Plan, play
from examples.fingerprint.traffic import ZipfMix
from examples.fingerprint.view import Screen
from infra.local import binaries
from infra.local.control import Environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from examples.fingerprint.show import Result

SMALL = Plan(
    source=ZipfMix(users=1_000, top=100), readers=2, lookups=8_001, rate=1_000, steady=2.5, updates=200, failures=False
)


class OneNode:
    """A set of one node that nothing is done to; ``ended`` is what the environment would call dead."""

    redis_nodes: Mapping[str, tuple[str, int]] = {"redis-0": ("", 0), "redis-1": ("", 0), "redis-2": ("", 0)}

    def __init__(self, *ended: str) -> None:
        self._ended = ended

    def master(self) -> str:
        return "redis-0"

    def stop(self, name: str) -> str:
        raise AssertionError(name)

    def kill(self, name: str) -> None:
        raise AssertionError(name)

    def start(self, name: str) -> None:
        raise AssertionError(name)

    def ready(self, name: str) -> bool:
        raise AssertionError(name)

    def dead(self) -> Sequence[tuple[str, str]]:
        return [(name, "killed in a test") for name in self._ended]


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [
        str(binaries.find().server),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        until(lambda: _answers(port))
        yield f"redis://127.0.0.1:{port}"
        server.terminate()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(5) == b"+PONG"
    return False


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def shown(plan: Plan, url: str, folder: Path, nodes: OneNode | None = None) -> tuple[Result, str]:
    output = io.StringIO()
    screen = Screen(Console(file=output, force_terminal=False, width=118))
    result = play(plan, Target(url=url), nodes or OneNode(), 5.0, folder, screen)
    return result, output.getvalue()


def verdict(result: Result, what: str) -> Verdict:
    return next(row.verdict for row in (*result.acceptance, *result.aftermath) if row.what.strip() == what)


def test_readers_and_writer_agree_over_one_redis(redis_url: str, tmp_path: Path) -> None:
    result, printed = shown(SMALL, redis_url, tmp_path)

    assert result.findings.examples == []
    assert result.findings.reads >= 8_001 + 1_500
    assert result.findings.changed > 0
    assert verdict(result, "stale reads of changed rows") is Verdict.HOLDS
    assert result.mix.stats is not None
    assert result.mix.stats.lookups == 8_001
    assert result.mix.stats.l2.hits > 0  # one reader found what the other had loaded
    assert result.mix.stats.loads < 2_000  # leases: users are loaded once in the fleet, and again after an update
    assert "database: 1,000 users' fingerprints" in printed
    assert result.notes == []


def test_caches_that_cannot_hear_of_each_other_are_found_out(tmp_path: Path) -> None:
    """Over memory:// the readers never learn of the writer's invalidations: the checker must say so."""
    result, _ = shown(SMALL, "memory://", tmp_path)

    assert verdict(result, "stale reads of changed rows") is Verdict.MISSED
    assert verdict(result, "other wrong values found") is Verdict.HOLDS
    assert result.exit_code is ExitCode.MISSED
    assert "older than an acknowledged invalidation allows" in result.findings.examples[0]


def test_without_replicas_the_failures_are_left_out_with_the_reason(redis_url: str, tmp_path: Path) -> None:
    plan = Plan(source=SMALL.source, readers=1, lookups=500, rate=200, steady=1, calm=0.2)
    result, printed = shown(plan, redis_url, tmp_path, OneNode("redis-1", "redis-2", "redis-exporter"))

    assert verdict(result, "SIGKILL: without writes") is Verdict.NOT_MEASURED
    assert "redis-exporter has ended: killed in a test" in printed
    left_out = "is left out: redis-1 and redis-2 ended; one node must take over and one must follow it"
    assert [note for note in result.notes if left_out in note] == [f"planned stop {left_out}", f"SIGKILL {left_out}"]


SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from examples.fingerprint.crew import Crew
    from examples.fingerprint.messages import Play, Target
    from examples.fingerprint.show import Plan, prepare
    from examples.fingerprint.stage import Stage
    from examples.fingerprint.traffic import ZipfMix
    from examples.fingerprint.view import Screen

    plan, folder = Plan(source=ZipfMix(users=1_000)), Path(sys.argv[1])
    assignment = prepare(plan, Target(url="memory://"), folder, Screen())
    with Crew(folder) as crew:
        for role in ("reader", "writer"):
            crew.start(role, f"examples.fingerprint.{role}", assignment)
        crew.order(Play(phase="endless"))
        print("pids", *(crew.pid(name) for name in crew.names), flush=True)
        while True:
            for _ in crew.messages(1):
                pass
""")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "SIGKILL"])
def test_no_process_outlives_the_conductor(tmp_path: Path, end: signal.Signals) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    pipe = subprocess.PIPE
    pids: list[int] = []
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as conductor:
        try:
            assert conductor.stdout is not None
            line = next(line for line in conductor.stdout if line.startswith("pids"))
            pids = [int(word) for word in line.split()[1:]]
            assert all(map(_alive, pids))
            conductor.send_signal(end)
            conductor.wait(20)
            until(lambda: not any(map(_alive, pids)))
        finally:
            conductor.kill()
            for pid in filter(_alive, pids):
                os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  a zombie that nobody reaps is not alive
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_killing_a_reader_is_told_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def then_kill(crew: Crew, name: str, module: str, assignment: Assignment) -> None:
        start(crew, name, module, assignment)
        if name == "reader-1":
            os.kill(crew.pid(name), signal.SIGKILL)

    start = Crew.start
    monkeypatch.setattr(Crew, "start", then_kill)

    result, printed = shown(SMALL, "memory://", tmp_path)

    assert result.notes == ["reader-1 has ended: killed by SIGKILL"]
    assert result.notes[0] in printed
    assert result.mix.stats is not None
    assert result.mix.stats.lookups == SMALL.lookups // 2  # that of the other reader


def test_a_process_that_cannot_work_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgotten(_: Target) -> None:
        """Leave it to the readers to find out that this is no address."""

    monkeypatch.setattr("examples.fingerprint.show._forget", forgotten)
    with pytest.raises(ChildProcessError, match=r"has ended: exit code 1: cacheclient\.errors\.ConfigurationError: "):
        shown(SMALL, "gopher://127.0.0.1", tmp_path)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "local"
    local = [sys.executable, "-m", "infra.local", "--dir", str(folder)]
    subprocess.run([*local, "up", "--down-after", "2"], check=True, capture_output=True)
    yield folder
    subprocess.run([*local, "down"], check=True, capture_output=True)


def test_the_whole_show_keeps_its_promises_through_a_stop_and_a_kill(environment: Path, tmp_path: Path) -> None:
    written = tmp_path / "show.json"
    command = [
        sys.executable, "-m", "examples.fingerprint", "--dir", str(environment), "--json", str(written),
        "--users", "1000", "--lookups", "10000", "--steady", "1", "--rate", "800", "--calm", "0.3",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)

    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    report = json.loads(written.read_text())
    assert report["notes"] == []
    seen = {row["what"].strip(): row for row in report["failures"]}
    for what in ("planned stop: without writes", "SIGKILL: without writes", "acknowledged writes lost"):
        assert seen[what]["verdict"] == "holds", done.stdout
    assert [row["verdict"] for row in report["failures"]] == ["holds"] * 8, done.stdout
    assert report["ledgers"]["SIGKILL"]["gap"] > 1  # down-after: there was an outage to be measured
    assert done.returncode == report["exit_code"]
    url = Environment.load(environment).prometheus_url
    if url is None:
        pytest.skip("the show passed; what the boards show of it needs Prometheus: apt-get install prometheus")
    assert without_data(Prometheus(url)) <= set(QUIET)


def without_data(prometheus: Prometheus) -> set[str]:
    """Return the titles of the panels of which one query found nothing in the last three minutes."""
    span, scrapes = Span.ending(time.time(), 180.0), prometheus.scrape_seconds()
    found = set()
    for build in BOARDS.values():
        board = build(Thresholds())
        choices = Choices(scrape_seconds=scrapes).on(board)
        for panel in (inner for outer in board["panels"] for inner in [outer, *outer.get("panels", [])]):
            ranged = {**panel, "targets": [{**target, "instant": False} for target in panel.get("targets", ())]}
            for answer in ask(ranged, prometheus, span, choices):
                assert not answer.error, f"{panel['title']}: {answer.error}"
                if not answer.series:
                    found.add(panel["title"])
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "many"], "argument --users: 'many': a whole number from 1000 to 80000"),
        (["--rate", "0"], "argument --rate: '0': a number from 1 to 1e+06"),
        (["--lookups", "1.5"], "argument --lookups: '1.5': a whole number from 100 to 100000000"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err


def test_without_an_environment_one_line_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dir", str(tmp_path / "none")]) is ExitCode.BAD_INPUT
    printed = capsys.readouterr().err
    assert printed.startswith("error: no local environment in ")
    assert printed.count("\n") == 1


def test_an_unusable_trace_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace").write_text("no numbers")
    assert main(["--trace", str(tmp_path / "trace")]) is ExitCode.BAD_INPUT
    assert capsys.readouterr().err.startswith(f"error: trace {tmp_path / 'trace'}: it holds something else; allowed:")
