"""The commands behind the figures, and how one is run: watched, bounded in time, and ended as Ctrl-C ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SHOW: Final = "show"
SERVICE: Final = "service"
FAILOVER: Final = "failover"
CONSISTENCY: Final = "consistency"
ALERTS: Final = "alerts"
BOARDS: Final = "boards"
CRASH: Final = "SIGKILL"  # the event of the show in which acknowledged writes may be lost
SET: Final = ("infra.local", "up", "--down-after", "5")
_ROOT: Final = Path(__file__).parents[2]  # where the packages of the commands are
_GRACE: Final = 90.0  # seconds in which a command puts away what it has started
_POLL: Final = 0.2

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """``python -m module arguments``.

    Attributes:
        seconds: about how long it takes; it is given up after three times that and a minute.
        on_set: whether it runs on the local environment that ``SET`` starts; then it also writes its JSON to a file.
        out: whether it needs a folder to write to.
    """

    module: str
    arguments: tuple[str, ...] = ()
    seconds: float
    on_set: bool = False
    out: bool = False

    def __str__(self) -> str:
        """What to type to repeat it."""
        return " ".join(("python -m", self.module, *self.arguments, *(("--out DIR",) if self.out else ())))

    @property
    def limit(self) -> float:
        """Seconds after which it is given up."""
        return 3 * self.seconds + 60

    def argv(self, folder: Path, place: Path) -> list[str]:
        """Return what is run: the same, with JSON; ``folder`` takes its files, ``place`` is the set's."""
        extra = ["--dir", str(place), "--json", str(folder / "document.json")] if self.on_set else ["--json"]
        out = ["--out", str(folder / "out")] if self.out else []
        return [sys.executable, "-m", self.module, *self.arguments, *out, *extra]


COMMANDS: Final = {
    ALERTS: Command(module="alerts", arguments=("--namespace", "cache-dev"), seconds=1),
    BOARDS: Command(module="dashboards", arguments=("write",), seconds=2, out=True),
    SHOW: Command(module="examples.fingerprint", seconds=60, on_set=True),
    SERVICE: Command(
        module="examples.fingerprint.service", arguments=("--seconds", "5", "--endure", "0"), seconds=60, on_set=True
    ),
    FAILOVER: Command(
        module="tests.drill", arguments=("--only", "node-lost", "--runs", "1", "--down-after", "30"), seconds=50
    ),
    CONSISTENCY: Command(module="tests.fuzz", arguments=("--seconds", "60"), seconds=85),
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a command: its JSON, None if there is none, and what it said last if it did not end well."""

    document: Any
    exit_code: int | None
    seconds: float
    reason: str = ""


def run(command: Command, folder: Path, place: Path, tell: Tell) -> Ran:
    """Run a command to its end and return its JSON; ``tell`` hears its last line from time to time."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    code = execute(command.argv(folder, place), folder, command.limit, tell)
    written = folder / ("document.json" if command.on_set else "stdout")
    seconds = time.monotonic() - began
    document = _parsed(written)
    if code is None:
        return Ran(document, code, seconds, f"not done after {command.limit:g} s; {last_words(folder)}")
    why = (
        last_words(folder) if document is None else "a promise of its own was missed; what it saw is in acceptance.json"
    )
    return Ran(document, code, seconds, f"exit code {code}: {why}" if code else "")


def execute(argv: list[str], folder: Path, limit: float, tell: Tell) -> int | None:
    """Run ``argv`` with its output in ``folder`` and return its exit code; None if given up after ``limit`` s."""
    # A session of its own: Ctrl-C reaches this program alone, which then hands it on, once.
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            argv, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
        )
    deadline = time.monotonic() + limit
    try:
        while True:
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                tell(last_words(folder))
            if time.monotonic() > deadline:
                return None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_words(folder: Path) -> str:
    """Return the last line that a command wrote for people; its errors count more."""
    for name in ("stderr", "stdout"):
        lines = [line.strip() for line in (folder / name).read_text(errors="replace").splitlines()]
        if words := next((line for line in reversed(lines) if line), ""):
            return words
    return "it said nothing"


def _parsed(written: Path) -> Any:
    try:
        return json.loads(written.read_text())
    except (OSError, ValueError):
        return None
