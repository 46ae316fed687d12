"""One process of the environment: starting it, asking it, and running its pod's scripts."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from cacheclient.contract import SENTINEL_AUTH_FILE, RedisUser, Script, TlsFile
from infra.local import process, programs
from infra.local.state import Places, Process

CALL: Final = 2.0
PROBE_BUDGET: Final = 10.0
HOOK_BUDGET: Final = 45.0  # its own 25, and what calls take where nobody answers; below STOP_GRACE


AS_PLANNED: Final[Mapping[str, str]] = MappingProxyType({})


def launch(places: Places, planned: Process, this_time: Mapping[str, str] = AS_PLANNED) -> Process:
    """Start one process of the table and return it with its identity.

    ``this_time`` changes its environment for this start only.
    """
    for place in (places.data / planned.name, places.run / planned.name):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = process.spawn(planned.argv, {**planned.environment, **this_time}, places.log(planned.name))
    return msgspec.structs.replace(planned, pid=identity.pid, started=identity.started, stopped="")


def ask(places: Places, found: Process, *command: str) -> str:
    """Send one command to a Redis or Sentinel process and return the reply; empty if there is none within ``CALL``."""
    user, secret = (("--user", "ops"), RedisUser.OPS.value) if found.kind == "redis" else ((), SENTINEL_AUTH_FILE)
    place = ["-h", found.address, "-p", str(found.port), *(_tls(places) if found.encrypted else [])]
    argv = [found.environment["REDIS_CLI"], *user, *place, *command]
    password = (places.secrets / secret).read_text(encoding="ascii").strip()
    done = _run(argv, {"REDISCLI_AUTH": password}, CALL)
    return done.stdout.rstrip("\n") if done else ""


def _tls(places: Places) -> list[str]:
    return ["--tls", "--cacert", str(places.tls / TlsFile.AUTHORITY)]


def probe(found: Process, which: str) -> bool:
    """Run a node's probe script, as the kubelet would."""
    name = Script.REDIS_PROBE if found.kind == "redis" else Script.SENTINEL_PROBE
    done = _run(["/bin/sh", programs.script(name), which], found.environment, PROBE_BUDGET)
    return done is not None and done.returncode == 0


def run_stop_hook(found: Process) -> str:
    """Run a Redis node's stop hook, as the kubelet would, and return what it logged."""
    done = _run(["/bin/sh", programs.script(Script.REDIS_STOP)], found.environment, HOOK_BUDGET)
    return done.stderr if done else f"the stop hook took longer than {HOOK_BUDGET:g} s"


def _run(argv: list[str], environment: dict[str, str], seconds: float) -> subprocess.CompletedProcess[str] | None:
    """Run a program; None if it did not end in time."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None
