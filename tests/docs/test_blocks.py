"""Every block of code on every page runs, or is understood by what would run it. None gets by.

A block's language says what is done with it:

- ``python`` runs, a page's blocks in order in one namespace, with what ``PAGES`` gives the page; or ``RUN_BY`` names
  the test that runs it;
- ``sh`` is a script, ``console`` a session with prompts: each command is checked by its own program (``programs``);
- ``yaml`` is of a stack file, ``toml`` a plan file, ``json`` JSON: each is read by what reads it in production;
- ``promql`` is parsed, line by line, and may name the metrics of the client and of the exporters only;
- ``text`` is neither code nor command.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import promql_parser
import pytest
import yaml

from cacheclient import Cache
from cacheclient.contract import EXPORTER_METRICS, METRICS
from cacheclient.warming import parse_plans
from handbook.pages import ROOT
from infra import certificates, settings, stack_files
from tests.conftest import Server
from tests.docs import blocks, programs

ALL: Final = blocks.all_of_them()
INLINE: Final = blocks.inline_commands()
RUN_BY: Final = {
    "docs/api.md": "tests/api/test_guide.py::test_the_mounted_router_serves",
    "docs/cacheclient.md": "tests/client/test_guide.py::test_the_guide_runs",
    "docs/frameworks.md": "tests/examples/test_one_file.py::test_it_is_short_and_shown_as_it_is",
    "docs/rate-limiting.md": "tests/client/test_guide.py::test_the_guide_runs",
    "docs/testing.md": "tests/client/test_for_applications.py::test_the_pages_run",
}
EXCERPTS: Final = {"examples/fingerprint/README.md": "examples/fingerprint/service/app.py"}
LANGUAGES: Final = {"python", "sh", "console", "yaml", "toml", "json", "promql", "text"}
TEST_FILE: Final = re.compile(r"# test_\w+\.py\n")  # a test for pytest: tests/client/test_for_applications.py runs it
ZEROS: Final = "@sha256:" + "0" * 64


class Old(msgspec.Struct):
    """A value of the version before."""

    name: str


class Whole(msgspec.Struct):
    """A value of the new version."""

    first: str
    last: str


class Database:
    """Takes what is saved."""

    async def save(self, profile: object) -> None:
        self.saved = profile


async def load_profile(key: str) -> Old:
    return Old(key)


@dataclass(frozen=True)
class Given:
    """What a page leaves to the application: names, other texts in its blocks, and what has to be there before."""

    names: Callable[[Server, Path], dict[str, Any]] = lambda _server, _folder: {}
    texts: dict[str, str] = field(default_factory=dict)
    before: Callable[[Server, Path, pytest.MonkeyPatch], None] = lambda _server, _folder, _patch: None
    prints: tuple[str, ...] = ()


def _with_a_user(server: Server, folder: Path, _: pytest.MonkeyPatch) -> None:
    server.ask("ACL", "SETUSER", "app", "on", ">secret-of-the-app", "~*", "&*", "+@all")
    (folder / "app").write_text("secret-of-the-app")


def _with_old_entries(server: Server, _: Path, __: pytest.MonkeyPatch) -> None:
    with Cache.from_url(server.url, namespace="profile", version=3, type=Old) as old:
        old.set_many({"a": Old("Ada Lovelace"), "b": Old("Grace Hopper")})


def _with_exports(server: Server, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "profiles-1.jsonl").write_text('{"key": "a", "value": 1}\n{"key": "b", "value": 2}\n')
    patch.setenv("CACHE_URL", server.url)
    patch.setenv("CACHE_NAMESPACE", "warmed")


def _with_an_authority(_: Server, folder: Path, __: pytest.MonkeyPatch) -> None:
    (folder / "ca.crt").write_text(certificates.generate(["localhost"])["ca.crt"])


PAGES: Final = {
    "README.md": Given(
        names=lambda _server, _folder: {"Profile": Old, "load_profile": load_profile, "database": Database()},
        texts={
            "redis+sentinel://app@sentinel-0,sentinel-1,sentinel-2/cache-prod": "redis://app@127.0.0.1:{port}",
            '    sentinel_password_file="/etc/cache/sentinel-auth",\n': "",
            "/etc/cache/app": "{folder}/app",
        },
        before=_with_a_user,
    ),
    "docs/options.md": Given(),
    "docs/security.md": Given(texts={"/etc/cache/ca.crt": "{folder}/ca.crt"}, before=_with_an_authority),
    "docs/start/application.md": Given(
        texts={"redis://localhost:6379": "redis://127.0.0.1:{port}"},
        prints=("loading user:ada\nAda\nAda", "Hello Ada", "user:ada"),
    ),
    "docs/tuning.md": Given(),
    "docs/versions.md": Given(
        names=lambda server, _folder: {"Profile": Whole, "url": server.url},
        before=_with_old_entries,
        prints=("copied=2",),
    ),
    "docs/warm-up.md": Given(texts={"/data/": "{folder}/"}, before=_with_exports, prints=("done 2",)),
}


def python_pages() -> list[str]:
    return sorted({block.page for block in ALL if block.language == "python"} - RUN_BY.keys() - EXCERPTS.keys())


def of(*languages: str) -> list[blocks.Block]:
    return [block for block in ALL if block.language in languages]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the namespace that a page's blocks share: a module, because dataclasses look types up in theirs."""
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return module.__dict__


def test_every_block_is_of_a_language_that_is_looked_after() -> None:
    strange = [f"{block}: a block of language {block.language!r}" for block in ALL if block.language not in LANGUAGES]
    known = ", ".join(sorted(LANGUAGES))
    assert not strange, "\n".join([*strange, f"Give it one of {known} (see the head of tests/docs/test_blocks.py)."])
    assert len(ALL) > 70


def test_what_is_text_is_no_command() -> None:
    for block in of("text"):
        for line in block.text.splitlines():
            word = line.split(" ")[0]
            assert word not in {"$", *programs.CHECKS, *programs.BY_OTHERS}, f"{block}: make it sh or console"


@pytest.mark.parametrize("page", python_pages())
def test_the_python_of_a_page_runs(
    page: str, program: dict[str, Any], own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = PAGES.get(page)
    assert given, f"{page} has blocks of python: say in PAGES what they need, or in RUN_BY which test runs them"
    program.update(given.names(own_server, tmp_path))
    given.before(own_server, tmp_path, monkeypatch)
    with asyncio.Runner() as loop:
        for block in (block for block in of("python") if block.page == page):
            code = block.text
            for said, meant in given.texts.items():
                code = code.replace(said, meant.format(port=own_server.port, folder=tmp_path))
            if TEST_FILE.match(code):
                continue
            step = eval(compile("\n" * (block.line - 1) + code, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), program)  # noqa: S307  our own page
            if inspect.isawaitable(step):
                loop.run(_awaited(step))
    printed = capsys.readouterr().out
    for words in given.prints:
        assert words in printed


async def _awaited(step: Any) -> None:
    await step


def test_pages_whose_python_runs_elsewhere_have_their_test() -> None:
    for page, test in RUN_BY.items():
        file, _, name = test.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {name}(" in source, test
        assert Path(page).name in source or Path(page).stem in source, f"{test} does not read {page}"


@pytest.mark.parametrize("page", EXCERPTS)
def test_an_excerpt_calls_what_the_program_calls(page: str) -> None:
    called = _calls((ROOT / EXCERPTS[page]).read_text(encoding="utf-8"))
    (block,) = (block for block in of("python") if block.page == page)
    assert _calls(block.text) <= called, _calls(block.text) - called


def _calls(source: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("block", of("sh", "console"), ids=str)
def test_the_commands_of_a_block_are_understood(block: blocks.Block) -> None:
    syntax = subprocess.run(["/bin/bash", "-n"], input=block.script, capture_output=True, text=True, check=False)
    assert not syntax.returncode, f"{block}: {syntax.stderr}"
    found = list(blocks.commands(block.script))
    assert found, f"{block}: no command; a session has lines that begin with `$ `"
    for words in found:
        try:
            programs.check(words)
        except programs.NotUnderstoodError as error:
            pytest.fail(f"{block}: {error}")


def test_the_commands_in_sentences_are_understood() -> None:
    faults = []
    for command, page in INLINE.items():
        for words in blocks.commands(command):
            try:
                programs.check_inline(words)
            except programs.NotUnderstoodError as error:
                faults.append(f"{page}: {error}")
    assert not faults, "\n".join(faults)
    assert len(INLINE) > 30


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_settings_on_a_page_are_taken(block: blocks.Block) -> None:
    said = yaml.safe_load(block.text)
    values = stack_files.own_keys(said.get("config", said), source=str(block))
    values = {name: _whole(value) for name, value in values.items()}
    assert settings.parse("prod", stack_files.read("prod") | values)


def _whole(value: Any) -> Any:
    """Return a value with a digest where a page has three dots for one."""
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    return value.replace("@sha256:...", ZEROS) if isinstance(value, str) else value


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_plans_on_a_page_are_taken(block: blocks.Block) -> None:
    assert parse_plans(tomllib.loads(block.text)).plans


@pytest.mark.parametrize("block", of("promql"), ids=str)
def test_queries_on_a_page_can_be_answered(block: blocks.Block) -> None:
    known = {
        metric.name + suffix for metric in METRICS for suffix in ("", "_bucket", "_sum", "_count")
    } | EXPORTER_METRICS
    for line in block.text.splitlines():
        promql_parser.parse(line)
        named = set(re.findall(r"\b(?:cache|redis)_[a-z_]+\b", line))
        assert named <= known, f"{block}: nobody exports {', '.join(named - known)}"


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_on_a_page_is_json(block: blocks.Block) -> None:
    assert json.loads(block.text)
