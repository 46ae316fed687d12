"""Run the tests that touch redis-py with its oldest release and with the locked one; print servers by releases.

``make test-compat``. One virtual environment has the oldest release that pyproject.toml allows, the other that of the
lock file. The first also leaves out what is compiled (``cacheclient.native``), so that Python's way is tested, too.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

from cacheclient.contract import Env
from tests.conftest import BINARIES

NAMES: Final = (
    "conformance", "topology", "link", "outages", "events", "tags", "cluster", "cluster_incidents", "slots",
)  # fmt: skip
FILES: Final = tuple(f"tests/client/test_{name}.py" for name in NAMES)


class Run(NamedTuple):
    """What one redis-py did: outcomes (passed, failed, skipped) counted by server."""

    version: str
    outcomes: dict[str, Counter[str]]
    seconds: float
    failed: bool


def run(python: str, arguments: Sequence[str], *, pure: bool) -> Run:
    """Run the tests with ``python``, without what is compiled if they are to be ``pure``, and count."""
    version = _output(python, "-c", "import redis; print(redis.__version__)")
    environment = {**os.environ, Env.PURE_PYTHON: "1"} if pure else None
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [python, "-m", "pytest", "-q", "--no-header", f"--junitxml={report}", *FILES, *arguments]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if ended.returncode:
            sys.stdout.write(ended.stdout + ended.stderr)
        outcomes = count(ET.parse(report).iter("testcase")) if report.exists() else {}  # noqa: S314  our own report
    return Run(version, outcomes, time.monotonic() - began, bool(ended.returncode))


def count(cases: Iterable[ET.Element]) -> dict[str, Counter[str]]:
    """Return the outcomes by server: the parameter in a test's name says which."""
    outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        parameters = re.search(r"\[(.*)\]", case.get("name", ""))
        server = next((name for name in BINARIES if parameters and name in parameters[1]), "")
        outcomes[server][_outcome(case)] += 1
    return dict(outcomes)


def table(runs: Sequence[Run]) -> Table:
    """Return the matrix."""
    drawn = Table("server", *(f"redis-py {run.version}" for run in runs), title="Tests passed / failed / skipped")
    for server in (*BINARIES, ""):
        counts = [run.outcomes.get(server, Counter()) for run in runs]
        drawn.add_row(_title(server), *(f"{c['passed']} / {c['failed']} / {c['skipped']}" for c in counts))
    drawn.add_row("seconds", *(f"{run.seconds:.0f}" for run in runs))
    return drawn


def main() -> int:
    """Run with each interpreter given; exit code 1 if a test failed."""
    parser = argparse.ArgumentParser("tests.compat", description=__doc__)
    parser.add_argument(
        "pythons",
        nargs="+",
        help="an interpreter for each release of redis-py; the first runs no compiled code of ours",
    )
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, default=[], help="what follows goes to pytest")
    given = parser.parse_args()
    runs = [run(python, given.pytest, pure=not place) for place, python in enumerate(given.pythons)]
    Console().print(table(runs))
    return int(any(one.failed for one in runs))


def _title(server: str) -> str:
    """Return what a server says it is; tests without a parameter choose one, or need none."""
    binary = BINARIES[server]() if server else None
    if binary is None:
        return f"{server}: not installed" if server else "any, or none"
    return " ".join(re.sub(r"server v=", "", _output(binary, "--version")).split()[:2])


def _outcome(case: ET.Element) -> str:
    for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
