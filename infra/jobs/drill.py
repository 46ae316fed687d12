"""The restore drill: load a backup into a server made for it, and count what it holds.

The server loads the file as a replica whose master never answers: a replica keeps keys whose time is over until its
master deletes them, so the counts of each database must be exactly those of the manifest. A master would drop such keys
while it loads.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.jobs.errors import CorruptBackupError, JobError
from infra.jobs.manifest import Keyspace, Manifest
from infra.jobs.progress import say
from infra.jobs.redis_set import Tools, parse_info

LOAD_SECONDS: Final = 600.0
_POLL: Final = 0.05
_NOBODY: Final = ("127.0.0.1", "1")  # no server listens on port 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """How long a backup took to load, and what the server then held."""

    backup: Manifest
    keyspace: dict[str, Keyspace]
    seconds: float


def load(snapshot: Path, backup: Manifest, tools: Tools, folder: Path) -> Loaded:
    """Load a snapshot into a server of its own below ``folder`` and compare its keys with the manifest.

    Raises:
        CorruptBackupError: if the server refuses the snapshot, or holds other counts than the manifest.
        JobError: if it does not load within the time allowed.
    """
    home = folder / "drill"
    home.mkdir()
    shutil.move(snapshot, home / "dump.rdb")
    began = time.monotonic()
    with _server(tools, home) as ask:
        info = _await_loaded(ask, home)
        seconds = time.monotonic() - began
        found = {name[2:]: _keyspace(text) for name, text in info.items() if name[:2] == "db" and name[2:].isdigit()}
    if found != backup.keyspace:
        raise CorruptBackupError(f"the loaded backup holds {found}, its manifest says {backup.keyspace}")
    say(f"drill: {backup.keys:,} keys of {backup.object_key} loaded in {seconds:.1f} s, as many as its manifest says")
    return Loaded(backup, found, seconds)


class _Ask:
    """The server, through its socket."""

    def __init__(self, cli: Path, socket: Path, process: subprocess.Popen[bytes]) -> None:
        self._cli, self._socket, self.process = cli, socket, process

    def info(self) -> dict[str, str]:
        """Return INFO, or nothing if there is no answer."""
        argv = [str(self._cli), "-s", str(self._socket), "INFO"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return {}
        return parse_info(done.stdout.replace("\r", ""))


@contextmanager
def _server(tools: Tools, home: Path) -> Iterator[_Ask]:
    """Run a server that nobody can reach but through a socket in ``home``, and that writes nothing."""
    settings = {"port": "0", "unixsocket": "s", "dir": str(home), "logfile": "log", "save": "", "appendonly": "no"}
    argv = [str(tools.server), *(word for name, value in settings.items() for word in (f"--{name}", value))]
    argv += ["--replicaof", *_NOBODY]
    with subprocess.Popen(argv, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield _Ask(tools.cli, home / "s", process)
        finally:
            process.kill()


def _await_loaded(ask: _Ask, home: Path) -> dict[str, str]:
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        if ask.process.poll() is not None:
            log = home / "log"
            last = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
            raise CorruptBackupError(f"the server cannot load the backup: {' '.join(last) or 'it ended at once'}")
        info = ask.info()
        if info.get("loading") == "0":
            return info
        time.sleep(_POLL)
    raise JobError(f"the backup was not loaded within {LOAD_SECONDS:g} s")


def _keyspace(text: str) -> Keyspace:
    fields = dict(part.split("=", 1) for part in text.split(","))
    return Keyspace(keys=int(fields["keys"]), expires=int(fields["expires"]))
