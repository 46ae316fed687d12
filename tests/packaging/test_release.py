"""The checklist of a release, run on a clone of this repository: each refusal, going on after one, and the whole."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from release import checks
from release.steps import Done, Name, Release
from tests.packaging.conftest import ROOT

TODAY: Final = dt.datetime.now(dt.UTC).date()
VERSION: Final = "9.1.0"
# Each target notes that it was made, and fails if it is told to: the real ones take minutes.
MAKEFILE: Final = (
    '.PHONY: docs\nlint docs test test-packages:\n\t@mkdir -p dist; echo $@ >> dist/made; [ "$$FAIL" != $@ ]\n'
)
SECTION: Final = f"## {VERSION} - {TODAY}\n\n- Something that users notice.\n"
UNRELEASED: Final = "# Changelog\n\n## Unreleased\n\n"


def git(clone: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run([*command, *arguments], cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone in which everything is ready for VERSION."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("a release is made from a git checkout")
    clone = tmp_path_factory.mktemp("release") / "clone"
    git(ROOT, "clone", "-q", "--no-tags", str(ROOT), str(clone))
    git(clone, "checkout", "-q", "-B", "main")
    for name in ("release", "pyproject.toml"):  # as they are here, committed or not
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        shutil.rmtree(clone / name, ignore_errors=True)
        copy(ROOT / name, clone / name)
    shutil.rmtree(clone / "release" / "__pycache__", ignore_errors=True)
    (clone / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (clone / "CHANGELOG.md").write_text(UNRELEASED + SECTION, encoding="utf-8")
    replace(clone / "pyproject.toml", 'version = "0.1.0"', f'version = "{VERSION}"')
    (clone / ".git" / "info" / "exclude").write_text(".venv\n", encoding="utf-8")
    (clone / ".venv").symlink_to(ROOT / ".venv")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "ready")
    git(clone, "tag", "-a", "v9.0.0", "-m", "the last one")
    git(clone, "config", "user.name", "Test")
    git(clone, "config", "user.email", "test@example.org")
    return clone


@pytest.fixture
def clone(origin: Path) -> Iterator[Path]:
    ready = git(origin, "rev-parse", "main")
    yield origin
    git(origin, "checkout", "-qf", "-B", "main", ready)
    git(origin, "clean", "-qfd")
    for tag in git(origin, "tag", "--list").split():
        if tag != "v9.0.0":
            git(origin, "tag", "-d", tag)
    shutil.rmtree(origin / "dist", ignore_errors=True)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(clone: Path, version: str = VERSION, first: Name = Name.TREE, *, execute: bool = False) -> list[Done]:
    release = Release(version=version, root=clone, today=TODAY, first=first, execute=execute, tools=clone / "nothing")
    return release.run(lambda _: None)


def states(told: list[Done]) -> dict[Name, str]:
    return {done.step: done.state for done in told}


def commit(clone: Path) -> None:
    git(clone, "commit", "-qam", "changed")


def other_branch(clone: Path) -> None:
    git(clone, "checkout", "-qb", "feature")


def left_over(clone: Path) -> None:
    (clone / "notes.txt").write_text("x", encoding="utf-8")


def tagged_elsewhere(clone: Path) -> None:
    git(clone, "tag", f"v{VERSION}", "HEAD~1")


def other_version(clone: Path) -> None:
    replace(clone / "pyproject.toml", VERSION, "9.2.0")
    commit(clone)


def second_place(clone: Path) -> None:
    replace(clone / "cacheclient" / "__init__.py", "__all__ = [", f'__version__ = "{VERSION}"\n\n__all__ = [')
    commit(clone)


def newer_tag(clone: Path) -> None:
    git(clone, "tag", "v9.10.0")


def changelog(text: str) -> Callable[[Path], None]:
    def change(clone: Path) -> None:
        (clone / "CHANGELOG.md").write_text(text, encoding="utf-8")
        commit(clone)

    return change


@pytest.mark.parametrize(
    ("change", "step", "reason"),
    [
        (other_branch, Name.TREE, "the branch is feature: git switch main"),
        (left_over, Name.TREE, "not committed: notes.txt"),
        (tagged_elsewhere, Name.TREE, f"tag v{VERSION} is on another commit"),
        (other_version, Name.VERSION, f'pyproject.toml says version = "9.2.0": make it "{VERSION}"'),
        (second_place, Name.VERSION, "cacheclient/__init__.py declares a version, too"),
        (newer_tag, Name.VERSION, f"9.10.0 is released already: {VERSION} is older"),
        (changelog("# Changelog\n"), Name.CHANGELOG, f"there is no section ## {VERSION} - {TODAY}"),
        (changelog(UNRELEASED + "- New.\n\n" + SECTION), Name.CHANGELOG, "entries are under Unreleased still"),
        (changelog(SECTION.replace(str(TODAY), "2020-01-01")), Name.CHANGELOG, f"has to be ## {VERSION} - {TODAY}"),
        (changelog(f"## {VERSION} - {TODAY}\n"), Name.CHANGELOG, "says nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_refuses_with_the_remedy(clone: Path, change: Callable[[Path], None], step: Name, reason: str) -> None:
    change(clone)
    last = run(clone, first=Name.TAG, execute=True)[-1]  # those steps are looked at, wherever it begins
    assert (last.step, last.state) == (step, "failed")
    assert reason in last.said
    assert VERSION not in git(clone, "tag", "--points-at", "HEAD")


@pytest.mark.parametrize(
    ("failing", "step"), [("lint", Name.LINT), ("docs", Name.DOCS), ("test", Name.TEST)], ids=["lint", "docs", "test"]
)
def test_it_stops_where_make_fails(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], failing: str, step: Name
) -> None:
    monkeypatch.setenv("FAIL", failing)
    last = run(clone)[-1]
    assert (last.step, last.state, last.said) == (step, "failed", f"make {failing} failed, as it says above")
    assert capfd.readouterr().out == ""  # what make says goes to stderr: stdout is for the result


def test_what_a_commit_has_passed_is_not_repeated_until_it_changes(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "docs")
    assert states(run(clone))[Name.LINT] == "done"
    monkeypatch.setenv("FAIL", "test")
    again = states(run(clone))
    assert (again[Name.LINT], again[Name.DOCS]) == ("done before", "done")
    assert (clone / "dist" / "made").read_text(encoding="utf-8").split() == ["lint", "docs", "docs", "test"]
    (clone / "README.md").write_text("changed", encoding="utf-8")
    commit(clone)
    assert states(run(clone))[Name.LINT] == "done"


def test_a_tag_is_not_set_for_what_has_not_passed(clone: Path) -> None:
    told = run(clone, first=Name.TAG, execute=True)
    assert states(told)[Name.TEST] == "left out"
    assert told[-1].said.startswith("lint, docs, test, install has not passed for this commit")
    assert git(clone, "tag", "--points-at", "HEAD") == "v9.0.0"


def test_without_the_tools_it_says_how_to_get_them(clone: Path) -> None:
    last = run(clone)[-1]
    assert (last.step, last.state) == (Name.DIST, "failed")
    assert "`make dist` sets it up" in last.said


def command(clone: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    python = str(ROOT / ".venv" / "bin" / "python")
    return subprocess.run(
        [python, "-m", "release", *arguments], cwd=clone, env={**os.environ, **environment}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "1.2.3-rc1", "01.2.3"])
def test_a_version_is_three_numbers(version: str) -> None:
    assert checks.VERSION.fullmatch(version) is None


def test_the_command_tells_scripts_and_people(clone: Path) -> None:
    refused = command(clone, "1.2")
    assert (refused.returncode, "'1.2': three numbers, such as 1.2.3" in refused.stderr) == (2, True)
    told = command(clone, VERSION, "--json", FAIL="lint")
    result = json.loads(told.stdout)
    assert (told.returncode, result["ok"], result["steps"][-1]["step"]) == (1, False, "lint")
    assert result["next"] == f"make release VERSION={VERSION}"
    shown = command(clone, VERSION, FAIL="lint")
    assert "\x1b" not in shown.stdout
    assert f"Stopped. When it is mended:\n  make release VERSION={VERSION}" in shown.stdout


@pytest.mark.packages
@pytest.mark.timeout(600)
def test_a_whole_release_looks_first_and_tags_when_told(clone: Path) -> None:
    looked = command(clone, VERSION, "--dry-run", "--json")
    result = json.loads(looked.stdout)
    assert (looked.returncode, result["steps"][-1]["state"]) == (0, "planned"), looked.stderr[-2000:]
    assert result["next"] == f"make release VERSION={VERSION} ARGS=--execute"
    ends = ("-py3-none-any.whl", ".tar.gz", "-image.cdx.json", "-dev.cdx.json")
    assert set(result["files"]) == {f"cachestack-{VERSION}{end}" for end in ends}
    assert git(clone, "tag", "--points-at", "HEAD") == "v9.0.0"

    done = command(clone, VERSION, "--execute")
    assert done.returncode == 0, done.stdout
    assert git(clone, "cat-file", "-t", f"v{VERSION}") == "tag"
    assert git(clone, "rev-list", "-n", "1", f"v{VERSION}") == git(clone, "rev-parse", "HEAD")
    assert f"git push origin main v{VERSION} && uv publish dist/cachestack-{VERSION}" in done.stdout
