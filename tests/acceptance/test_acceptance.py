"""What the acceptance makes of the commands' JSON, and of commands that fail, hang or say nothing."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.fingerprint.report import Verdict
from tests.acceptance import __main__ as command
from tests.acceptance import commands
from tests.acceptance.commands import ALERTS, BOARDS, COMMANDS, CONSISTENCY, FAILOVER, SERVICE, SHOW, Command, Ran
from tests.acceptance.figures import ENOUGH_READS, FIGURES, Row, judge

HOLDS, MISSED, NOT_MEASURED = Verdict.HOLDS, Verdict.MISSED, Verdict.NOT_MEASURED
BY_NAME = {figure.name: figure for figure in FIGURES}
LEDGER = {"at": 100.0, "acknowledged": 500, "lost": 0, "oldest_lost": None}
LOAD = {"requests": 60_000, "seconds": 10.0, "p95": 0.02, "refused": 0, "broken": 0}
GOOD: Mapping[str, Any] = {
    SHOW: {
        "mix": {"l1": {"hit_rate": 0.66}, "l2": {"hit_rate": 0.84}, "combined": {"hit_rate": 0.94}},
        "reads": {"changed": 90_000, "wrong": 0},
        "steady": {"p95_seconds": 0.002},
        "ledgers": {"planned stop": LEDGER, "SIGKILL": LEDGER},
    },
    SERVICE: {"pairs": [{"cached": LOAD}]},
    FAILOVER: [{"promise": "node-lost", "seconds": [31.5], "problems": []}],
    CONSISTENCY: {"checked": 100_000, "violations": 0, "consistency": 1.0, "unplanned": 0, "modes": {}},
    ALERTS: {"groups": [{"rules": [{"record": "r"}, *({"alert": f"A{n}"} for n in range(12))]}]},
    BOARDS: [{"uid": f"cache-{n}", "panels": 20} for n in range(1, 7)],
}  # fmt: skip


def verdict(name: str, *path: Any, value: Any) -> Row:
    """Judge a figure after one value in its command's JSON was replaced."""
    figure, document = BY_NAME[name], deepcopy(GOOD[BY_NAME[name].command])
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return judge(figure, document)


def test_every_acceptance_figure_is_there_with_its_promise() -> None:
    assert {name: str(figure.bar) for name, figure in BY_NAME.items()} == {
        "l1": "> 50 %", "l2": "> 80 %", "combined": "> 85 %", "lookup": "< 5 ms", "api": "< 100 ms",
        "throughput": "> 5,000", "failover": "< 60 s", "loss": "< 1 s", "consistency": "> 99.99 %",
        "values": "> 99.99 %", "alerts": ">= 12",
        "dashboards": ">= 6",
    }  # fmt: skip


def test_good_figures_hold() -> None:
    rows = [judge(figure, GOOD[figure.command]) for figure in FIGURES]
    assert [row.verdict for row in rows] == [HOLDS] * len(FIGURES)
    assert [row.seen for row in rows] == [
        "66 %", "84 %", "94 %", "2 ms", "20 ms", "6,000", "31.5 s", "0 s", "100 %", "100 %", "12", "6",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("l1", ("mix", "l1", "hit_rate"), 0.5),
        ("l2", ("mix", "l2", "hit_rate"), 0.8),
        ("combined", ("mix", "combined", "hit_rate"), 0.85),
        ("lookup", ("steady", "p95_seconds"), 0.005),
        ("api", ("pairs", 0, "cached", "p95"), 0.1),
        ("throughput", ("pairs", 0, "cached", "requests"), 50_000),
        ("failover", (0, "seconds"), [31.0, 60.0]),
        ("loss", ("ledgers", "SIGKILL"), {**LEDGER, "lost": 1, "oldest_lost": 99.0}),
        ("consistency", ("violations",), 10),
        ("values", ("reads", "wrong"), 9),
        ("alerts", ("groups", 0, "rules"), [{"alert": "A"}] * 12),
        ("dashboards", (5, "panels"), 0),
    ],
)
def test_a_figure_on_its_bar_misses_it(name: str, path: Sequence[Any], value: Any) -> None:
    row = verdict(name, *path, value=value)
    assert (row.verdict, row.value is None) == (MISSED, False)


@pytest.mark.parametrize(
    ("name", "path", "value", "reason"),
    [
        ("l1", ("mix", "l1", "hit_rate"), None, "does not tell it"),
        ("l1", ("mix",), {}, "KeyError: 'l1'"),
        ("lookup", ("steady", "p95_seconds"), None, "does not tell it"),
        ("api", ("pairs",), [], "does not tell it"),
        ("api", ("pairs", 0, "cached", "refused"), 3, "3 of 60000 requests failed"),
        ("throughput", ("pairs", 0, "cached", "broken"), 1, "1 of 60000 requests failed"),
        ("throughput", ("pairs", 0, "cached", "requests"), 0, "0 of 0 requests failed"),
        ("failover", (0, "seconds"), [], "no run was finished"),
        ("failover", (0, "problems"), ["redis-0 is still the master after 90 s"], "still the master"),
        ("loss", ("ledgers",), {"planned stop": LEDGER}, "KeyError: 'SIGKILL'"),
        ("loss", ("ledgers", "SIGKILL", "acknowledged"), 0, "no write was acknowledged"),
        ("loss", ("ledgers", "SIGKILL", "lost"), None, "no write was acknowledged"),
        ("loss", ("ledgers", "SIGKILL", "at"), None, "no write was acknowledged"),
        ("consistency", ("checked",), ENOUGH_READS - 1, "29,999 reads could have been stale; 30,000 can show it"),
        ("consistency", ("violations",), None, "does not tell it"),
        ("values", ("reads",), {}, "does not tell it"),
        ("values", ("reads", "changed"), 100, "100 reads could have been stale"),
        ("alerts", ("groups",), None, "does not tell it"),
    ],
)
def test_what_was_not_seen_is_not_measured(name: str, path: Sequence[Any], value: Any, reason: str) -> None:
    row = verdict(name, *path, value=value)
    assert (row.verdict, row.seen) == (NOT_MEASURED, "-")
    assert reason in row.reason


def test_a_loss_within_the_last_second_holds_and_its_age_is_told() -> None:
    row = verdict("loss", "ledgers", "SIGKILL", value={**LEDGER, "lost": 2, "oldest_lost": 99.75})
    assert (row.verdict, row.seen) == (HOLDS, "0.25 s")


@pytest.mark.parametrize(("excused", "seen", "expected"), [(96, "99.8933 %", MISSED), (5, "99.9944 %", HOLDS)])
def test_what_killed_masters_have_lost_counts_and_is_told_apart(excused: int, seen: str, expected: Verdict) -> None:
    modes = {"durable": {"excused": 0}, "set": {"excused": excused}}
    row = judge(BY_NAME["consistency"], {"checked": 90_000, "violations": 0, "unplanned": 4, "modes": modes})
    assert (row.verdict, row.seen) == (expected, seen)
    assert row.reason.startswith(f"4 masters were killed or cut off; {excused} of 90,000 reads found what those had")
    assert "Without these it is 100 %" in row.reason


def test_without_json_every_figure_of_the_command_is_missed() -> None:
    rows = [judge(figure, None, "exit code 2: no Redis") for figure in FIGURES]
    assert {(row.verdict, row.reason) for row in rows} == {(NOT_MEASURED, "exit code 2: no Redis")}


def row(seen: Verdict) -> Row:
    return Row(figure=FIGURES[0], verdict=seen)


WELL, BADLY, NEVER = Ran({}, 0, 1.0), Ran({}, 1, 1.0), Ran(None, None, 1.0)


@pytest.mark.parametrize(
    ("rows", "ran", "code"),
    [
        ([row(HOLDS)], [WELL], 0),
        ([row(HOLDS), row(MISSED)], [WELL], 1),
        ([row(HOLDS), row(NOT_MEASURED)], [WELL], 1),
        ([row(HOLDS)], [WELL, BADLY], 1),  # what it promises besides was missed
        ([row(HOLDS)], [NEVER], 1),
        ([], [], 1),
    ],
)
def test_only_figures_that_hold_by_commands_that_end_well_are_a_success(
    rows: list[Row], ran: list[Ran], code: int
) -> None:
    assert command.exit_code(rows, ran) == code


# -- commands that are run --------------------------------------------------------------------------------------------


def python(folder: Path, text: str, limit: float = 30) -> tuple[int | None, list[str]]:
    folder.mkdir()
    said: list[str] = []
    return commands.execute([sys.executable, "-c", text], folder, limit, said.append), said


def test_a_command_is_watched_while_it_runs(tmp_path: Path) -> None:
    code, said = python(tmp_path / "a", "import time, sys; print('half', flush=True); time.sleep(0.5); sys.exit(3)")
    assert code == 3
    assert "half" in said


def test_a_command_that_hangs_is_ended_as_ctrl_c_ends_it(tmp_path: Path) -> None:
    text = "import time\ntry: time.sleep(99)\nexcept KeyboardInterrupt: print('put away')"
    began = time.monotonic()
    code, _ = python(tmp_path / "a", text, limit=0.5)
    assert (code, time.monotonic() - began < 20) == (None, True)
    assert commands.last_words(tmp_path / "a") == "put away"


def test_a_command_that_fails_says_why_and_one_that_writes_no_json_gives_none(tmp_path: Path) -> None:
    failing = Command(module="alerts", arguments=("--namespace", "NO"), seconds=1)
    ran = commands.run(failing, tmp_path / "a", tmp_path, lambda _: None)
    assert (ran.document, ran.exit_code) == (None, 2)
    assert ran.reason.startswith("exit code 2: alerts: ")


def test_a_set_that_does_not_start_is_why_its_figures_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHESTACK_REDIS", "neither")
    assert command.main(["--only", "l1", "--only", "api", "--results", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("the set could not be started: error: CACHESTACK_REDIS is 'neither'") == 2
    found = json.loads((tmp_path / "acceptance.json").read_text())
    assert [figure["verdict"] for figure in found["figures"]] == ["not measured"] * 2


def test_counts_come_from_the_files_that_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "alerts", "--only", "dashboards", "--results", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr()
    assert "python -m dashboards write --out DIR" in printed.out
    assert "1 of 2  python -m alerts --namespace cache-dev" in printed.err
    found = json.loads((tmp_path / "new" / "acceptance.json").read_text())
    assert {figure["name"]: figure["verdict"] for figure in found["figures"]} == {
        "alerts": "holds",
        "dashboards": "holds",
    }
    assert len(found["commands"]["boards"]["document"]) == 6


def test_a_missed_figure_is_in_the_table_and_in_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run", lambda *_: Ran({"groups": []}, 0, 0.1))
    assert command.main(["--only", "alerts", "--results", str(tmp_path)]) == 1
    assert "missed" in capsys.readouterr().out


def test_bad_arguments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--only", "beauty"])
    assert (ended.value.code, "consistency" in capsys.readouterr().err) == (2, True)
    (tmp_path / "file").write_text("")
    assert command.main(["--only", "alerts", "--results", str(tmp_path / "file")]) == 2
    assert "error: " in capsys.readouterr().err


def test_an_interrupt_ends_the_command_that_runs(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.acceptance", "--only", "consistency", "--results", str(tmp_path)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stderr is not None
    assert "tests.fuzz" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "interrupted" in errors) == (130, True)
    assert not list(tmp_path.iterdir())


def test_the_commands_are_what_anybody_can_type() -> None:
    plain = replace(COMMANDS[SHOW], arguments=("--rate", "1"))
    assert str(plain) == "python -m examples.fingerprint --rate 1"
    assert {str(one).split()[2] for one in COMMANDS.values()} == {
        "alerts", "dashboards", "examples.fingerprint", "examples.fingerprint.service", "tests.drill", "tests.fuzz",
    }  # fmt: skip


def test_the_page_names_every_figure_and_every_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "acceptance.md").read_text()
    promised = page.partition("## What was seen")[0]
    assert set(re.findall(r"`([a-z0-9]+)`", promised)) >= BY_NAME.keys()
    assert all(f"python -m {one.module}" in promised for one in COMMANDS.values())
