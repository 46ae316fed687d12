"""The interface for programs: find the running environment, ask who leads, stop, kill and start its processes.

Nothing is started again by itself: who stops a process starts it again, and ``dead()`` names those that ended although
nobody here stopped them.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from cacheclient.contract import SENTINEL_AUTH_FILE, RedisUser, TlsFile
from infra.local import node, process, programs
from infra.local.errors import LocalError
from infra.local.logs import last_words
from infra.local.state import Places, Process, State

ROOT: Final = "CACHESTACK_LOCAL"
"""Environment variable with the directory of the environment; default ``.local`` in the current directory."""

STOP_GRACE: Final = 60.0


def default_root() -> Path:
    """The directory of the environment, from ``CACHESTACK_LOCAL`` or ``.local``."""
    return Path(os.environ.get(ROOT) or ".local")


class Dead(NamedTuple):
    """A process that ended although nobody here stopped it."""

    name: str
    reason: str


class Environment:
    """A local environment that ``up`` has started. Values are read from its state file whenever they are asked for."""

    def __init__(self, places: Places) -> None:
        self.places = places

    @classmethod
    def load(cls, root: Path | None = None) -> Environment:
        """Return the environment below ``root`` (default: ``default_root()``).

        Raises:
            LocalError: if none has been started there.
        """
        environment = cls(Places(root or default_root()))
        _ = environment.state
        return environment

    @property
    def state(self) -> State:
        """What is recorded about the environment now.

        Raises:
            LocalError: if it does not exist (any more).
        """
        state = self.places.read()
        if state is None:
            raise LocalError(f"no local environment in {self.places.root}: start one with 'make up'")
        return state

    @property
    def set_name(self) -> str:
        """Name of the Sentinel set."""
        return self.state.set_name

    @property
    def down_after(self) -> float:
        """Seconds of silence after which Sentinel takes a node for down."""
        return self.state.down_after

    @property
    def url(self) -> str:
        """URL for clients; the passwords are in ``password_file`` and ``sentinel_password_file``."""
        return programs.client_url(self.state)

    @property
    def client_environment(self) -> dict[str, str]:
        """Environment variables (``contract.Env``) that configure a client."""
        return programs.client_environment(self.places, self.state)

    @property
    def secret_dir(self) -> Path:
        """Directory with one password file per user."""
        return self.places.secrets

    @property
    def password_file(self) -> Path:
        """Password of the user ``app``."""
        return self.places.secrets / RedisUser.APP

    @property
    def sentinel_password_file(self) -> Path:
        """Password of the Sentinels."""
        return self.places.secrets / SENTINEL_AUTH_FILE

    @property
    def ca_file(self) -> Path | None:
        """The authority that clients have to trust; None where nothing is encrypted."""
        return self.places.tls / TlsFile.AUTHORITY if self.state.tls else None

    @property
    def redis_nodes(self) -> dict[str, tuple[str, int]]:
        """Address and port of each Redis node by name."""
        return {p.name: (p.address, p.port) for p in self.state.of_kind("redis")}

    @property
    def sentinel_nodes(self) -> dict[str, tuple[str, int]]:
        """Address and port of each Sentinel by name."""
        return {p.name: (p.address, p.port) for p in self.state.of_kind("sentinel")}

    @property
    def prometheus_url(self) -> str | None:
        """Where Prometheus answers; None if it is not installed."""
        return self._http("prometheus")

    @property
    def api_url(self) -> str | None:
        """Where the cache API answers; None if it does not run here."""
        return self._http("cache-api")

    @property
    def boards_url(self) -> str | None:
        """Where the dashboards are served; None without Prometheus, of which they are drawn."""
        return self._http("boards")

    def _http(self, name: str) -> str | None:
        found = self.state.processes.get(name)
        return f"http://{found.address}:{found.port}" if found else None

    def ask(self, name: str, *command: str) -> str:
        """Send one command to a node through redis-cli and return the reply; empty if there is none within 2 s."""
        return node.ask(self.places, self._process(name), *command)

    def master(self) -> str:
        """Return the name of the node that most Sentinels name as master.

        Raises:
            LocalError: if there is no such majority now.
        """
        state = self.state
        sentinels, names = state.of_kind("sentinel"), {p.address: p.name for p in state.of_kind("redis")}
        votes: list[str] = []
        for sentinel in sentinels:
            reply = node.ask(self.places, sentinel, "SENTINEL", "get-master-addr-by-name", state.set_name)
            votes.append(names.get(reply.partition("\n")[0], ""))
            if votes[-1] and votes.count(votes[-1]) > len(sentinels) // 2:
                return votes[-1]
        raise LocalError(f"the Sentinels agree on no master now (they name: {', '.join(v or '-' for v in votes)})")

    def stop(self, name: str) -> str:
        """Stop a process as a cluster does: stop hook (Redis only), then SIGTERM. Return what the hook logged."""
        found = self._process(name)
        said = node.run_stop_hook(found) if found.kind == "redis" and found.running else ""
        self._mark(name, stopped="planned")
        process.end([found.identity], grace=STOP_GRACE)
        return said

    def end(self, *names: str) -> None:
        """Stop processes with SIGTERM and no handover: for when there is nobody to hand over to."""
        for name in names:
            self._mark(name, stopped="planned")
        process.end([self._process(name).identity for name in names], grace=STOP_GRACE)

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL, as a lost machine would."""
        self._mark(name, stopped="killed")
        identity = self._process(name).identity
        process.send(identity, signal.SIGKILL)
        process.wait_until(lambda: not process.running(identity), STOP_GRACE)

    def start(self, name: str) -> None:
        """Start a process that has ended; does nothing if it runs. It may take a while until it is ready."""
        with self.places.locked():
            found = self._process(name)
            if not found.running:
                self.places.write(self.state.with_process(node.launch(self.places, found)))

    def pause(self, name: str) -> None:
        """Let a process hang (SIGSTOP): its connections stay open, and it answers nobody."""
        process.send(self._process(name).identity, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused process go on."""
        process.send(self._process(name).identity, signal.SIGCONT)

    def ready(self, name: str) -> bool:
        """Ask the node's own readiness probe."""
        return node.probe(self._process(name), "readiness")

    def dead(self) -> list[Dead]:
        """Name the processes that ended although nobody here stopped them, each with its last words."""
        gone = [p for p in self.state.processes.values() if not p.stopped and not p.running]
        return [Dead(p.name, last_words(self.places.log(p.name))) for p in gone]

    def _process(self, name: str) -> Process:
        processes = self.state.processes
        if name not in processes:
            raise LocalError(f"no process is called {name!r}; there are: {', '.join(processes)}")
        return processes[name]

    def _mark(self, name: str, *, stopped: str) -> None:
        with self.places.locked():
            self.places.write(self.state.with_process(msgspec.structs.replace(self._process(name), stopped=stopped)))
