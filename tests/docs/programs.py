"""Whether a command of a page would be understood: each program's own parser is asked, nothing is carried out."""

from __future__ import annotations

import argparse
import io
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from typer._click import core as click
from typer.core import TyperGroup

from cacheclient.cli import main
from cacheclient.contract import RedisUser
from handbook.pages import ROOT
from infra.quantities import MIB
from infra.redis_conf import RedisConf, acl_text
from tests.docs import blocks

BY_OTHERS: Final = {
    "pulumi": "tests/engine, and tests/e2e/test_engine.py",
    "curl": "tests/api/test_guide.py, which sends the requests of docs/api.md",
    "as": "tests/ha/test_runbooks.py, which types what the head of the runbooks says",
    "oncall": "the same",
    "docker": ".ci/run of those who publish the image; tests/e2e deploys it",
}
"""Programs that are not asked here, and who carries their commands out."""

_HARMLESS: Final = frozenset({"cat", "cut", "export", "echo", "sh", "sha256sum", "tr", "./report.sh", "}"})
_PRINTED: Final = re.compile(r"\.venv/bin/(?:cachestack|python)(?: '[^']*'| \"[^\"]*\"| [^\s;&|<>]+)*")


class Parsed(BaseException):
    """A parser has taken its arguments; what they would do is not done."""


class NotUnderstoodError(AssertionError):
    """A page has a command that its program refuses."""


def check(words: Sequence[str]) -> None:
    """Ask the program of a command whether it understands it.

    Raises:
        NotUnderstoodError: if it does not, or if nobody here knows the program.
    """
    program, *arguments = words
    if program in BY_OTHERS or program in _HARMLESS:
        return
    if (checks := CHECKS.get(program)) is None:
        raise NotUnderstoodError(
            f"no check knows {program!r}: add one to CHECKS in tests/docs/programs.py, or name in BY_OTHERS who runs it"
        )
    checks(arguments)


def check_inline(words: Sequence[str]) -> None:
    """The same of a command that a sentence names: it need not say all that the command asks for."""
    check([*words, "--help"] if words[0] != "make" else words)


def _make(arguments: Sequence[str]) -> None:
    """Have make print what it would run, and check the commands of ours in that."""
    for printed in _PRINTED.finditer(_dry_run(tuple(arguments))):
        inner = [word for word in next(iter(blocks.commands(printed[0]))) if word]
        if inner[0].endswith("python") and (inner[1:2] != ["-m"] or inner[2] in ("pip", "venv")):
            continue
        check([inner[0].rpartition("/")[2], *inner[1:]])


@cache
def _dry_run(arguments: tuple[str, ...]) -> str:
    # make carries out a line that names $(MAKE), even when it is only to print: so no line may name it.
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(MAKE)", "make")
    command = ["make", "--no-print-directory", "-n", "-f", "-", *arguments]
    run = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False, timeout=30)
    if run.returncode:
        raise NotUnderstoodError(f"make {' '.join(arguments)}: {run.stderr.strip()}")
    for name in (argument.partition("=")[0] for argument in arguments if "=" in argument):
        if not re.search(rf"\$\(({name}\)|(if|or|filter|origin) ?\$?\(?{name}|.*\b{name}\b)", text):
            raise NotUnderstoodError(f"make {' '.join(arguments)}: the Makefile has no variable {name}")
    return run.stdout


def _cachestack(arguments: Sequence[str]) -> None:
    _parsed("cachestack", arguments, lambda: sys.exit(main(arguments)))


def _python(arguments: Sequence[str]) -> None:
    if arguments[:1] != ["-m"]:
        raise NotUnderstoodError(f"python {' '.join(arguments)}: only `python -m MODULE` is checked")
    module, rest = arguments[1], arguments[2:]
    if module == "cacheclient":
        _cachestack(rest)
        return
    if module == "bench" and find_spec("uvloop") is None:  # its peers are in an environment of their own
        source = (ROOT / "bench" / "cli.py").read_text(encoding="utf-8")
        for option in (word for word in rest if word.startswith("--") and word != "--help"):
            if f'"{option}"' not in source:
                raise NotUnderstoodError(f"python -m bench: no option {option}")
        return
    if (spec := find_spec(module)) is None or spec.origin is None:
        raise NotUnderstoodError(f"python -m {module}: there is no such module")
    file = Path(spec.origin)
    file = file.with_name("__main__.py") if spec.submodule_search_locations else file
    if _has_parser(file):
        _parsed(f"python -m {module}", rest, lambda: runpy.run_path(str(file), run_name="__main__"))
    elif {*rest} - {"--help"}:
        raise NotUnderstoodError(f"python -m {module} takes no arguments: {' '.join(rest)}")


def _has_parser(file: Path) -> bool:
    """Return whether a module, or one beside it, parses arguments: only then may it be run until it has."""
    files = file.parent.glob("*.py") if file.name == "__main__.py" else [file]
    return any(re.search(r"\b(argparse|typer)\b", beside.read_text(encoding="utf-8")) for beside in files)


def _parsed(program: str, arguments: Sequence[str], run: Callable[[], object]) -> None:
    """Run a program until its parser has taken the arguments, or has refused them."""
    said = io.StringIO()
    try:
        with _parsers_only(arguments), redirect_stderr(said), redirect_stdout(said):
            run()
    except Parsed:
        return
    except SystemExit as ended:
        if ended.code:
            raise NotUnderstoodError(f"{program} {' '.join(arguments)}: {said.getvalue().strip()}") from None
    if not {"--help", "-h", "--version", "--install-completion"} & {*arguments}:
        raise NotUnderstoodError(f"{program} {' '.join(arguments)}: {said.getvalue().strip() or 'parses nothing'}")


@contextmanager
def _parsers_only(arguments: Sequence[str]) -> Iterator[None]:
    """Have every parser raise ``Parsed`` where it would hand over to the command."""
    parse = argparse.ArgumentParser.parse_args
    invoke = click.Command.invoke

    def parse_args(self: Any, *given: Any, **named: Any) -> Any:
        parse(self, *given, **named)
        raise Parsed

    def invoked(self: Any, context: Any) -> Any:
        if isinstance(self, TyperGroup):
            return invoke(self, context)
        raise Parsed

    with (
        patch.object(argparse.ArgumentParser, "parse_args", parse_args),
        patch.object(click.Command, "invoke", invoked),
        patch.object(sys, "argv", ["python", *arguments]),
    ):
        yield


def _kubectl(arguments: Sequence[str]) -> None:
    """Ask kubectl about its options, and the manifests about what is named; then check what runs inside."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, inside = arguments[:at], arguments[at + 1 :]
    for words in blocks.commands(inside[2]) if inside[:2] == ["sh", "-c"] else [inside] if inside else []:
        check(words)
    for word in own:
        if found := re.fullmatch(r"(?:deploy|cronjob|statefulset|job)/([\w-]+)", word):
            _declared(found[1])
    if kubectl := shutil.which("kubectl"):
        # With --help kubectl parses all that it is given, and connects to nothing.
        run = subprocess.run([kubectl, *own, "--help"], capture_output=True, text=True, check=False, timeout=30)
        if run.returncode:
            raise NotUnderstoodError(f"kubectl {' '.join(own)}: {run.stderr.strip().splitlines()[0]}")


def _declared(name: str) -> None:
    if not any(name in file.stem for file in (ROOT / "tests" / "rendered" / "prod").iterdir()):
        raise NotUnderstoodError(f"kubectl: no manifest of prod declares {name}")


def _redis_cli(arguments: Sequence[str]) -> None:
    """Hold a command against what its user may do."""
    if "--user" in arguments:
        user = RedisUser(arguments[arguments.index("--user") + 1])
        command = arguments[-1].lower()
        (rules,) = (
            line for line in acl_text(RedisConf(memory_limit=512 * MIB)).splitlines() if f"user {user} " in line
        )
        if f"+{command}" not in rules.split():
            raise NotUnderstoodError(f"redis-cli: {user} may not {command}")


def _pip(arguments: Sequence[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for word in arguments[1:]:
        for extra in re.findall(r"[\w-]+", (re.search(r"\[(.*)\]", word) or [""])[0]):
            if extra not in extras:
                raise NotUnderstoodError(f"pip: there is no extra {extra}")


def _openssl(arguments: Sequence[str]) -> None:
    if openssl := shutil.which("openssl"):
        subprocess.run([openssl, *arguments], check=True, capture_output=True, timeout=10)


def _granian(arguments: Sequence[str]) -> None:
    from granian.cli import cli  # noqa: PLC0415  half a second

    cli.make_context("granian", list(arguments))
    (target,) = (word for word in arguments if re.fullmatch(r"[\w.]+:\w+", word))
    module, name = target.split(":")
    assert hasattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name)


def _eval(arguments: Sequence[str]) -> None:
    del arguments  # what it evaluates stands in $( ), and has been checked


def _activate(arguments: Sequence[str]) -> None:
    (made,) = re.findall(r"^VENV := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    if list(arguments) != [f"{made}/bin/activate"]:
        raise NotUnderstoodError(f". {' '.join(arguments)}: make sets up {made}/bin/activate")


CHECKS: Final[Mapping[str, Callable[[Sequence[str]], None]]] = {
    ".": _activate,
    "cachestack": _cachestack,
    "eval": _eval,
    "granian": _granian,
    "kubectl": _kubectl,
    "make": _make,
    "openssl": _openssl,
    "pip": _pip,
    "python": _python,
    "redis-cli": _redis_cli,
}
