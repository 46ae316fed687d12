"""The fast loop, ``make check``: style, types and import rules of everything, and the quick tests of what has changed.

Says what it ran, what it left out, and what to do next. The first run takes longer: mypy reads everything once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BIN: Final = Path(sys.executable).parent
BASES: Final = ("origin/main", "main", "HEAD")  # what a change is measured against: the first that there is
TEST_SECONDS: Final = 60.0  # a few seconds, where nothing else keeps the machine busy
NO_TESTS: Final = 5  # pytest's exit code where none was chosen
ALWAYS: Final = "tests/project"


@dataclass(frozen=True)
class Step:
    """One thing to run: what it is, the command, what mends it, and the seconds that it may take."""

    name: str
    command: Sequence[str]
    mend: str
    within: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """How a step ended, what it said, and after how many seconds."""

    step: Step
    held: bool
    said: str
    seconds: float


RULES: Final = (
    Step("style", (str(BIN / "ruff"), "check", "."), "make format mends most of it"),
    Step("format", (str(BIN / "ruff"), "format", "--check", "."), "make format"),
    Step("types", (str(BIN / "mypy"),), "each line names a file and what does not fit"),
    Step("imports", (str(BIN / "lint-imports"),), "the layers are in pyproject.toml; ARCHITECTURE.md says why"),
)


def tests_of(changed: Iterable[str], there: Iterable[str]) -> list[str]:
    """Return the files of tests that are changed themselves, or bear the name of a changed module, or part of it."""
    paths = set(changed)
    stems = {PurePath(path).stem for path in paths if path.endswith((".py", ".lua", ".sh"))}

    def named(test: str) -> bool:
        own = PurePath(test).stem.removeprefix("test_")
        return any(own == stem or own.startswith(f"{stem}_") or stem.startswith(f"{own}_") for stem in stems)

    return sorted(test for test in there if test in paths or named(test))


def changes() -> list[str]:
    """Return the files that differ from the main branch, committed or not."""
    base = next(found for name in BASES if (found := _git("merge-base", "HEAD", name)))
    changed = _git("diff", "--name-only", base[0]) + _git("ls-files", "--others", "--exclude-standard")
    return [path for path in changed if (ROOT / path).exists()]


def run(step: Step) -> Outcome:
    """Run one step."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            step.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=step.within,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Outcome(step, held=False, said=f"not done after {step.within:g} s", seconds=step.within)
    return Outcome(step, done.returncode in (0, NO_TESTS), done.stdout, time.monotonic() - began)


def check(steps: Sequence[Step]) -> bool:
    """Run steps side by side, print how each ended, and return whether all hold."""
    with ThreadPoolExecutor(2) as pool:
        outcomes = []
        for outcome in pool.map(run, steps):
            outcomes.append(outcome)
            print(f"{'ok    ' if outcome.held else 'FAILED'} {outcome.seconds:5.1f} s  {outcome.step.name}", flush=True)  # noqa: T201
    for outcome in outcomes:
        if not outcome.held:
            print(f"\n--- {outcome.step.name}: {outcome.step.mend}\n{outcome.said}")  # noqa: T201
    return all(outcome.held for outcome in outcomes)


def main() -> int:
    """Check the change."""
    chosen = tests_of(changes(), (str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")))
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "quick and not (cluster or engine or packages or slow)",
        ALWAYS,
        *chosen,
    )
    mend = f"as here, with all that they say: {BIN.relative_to(ROOT)}/pytest {' '.join([ALWAYS, *chosen])}"
    tests = Step("quick tests of what has changed", command, mend, TEST_SECONDS)
    held = check((*RULES, tests))
    print(f"\nTests: {', '.join([ALWAYS, *chosen])}.")  # noqa: T201
    print("Left out: tests that start processes, and all of what has not changed (make test); shell scripts and the")  # noqa: T201
    print("second type checker (make lint); manifests before the policies (make policy); the site (make docs).")  # noqa: T201
    print("Next: make lint test before you ask for the merge." if held else "Next: mend what is above, and again.")  # noqa: T201
    return 0 if held else 1


def _git(*words: str) -> list[str]:
    command = ["git", *words]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.split() if told.returncode == 0 else []


if __name__ == "__main__":
    sys.exit(main())
