"""What is known about a running local environment: the file ``env.json`` and the places below the root directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from cacheclient.contract import ScriptEnv
from infra.local import process
from infra.local.errors import LocalError
from infra.local.process import Identity

LOCK_WAIT: Final = 10.0

Kind = Literal["redis", "sentinel", "exporter", "prometheus", "boards", "grafana", "api"]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the environment: how it is started and what became of it.

    ``stopped`` says who ended it on purpose: ``planned``, ``killed``, or empty if nobody did.
    """

    name: str
    kind: Kind
    address: str
    port: int
    argv: tuple[str, ...]
    environment: dict[str, str]
    pid: int = 0
    started: int = 0
    stopped: Literal["", "planned", "killed"] = ""

    @property
    def identity(self) -> Identity:
        """The process for certain: pid and start time."""
        return Identity(self.pid, self.started)

    @property
    def encrypted(self) -> bool:
        """Whether it is spoken to over TLS."""
        return ScriptEnv.TLS_DIR in self.environment

    @property
    def running(self) -> bool:
        """Whether it is there now."""
        return process.running(self.identity)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``env.json``; times in seconds. ``complete`` once ``up`` has reached its end."""

    set_name: str
    server: str
    down_after: float
    redis_port: int
    sentinel_port: int
    processes: dict[str, Process]
    tls: bool = False
    complete: bool = False

    def of_kind(self, kind: Kind) -> list[Process]:
        """The processes of one kind, in ordinal order."""
        return [p for p in self.processes.values() if p.kind == kind]

    def with_process(self, changed: Process) -> State:
        """A copy in which one process is replaced."""
        return msgspec.structs.replace(self, processes={**self.processes, changed.name: changed})


class Places:
    """The files of one environment; nothing is kept anywhere else."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.state = self.root / "env.json"
        self.lock = self.root / "lock"
        self.secrets = self.root / "secrets"
        self.tls = self.root / "tls"
        self.conf = self.root / "conf"
        self.data = self.root / "data"
        self.run = self.root / "run"
        self.logs = self.root / "logs"
        self.bin = self.root / "bin"
        self.discovery = self.root / "discovery"
        self.restore = self.root / "restore"

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{name}.log"

    def read(self) -> State | None:
        """Return the recorded state, or None if there is none.

        Raises:
            LocalError: if the file cannot be understood.
        """
        try:
            return msgspec.json.decode(self.state.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise LocalError(f"{self.state} cannot be read ({error}); end its processes and remove it") from None

    def write(self, state: State) -> None:
        """Record the state, whole or not at all."""
        new = self.state.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1))
        new.replace(self.state)

    @contextlib.contextmanager
    def locked(self, *, wait: float = LOCK_WAIT) -> Iterator[None]:
        """Keep other programs from changing this environment meanwhile.

        Raises:
            LocalError: if another program holds it for longer than ``wait`` seconds.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not process.wait_until(lambda: _try_lock(descriptor), wait):
                raise LocalError(
                    f"another program is changing the environment in {self.root}; try again when it is done"
                )
            yield
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
