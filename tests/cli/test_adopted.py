"""Commands that argparse declares, as commands of ``cachestack``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest
import typer

from cacheclient.cli import adopted
from cacheclient.contract import Env, ExitCode
from infra.local import cli as local_cli
from infra.local.control import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.cli.conftest import Run


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser("tool", epilog="python -m tool old --flag")
    commands = whole.add_subparsers()
    old = commands.add_parser("old", help="do it")
    old.add_argument("names", nargs="*", metavar="NAME")
    old.add_argument("-c", "--count", type=int)
    old.add_argument("--kind", choices=("a", "b"))
    old.add_argument("--must", required=True)
    old.add_argument("--flag", "--yes", action="store_true")
    commands.add_parser("other", help="do something else")
    return whole


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        (["--must", "x"], ["old", "--must", "x"]),
        (["n", "m", "-c", "3", "--must=x", "--yes"], ["old", "n", "m", "-c", "3", "--must", "x", "--flag"]),
        (["--must", "x", "--kind", "b"], ["old", "--kind", "b", "--must", "x"]),
    ],
)
def test_what_is_typed_reaches_the_program(typed: list[str], passed: list[str]) -> None:
    got: list[Sequence[str]] = []

    def program(arguments: Sequence[str]) -> int:
        got.append(arguments)
        return 7

    application = adopted.adopt(parser(), program, "group", "A group.", {"old": "new"})
    assert typer.main.get_command(application).main(["new", *typed], standalone_mode=False) == 7
    assert got == [passed]
    assert application.info.epilog == "cachestack group new --flag"


def test_the_local_set_gives_what_a_shell_needs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, str(tmp_path))
    said = run("local", "env")
    assert (said.code, said.out) == (ExitCode.FAILED, "")
    assert f"no local environment in {tmp_path}" in said.err
    assert Env.URL not in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["local", "up", "--down-after", "0"], "cachestack local: --down-after: '0': a number from 1 to 300"),
        (["local", "logs", "-n", "x"], "cachestack local: -n: 'x': a whole number from 0 to 1000000"),
        (["backup", "create", "--kind", "x"], "cachestack backup: --kind x: one of scheduled, manual, safety"),
        (["backup", "create", "--timeout", "0"], "cachestack backup: --timeout: '0': seconds, 0.1 or more"),
        (["backup", "restoer"], "cachestack backup: No such command 'restoer'. Did you mean 'restore'"),
        (["backup", "list"], "stack"),
        (["backup", "restore"], "restore what? One of --local, --namespace NAMESPACE, --data-dir DIR"),
    ],
)
def test_what_the_program_would_not_take_is_one_line(
    arguments: list[str], says: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT, str(tmp_path))
    said = run(*arguments)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert says in said.err
    assert said.err.count("\n") == 1


def test_every_command_of_a_program_is_offered(run: Run) -> None:
    for command, _ in adopted._commands(local_cli.parser()):
        assert f" {command.name} " in run("local", "--help").out


def test_backups_are_listed_by_the_jobs_own_code(run: Run) -> None:
    """Against a store that is not there: the error is the job's, as JSON where that is asked."""
    said = run("backup", "list", "--stack", "s", "--bucket", "B", "--json")
    assert said.code == ExitCode.USAGE
    assert json.loads(said.out)["error"].startswith("bucket 'B': 3 to 63 lower-case letters")
