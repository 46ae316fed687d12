"""The processes of a run: started, listened to, and never left behind.

Each process leads a session of its own, so that Ctrl-C reaches the conductor only, which then ends them in order. If
the conductor itself is killed, the end of its pipes ends them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from examples.fingerprint.messages import Assignment, Order, Play

_ROOT: Final = Path(__file__).parents[2]  # where `-m examples...` finds the package
QUIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A process ended; ``reason`` says how, with the last line it wrote."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Member:
    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path


class Crew:
    """Processes by name. As a context manager it ends them all."""

    def __init__(self, folder: Path) -> None:
        """Processes write what they have to say to ``<folder>/<name>.log``."""
        self._folder = folder
        self._members: dict[str, _Member] = {}

    def start(self, name: str, module: str, assignment: Assignment) -> None:
        """Start ``python -m module`` under ``name`` and give it its assignment."""
        ours, theirs = Pipe()
        log = self._folder / f"{name}.log"
        with theirs, log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=_ROOT,
                start_new_session=True,
            )
        self._members[name] = _Member(process, ours, log)
        self._send(name, assignment)

    @property
    def names(self) -> list[str]:
        """Names of the processes that have not ended."""
        return list(self._members)

    def pid(self, name: str) -> int:
        """Return the process id of ``name``."""
        return self._members[name].process.pid

    def order(self, order: Play | Order) -> None:
        """Give an order to all processes."""
        for name in self.names:
            self._send(name, order)

    def messages(self, timeout: float) -> Iterator[tuple[str, object]]:
        """Yield what was said within ``timeout`` seconds, with the speaker's name; ``Ended`` is a process's last."""
        heard = wait([member.connection for member in self._members.values()], timeout)
        for name, member in list(self._members.items()):
            if member.connection in heard:
                try:
                    yield name, member.connection.recv()
                except (EOFError, OSError):
                    yield name, self._bury(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for member in self._members.values():
            member.connection.close()  # the order to quit, also for one that is blocked in telling us something
        for name in self.names:
            self._bury(name)

    def _send(self, name: str, message: object) -> None:
        try:
            self._members[name].connection.send(message)
        except OSError:
            return  # it has ended; messages() will say so

    def _bury(self, name: str) -> Ended:
        member = self._members.pop(name)
        member.connection.close()
        try:
            code = member.process.wait(QUIT_SECONDS)
        except subprocess.TimeoutExpired:
            member.process.kill()
            code = member.process.wait()
        # Nested tracebacks are framed: what counts is the last line with words in it.
        words = [line.strip(" |+-") for line in member.log.read_text(errors="replace").split("\n")]
        last = next((line for line in reversed(words) if line), "")
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Ended(f"{how}: {last}" if last else how)
