"""The load: so many connections, each asking again as soon as it is answered, for users whose popularity follows zipf.

With ``wrk`` on PATH that makes the requests, else ``callers`` does: correct, but it takes more of the machine that the
service runs on. Either way generator and service share its cores.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

_SKEW: Final = 0.75  # Breslau et al. (1999): 0.64 to 0.83 on the web
_PATHS: Final = 20_000
_LUA: Final = Path(__file__).with_name("wrk.lua")


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a load gave.

    Attributes:
        requests: answers.
        seconds: how long it took.
        p50, p95, p99: seconds that a request took.
        refused: answers with a status of 400 or more.
        broken: connections that failed, and requests without an answer.
    """

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    refused: int
    broken: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Makes the load. ``users`` are those that are asked for: the most popular ones of the database."""

    host: str
    port: int
    users: int
    path: str = "/reports/{user}"

    @property
    def name(self) -> str:
        """What makes the requests."""
        return "wrk" if shutil.which("wrk") else "callers of Python"

    def start(self, connections: int, seconds: float) -> Running:
        """Begin to ask."""
        paths = tempfile.NamedTemporaryFile("w", prefix="fp-paths-", suffix=".txt", delete=False)  # noqa: SIM115  it outlives this
        with paths:
            paths.write("\n".join(self.path.format(user=user) for user in popular(self.users, _PATHS)))
        if program := shutil.which("wrk"):
            command = [program, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(_LUA)]
            command += [f"http://{self.host}:{self.port}", "--", paths.name]
        else:
            command = [sys.executable, "-m", "examples.fingerprint.service.callers", self.host, str(self.port)]
            command += [str(connections), str(seconds), paths.name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return Running(process, Path(paths.name))

    def run(self, connections: int, seconds: float) -> Load:
        """Ask for so many seconds and return what that gave."""
        return self.start(connections, seconds).result()


@dataclass(frozen=True, slots=True)
class Running:
    """A load that is under way."""

    process: subprocess.Popen[str]
    paths: Path

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def result(self) -> Load:
        """Wait for its end and return what it gave.

        Raises:
            OSError: if the generator failed.
        """
        try:
            said, _ = self.process.communicate()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.paths.unlink(missing_ok=True)
        line = next((line for line in said.splitlines() if line.startswith("{")), None)
        if self.process.returncode or line is None:
            raise OSError(f"the load generator failed: {said.strip()[-400:]}")
        return msgspec.convert(json.loads(line), Load)


def popular(users: int, count: int, seed: int = 1) -> list[int]:
    """Return whom to ask for, in order: user r comes with a probability proportional to 1 / (r + 1) ** 0.75."""
    weights = [1 / (rank + 1) ** _SKEW for rank in range(users)]
    return random.Random(seed).choices(range(users), weights, k=count)  # noqa: S311  a workload, not a secret
