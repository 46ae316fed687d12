"""The Redis set as a job sees it: through redis-cli, as the pods' scripts do, so there is no client library here.

Passwords come from files and travel in the environment of redis-cli, never in an argument list.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cacheclient.contract import SENTINEL_AUTH_FILE, BackupKey, RedisUser, ScriptEnv, TlsFile
from infra.jobs.choice import Node
from infra.jobs.errors import JobError, UsageError
from infra.jobs.progress import Progress

CALL_SECONDS: Final = 3.0
SNAPSHOT_SECONDS: Final = 900.0
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Redis' own programs. Each is taken from an environment variable (as in the scripts), else from PATH."""

    cli: Path
    server: Path
    check_rdb: Path

    @classmethod
    def find(cls, environment: Mapping[str, str]) -> Tools:
        """Return the programs of this machine or image.

        Raises:
            UsageError: if one is missing.
        """
        return cls(
            cli=_program(environment, "REDIS_CLI", "redis-cli"),
            server=_program(environment, "REDIS_SERVER", "redis-server"),
            check_rdb=_program(environment, "REDIS_CHECK_RDB", "redis-check-rdb"),
        )


def _program(environment: Mapping[str, str], variable: str, name: str) -> Path:
    found = environment.get(variable) or shutil.which(name)
    if not found or not os.access(found, os.X_OK):
        raise UsageError(f"{name} was not found: install redis-tools and redis-server, or set {variable}")
    return Path(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSet:
    """Where the nodes of a set are, and how to ask them."""

    name: str
    redis_hosts: tuple[str, ...]
    redis_port: int
    sentinel_hosts: tuple[str, ...]
    sentinel_port: int
    secrets: Path
    tools: Tools
    tls: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> RedisSet:
        """Return the set that the environment variables of the pods' scripts describe.

        Raises:
            UsageError: naming every variable that is missing.
        """
        wanted = (
            ScriptEnv.SET, ScriptEnv.REDIS_HOSTS, ScriptEnv.REDIS_PORT, ScriptEnv.SENTINEL_HOSTS,
            ScriptEnv.SENTINEL_PORT, ScriptEnv.SECRET_DIR,
        )  # fmt: skip
        missing = [name.value for name in wanted if not environment.get(name)]
        if missing:
            raise UsageError(f"which Redis set? Not set: {', '.join(missing)}; --local takes the one of `make up`")
        return cls(
            name=environment[ScriptEnv.SET],
            redis_hosts=tuple(environment[ScriptEnv.REDIS_HOSTS].split()),
            redis_port=int(environment[ScriptEnv.REDIS_PORT]),
            sentinel_hosts=tuple(environment[ScriptEnv.SENTINEL_HOSTS].split()),
            sentinel_port=int(environment[ScriptEnv.SENTINEL_PORT]),
            secrets=Path(environment[ScriptEnv.SECRET_DIR]),
            tls=Path(environment[ScriptEnv.TLS_DIR]) if environment.get(ScriptEnv.TLS_DIR) else None,
            tools=Tools.find(environment),
        )

    def master(self) -> str:
        """Return the host that most Sentinels name.

        Raises:
            JobError: if there is no such majority.
        """
        votes = [self._named_by(sentinel) for sentinel in self.sentinel_hosts]
        for host in set(votes) - {""}:
            if votes.count(host) > len(votes) // 2:
                return host
        told = ", ".join(f"{s}: {v or 'no answer'}" for s, v in zip(self.sentinel_hosts, votes, strict=True))
        raise JobError(f"the Sentinels agree on no master of {self.name} ({told})")

    def _named_by(self, sentinel: str) -> str:
        reply = self._ask(
            self._sentinel(sentinel), SENTINEL_AUTH_FILE, "SENTINEL", "get-master-addr-by-name", self.name
        ).splitlines()
        known = len(reply) == 2 and reply[0] in self.redis_hosts and reply[1] == str(self.redis_port)  # noqa: PLR2004
        return reply[0] if known else ""

    def nodes(self) -> list[Node]:
        """Ask every Redis node for itself."""
        return [self.node(host) for host in self.redis_hosts]

    def node(self, host: str) -> Node:
        """Ask one Redis node for itself."""
        info = parse_info(self._ask(self._redis(host), RedisUser.BACKUP, "INFO"))
        if "role" not in info:
            return Node(host=host, answered=False)
        role = info["role"]
        return Node(
            host=host,
            role=role,
            loading=info.get("loading") != "0",
            link_up=info.get("master_link_status") == "up",
            syncing=info.get("master_sync_in_progress", "0") != "0",
            master_host=info.get("master_host", ""),
            offset=int(info.get("slave_repl_offset" if role == "slave" else "master_repl_offset", "0")),
            replicas=int(info.get("connected_slaves", "0")),
            version=info.get("valkey_version") or info.get("redis_version", ""),
            keys=count_keys(info),
        )

    def snapshot(self, host: str, target: Path, seconds: float = SNAPSHOT_SECONDS) -> None:
        """Have a node send a snapshot of its data, as to a replica (redis-cli --rdb).

        Raises:
            JobError: if the node refuses, the connection breaks, or it takes longer than ``seconds``.
        """
        argv = [*self._redis(host), "--rdb", str(target)]
        with (
            Progress(f"snapshot of {host}") as progress,
            subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._auth(RedisUser.BACKUP), text=True
            ) as running,
        ):
            deadline = time.monotonic() + seconds
            try:
                while running.poll() is None:
                    if time.monotonic() > deadline:
                        raise JobError(f"{host} did not send its snapshot within {seconds:g} s")
                    progress.reach(_size(target))
                    time.sleep(_POLL)
            finally:
                running.kill()
            said = running.stdout.read() if running.stdout else ""
            progress.reach(_size(target))
            if running.returncode != 0 or "success" not in said:
                last = (said.strip().splitlines() or [f"exit code {running.returncode}"])[-1]
                raise JobError(f"{host} sent no snapshot: {last}")

    def publish(self, key: BackupKey, value: str) -> str:
        """Set one of our keys on the master; return why that failed, or nothing."""
        try:
            reply = self._ask(self._redis(self.master()), RedisUser.BACKUP, "SET", key.value, value)
        except JobError as error:
            return str(error)
        return "" if reply == "OK" else reply or "no answer"

    def _redis(self, host: str) -> list[str]:
        user = RedisUser.BACKUP.value
        return [*self._cli(), "--user", user, "-h", host, "-p", str(self.redis_port)]

    def _sentinel(self, host: str) -> list[str]:
        return [*self._cli(), "-h", host, "-p", str(self.sentinel_port)]

    def _cli(self) -> list[str]:
        files = zip(("--cacert", "--cert", "--key"), (TlsFile.AUTHORITY, TlsFile.CERTIFICATE, TlsFile.KEY), strict=True)
        tls = ["--tls", *(word for flag, name in files for word in (flag, str(self.tls / name)))] if self.tls else []
        return [str(self.tools.cli), *tls]

    def _auth(self, secret: str) -> dict[str, str]:
        try:
            password = (self.secrets / secret).read_text(encoding="ascii").strip()
        except OSError as error:
            raise UsageError(f"the password file {secret} cannot be read: {error.strerror}") from None
        return {"REDISCLI_AUTH": password, "PATH": os.environ.get("PATH", "")}

    def _ask(self, command: Sequence[str], secret: str, *words: str) -> str:
        """Return the reply to a command; empty if there is none within ``CALL_SECONDS``."""
        argv, environment = [*command, *words], self._auth(secret)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, env=environment, timeout=CALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.replace("\r", "").strip()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def parse_info(text: str) -> dict[str, str]:
    """Return the fields of an INFO reply."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def count_keys(info: Mapping[str, str]) -> int:
    """Return the keys of all databases that an INFO reply reports."""
    spaces = [value for name, value in info.items() if name.startswith("db") and name[2:].isdigit()]
    return sum(int(space.split(",")[0].removeprefix("keys=")) for space in spaces)
