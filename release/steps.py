"""What a release consists of, and carrying it out: in order, up to the first step that fails.

Slow steps that have passed for a commit are not repeated for it: ``dist/release-VERSION.json`` remembers them.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal

import msgspec

from release import checks, distribution

State = Literal["done", "done before", "left out", "planned", "failed"]


class Name(StrEnum):
    """The steps, in their order."""

    TREE = "tree"
    VERSION = "version"
    CHANGELOG = "changelog"
    LINT = "lint"
    DOCS = "docs"
    TEST = "test"
    DIST = "dist"
    INSTALL = "install"
    TAG = "tag"


DOES: Final = {
    Name.TREE: "the checkout is main, as it is committed",
    Name.VERSION: "the version is in pyproject.toml alone, and above those released",
    Name.CHANGELOG: "CHANGELOG.md has the version, with the day",
    Name.LINT: "make lint: style, types, import rules",
    Name.DOCS: "make docs: no warning, no link to nowhere",
    Name.TEST: "make test: everything that needs no cluster",
    Name.DIST: "wheel, source and bills of materials, made twice the same",
    Name.INSTALL: "make test-packages: each extra in a fresh environment",
    Name.TAG: "an annotated tag",
}
_QUICK: Final = {Name.TREE, Name.VERSION, Name.CHANGELOG}  # always looked at
_MAKE: Final = {Name.LINT: "lint", Name.DOCS: "docs", Name.TEST: "test", Name.INSTALL: "test-packages"}


class StepError(Exception):
    """A step has failed; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a step."""

    step: Name
    state: State
    said: str = ""
    seconds: float = 0.0


class Passed(msgspec.Struct, kw_only=True):
    """The slow steps that a commit has passed."""

    commit: str = ""
    steps: list[Name] = []


@dataclass(slots=True, kw_only=True)
class Release:
    """One version of one repository; ``execute`` says whether it is tagged, or only looked at."""

    version: str
    root: Path
    today: dt.date
    execute: bool = False
    first: Name = Name.TREE
    again: bool = False
    tools: Path = distribution.TOOLS
    made: dict[str, str] = field(default_factory=dict)

    def run(self, tell: Callable[[Done], None]) -> list[Done]:
        """Carry out the steps, telling what became of each; the last has failed, if any has."""
        names, told = list(Name), []
        for name in names:
            left_out = name not in _QUICK and names.index(name) < names.index(self.first)
            done = Done(step=name, state="left out", said=f"--from {self.first}") if left_out else self._one(name)
            told.append(done)
            tell(done)
            if done.state == "failed":
                break
        return told

    def _one(self, name: Name) -> Done:
        began = time.monotonic()
        try:
            if name in _MAKE:
                if not self.again and name in self._passed().steps:
                    return Done(step=name, state="done before", said="for this commit; --again repeats it")
                self._make(name)
                said = DOES[name]
            elif name is Name.TAG and not self.execute:
                return Done(step=name, state="planned", said=f"git tag -a v{self.version} {self.head[:12]}")
            else:
                said = {
                    Name.TREE: self._tree, Name.VERSION: self._version, Name.CHANGELOG: self._changelog,
                    Name.DIST: self._dist, Name.TAG: self._tag,
                }[name]()  # fmt: skip
        except (StepError, distribution.BuildError) as error:
            return Done(step=name, state="failed", said=str(error), seconds=time.monotonic() - began)
        return Done(step=name, state="done", said=said, seconds=time.monotonic() - began)

    @property
    def head(self) -> str:
        """The commit that is released."""
        return self._git("rev-parse", "HEAD")

    def _tree(self) -> str:
        changed = self._git("status", "--porcelain").splitlines()
        tags = {tag: self._git("rev-list", "-n", "1", tag) for tag in self._git("tag", "--list").split()}
        branch = self._git("branch", "--show-current")
        _refuse(checks.tree(self.version, branch, [line[3:] for line in changed], tags, self.head))
        return f"{branch} at {self.head[:12]}"

    def _version(self) -> str:
        names = [
            name for name in self._git("ls-files", "*.toml", "*.py", "*.yaml").splitlines() if "tests/" not in name
        ]
        files = {name: (self.root / name).read_text(encoding="utf-8") for name in names}
        tags = self._git("tag", "--list").split()
        _refuse([*checks.one_place(self.version, files), *checks.newer(self.version, tags)])
        return f"{self.version}, in pyproject.toml alone"

    def _changelog(self) -> str:
        text = (self.root / "CHANGELOG.md").read_text(encoding="utf-8")
        _refuse(checks.changelog(self.version, text, self.today))
        return f"{self.version} of {self.today}"

    def _make(self, name: Name) -> None:
        done = subprocess.run(["make", _MAKE[name]], cwd=self.root, stdout=sys.stderr, check=False)  # noqa: S607
        if done.returncode:
            raise StepError(f"make {_MAKE[name]} failed, as it says above")
        passed = self._passed()
        passed.steps.append(name)
        self._memory.parent.mkdir(exist_ok=True)
        self._memory.write_bytes(msgspec.json.encode(passed))

    def _dist(self) -> str:
        self.made = distribution.make("HEAD", self.root / "dist", self.root, self.tools)
        return f"{len(self.made)} files in dist/, twice the same"

    def _tag(self) -> str:
        passed = self._passed().steps
        if missing := [name for name in _MAKE if name not in passed]:
            raise StepError(f"{', '.join(missing)} has not passed for this commit: leave --from away")
        tag = f"v{self.version}"
        if tag in self._git("tag", "--list", tag).split():
            return f"{tag} is there already, on this commit"
        self._git("tag", "-a", tag, "-m", f"cachestack {self.version}")
        return f"{tag} on {self.head[:12]}, here only"

    @property
    def _memory(self) -> Path:
        return self.root / "dist" / f"release-{self.version}.json"

    def _passed(self) -> Passed:
        """Return what this commit has passed: nothing, where the memory is of another."""
        try:
            passed = msgspec.json.decode(self._memory.read_bytes(), type=Passed)
        except (FileNotFoundError, msgspec.DecodeError):
            passed = Passed()
        return passed if passed.commit == self.head else Passed(commit=self.head)

    def _git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")


def _refuse(faults: Iterable[str] | Iterator[str]) -> None:
    if found := list(faults):
        raise StepError("; ".join(found))
