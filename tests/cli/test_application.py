"""The application itself: what it lists, what it imports, and what it says of wrong arguments."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

import pytest

from cacheclient import cli
from cacheclient.cli import application
from cacheclient.cli.command import GROUP, Command, Failure
from cacheclient.contract import ExitCode

if TYPE_CHECKING:
    from tests.cli.conftest import Run

DECLARED = application.declared()


def test_the_installed_package_names_the_command_and_the_commands_of_others() -> None:
    (script,) = entry_points(group="console_scripts", name="cachestack")
    assert script.load() is cli.main, "run `make setup`: the installed metadata are older than pyproject.toml"
    assert {"doctor", "top"} <= set(DECLARED)


def test_the_help_lists_every_command_by_its_heading(run: Run) -> None:
    said = run("--help")
    assert said.code == ExitCode.DONE
    for command in DECLARED.values():
        assert f" {command.name} " in said.out
        assert f"─ {command.panel} ─" in said.out
    assert run() == said


@pytest.mark.parametrize("name", DECLARED)
def test_what_a_command_says_of_itself_is_what_was_declared(name: str, run: Run) -> None:
    loaded = application.load(DECLARED[name])
    assert loaded.help.partition("\n")[0].strip() == DECLARED[name].help
    said = run(name, "--help")
    assert said.code == ExitCode.DONE
    assert DECLARED[name].help in " ".join(said.out.split())


def test_brackets_in_a_help_text_are_shown(run: Run) -> None:
    assert "*, ?, [a-z]." in run("invalidate", "--help").out


@pytest.mark.parametrize("name", DECLARED)
def test_every_command_speaks_json(name: str) -> None:
    loaded = application.load(DECLARED[name])
    for command in getattr(loaded, "commands", {"": loaded}).values():
        assert "--json" in {word for param in command.params for word in param.opts}, command.name


def test_a_command_is_imported_when_it_is_run_and_not_before() -> None:
    look = (
        "import sys; from cacheclient.cli import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert "typer" in imported
    heavy = {"boto3", "pulumi", "yaml", "grafanalib", "fastapi", "dashboards.terminal", "infra.jobs", "alerts"}
    assert not heavy & imported


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tpo"], "cachestack: No such command 'tpo'. Did you mean 'top'?"),
        (["top", "--ones"], "cachestack top: No such option: --ones (Possible options: --json, --once)"),
        (["top", "--every"], "Option '--every' requires an argument"),
        (["top", "--every", "x"], "cachestack top: Invalid value for '--every': Input should be a valid number"),
        (["doctor"], "cachestack doctor: --url or CACHE_URL: which cache?"),
        (["doctor", "--url", "redis://x"], "cachestack doctor: --namespace or CACHE_NAMESPACE: which cache?"),
        (["doctor", "--url", "http://x", "--namespace", "n"], "cachestack doctor: url scheme 'http'"),
        (["doctor", "--url", "redis://x", "--namespace", "N"], "cachestack doctor: namespace='N': a lower-case letter"),
        (["doctor", "--url", "redis://x", "--namespace", "n", "--version", "0"], "version=0: a whole number from 1"),
    ],
)
def test_wrong_arguments_are_one_line_that_says_what_is_allowed(arguments: list[str], says: str, run: Run) -> None:
    said = run(*arguments)
    assert (said.code, said.out) == (ExitCode.USAGE, "")
    assert says in said.err
    assert said.err.count("\n") == 1


def test_a_missing_extra_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    command = Command(name="x", load="infra.jobs.storage:ObjectStore", help="", panel="", extras=("jobs",))
    monkeypatch.delitem(sys.modules, "infra.jobs.storage", raising=False)
    with pytest.raises(Failure, match=r"^boto3 is not installed: pip install 'cachestack\[cli,jobs\]'$") as raised:
        application.load(command)
    assert raised.value.code == ExitCode.USAGE


def test_a_package_that_cannot_be_loaded_costs_its_own_commands_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("other", "no_such_package:COMMANDS", GROUP)
    own = EntryPoint("dashboards", "dashboards.commands:COMMANDS", GROUP)
    monkeypatch.setattr(application, "entry_points", lambda group: [own, broken] if group == GROUP else [])
    said = run("--help")
    assert said.code == ExitCode.DONE
    assert " top " in said.out
    assert said.err == (
        "cachestack: the commands of no_such_package:COMMANDS are left out: "
        "ModuleNotFoundError: No module named 'no_such_package'\n"
    )


def test_nobody_takes_the_name_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = (Command(name="doctor", load="x:y", help="", panel=""), Command(name="mine", load="x:y", help="", panel=""))
    monkeypatch.setattr("dashboards.commands.COMMANDS", taken)
    found = application.declared()
    assert found["doctor"] == DECLARED["doctor"]
    assert found["mine"] == taken[1]


def test_without_the_extra_of_the_command_line_itself_one_line_says_so() -> None:
    block = "import sys; sys.modules['typer'] = None; from cacheclient.cli import main; sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == "cachestack: typer is not installed: pip install 'cachestack[cli]'\n"


# What each extra of pyproject.toml brings, as it is imported.
BRINGS = {
    "infra": {"pulumi", "pulumi_kubernetes", "pulumi_policy", "grafanalib", "yaml"},
    "api": {"fastapi", "granian", "jwt"},
    "jobs": {"boto3", "cryptography", "zstandard"},
    "crypto": {"cryptography"},
    "compress": {"zstandard", "lz4"},
    "warm": {"psycopg", "httpx2"},
}


@pytest.mark.parametrize("extras", sorted({command.extras for command in DECLARED.values()}))
def test_a_command_needs_the_extras_that_it_declares_and_no_others(extras: tuple[str, ...]) -> None:
    there = set().union(*(BRINGS[extra] for extra in extras))
    blocked = set().union(*BRINGS.values()) - there
    names = [command.name for command in DECLARED.values() if command.extras == extras]
    load = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); from cacheclient.cli import application as a; "
        f"[a.load(a.declared()[name]) for name in {names!r}]"
    )
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fault_of_our_own_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"infra\.nowhere"):
        application.load(Command(name="x", load="infra.nowhere:x", help="", panel=""))


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (ExitCode.DONE, "cachestack 0.1.0\n", "")


def test_python_m_is_the_same_command_and_a_reader_that_has_gone_is_no_failure() -> None:
    shell = f"set -o pipefail; {sys.executable} -m cacheclient doctor --help | head -n 1 >/dev/null"
    done = subprocess.run(["/bin/bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("cachestack do", {"doctor"}),
        ("cachestack backup re", {"restore"}),
        ("cachestack backup restore --na", {"--namespace"}),
        ("cachestack backup create --kind s", {"scheduled", "safety"}),
        ("cachestack handover sta", {"staging"}),
        ("cachestack handover l", {"local"}),
        ("cachestack deploy pr", {"prod"}),
        ("cachestack deploy dev --from na", {"namespace"}),
        ("cachestack warm h", {"hot"}),
    ],
)
def test_the_shell_completes_commands_options_and_values(typed: str, completed: set[str]) -> None:
    words = {"_CACHESTACK_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    command = [sys.executable, "-m", "cacheclient"]
    done = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed
