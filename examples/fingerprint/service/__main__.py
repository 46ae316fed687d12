"""The command line of the example: `python -m examples.fingerprint.service --help`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg
from rich.console import Console
from rich.table import Table

from cacheclient.contract import Env
from examples.fingerprint.report import ExitCode, exit_code
from examples.fingerprint.service import database, figures
from examples.fingerprint.service.endurance import Endured, endure
from examples.fingerprint.service.load import Generator
from examples.fingerprint.service.postgres import PostgresError, postgres
from examples.fingerprint.service.serving import HOST, serving
from examples.fingerprint.view import Screen
from infra.arguments import number, whole
from infra.local.control import Environment
from infra.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.fingerprint.service.load import Load

_SETTLE: Final = 3.0  # seconds of load before a measurement: connections are opened, L1 fills
_EPILOG: Final = f"""\
The database is a PostgreSQL of its own that ends with the run, or the one whose DSN is in FINGERPRINT_DSN (its tables
`fingerprint` and `visit` are replaced). The cache is the local environment's: make up, or make example, starts it.

exit codes: {ExitCode.HOLDS:d} every deciding promise holds; {ExitCode.MISSED:d} one was missed; \
{ExitCode.BAD_INPUT:d} wrong arguments, or nothing to run on; {ExitCode.INTERRUPTED:d} interrupted"""


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the example and return its exit code."""
    options = _parser().parse_args(arguments)
    screen = Screen()
    try:
        environment = Environment.load(options.dir)
        with postgres() as dsn:
            screen.say(
                f"PostgreSQL: {database.USERS:,} fingerprints and {database.USERS * database.VISITS:,} visits ..."
            )
            database.build(dsn)
            pairs, endured = _play(options, environment, dsn, screen)
    except (LocalError, PostgresError, OSError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: the service and its database have ended, the nodes run on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return _show(options, screen, pairs, endured)


def _play(
    options: argparse.Namespace, environment: Environment, dsn: str, screen: Screen
) -> tuple[list[figures.Pair], Endured | None]:
    """Measure the service without and with the cache, and then under a failover."""
    folder = environment.places.data / "service"
    folder.mkdir(parents=True, exist_ok=True)
    # A version of its own for each run: no run reads entries of one before it.
    cache = environment.client_environment | {Env.NAMESPACE: "reports", Env.VERSION: str(int(time.time()))}
    served: dict[str, Any] = {"warm": options.users, "discovery": environment.places.discovery}
    with serving(dsn, cache, cached=False, log=folder / "without.log", **served) as service:
        generator = Generator(host=HOST, port=service.port, users=options.users)
        screen.say(f"without the cache: {generator.name}, one caller and then {options.connections} ...")
        without = _measured(generator, options)
    screen.say(f"with the cache: {options.users:,} reports are warmed up first ...")
    with serving(dsn, cache, cached=True, log=folder / "cached.log", **served) as service:
        generator = Generator(host=HOST, port=service.port, users=options.users)
        screen.say("warm: one caller, and then as many as before ...")
        cached = _measured(generator, options)
        rate = service.stats()["combined"]["hit_rate"]
        screen.say(f"hit rate {rate:.1%}" if rate is not None else "no lookup was counted")
        endured = None
        if options.endure:
            screen.say(f"{options.endure:g} s at that load, with a failover in the middle ...")
            endured = asyncio.run(endure(generator, environment, options.connections, options.endure, screen.say))
    titles = ("one caller", f"{options.connections} callers")
    return [
        figures.Pair(title=title, without=before, cached=after)
        for title, before, after in zip(titles, without, cached, strict=True)
    ], endured


def _measured(generator: Generator, options: argparse.Namespace) -> list[Load]:
    generator.run(options.connections, _SETTLE)
    return [generator.run(connections, options.seconds) for connections in (1, options.connections)]


def _show(options: argparse.Namespace, screen: Screen, pairs: list[figures.Pair], endured: Endured | None) -> ExitCode:
    table = Table(
        "", "without", "with the cache", "", title="The same load, side by side", title_justify="left", pad_edge=False
    )
    for line in figures.comparison(pairs):
        table.add_row(line.what, line.without, line.cached, line.factor)
    console = Console(highlight=False)
    console.print()
    console.print(table)
    rows = figures.promises(pairs[-1])
    screen.table("Promises", rows)
    if endured is not None:
        aftermath = figures.endurance(endured)
        screen.table(f"{options.endure:g} s under full load, the master killed in the middle", aftermath)
        rows += aftermath
        for example in endured.examples[:5]:
            screen.note(f"seen: {example}")
    screen.note(f"* does not decide: service, database, Redis and the load share {os.cpu_count()} cores here")
    if options.json:
        document = {
            "pairs": [msgspec.to_builtins(pair) for pair in map(dataclasses.asdict, pairs)],
            "endured": None if endured is None else msgspec.to_builtins(dataclasses.asdict(endured)),
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return exit_code(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "examples.fingerprint.service",
        description="A fingerprint service on FastAPI and PostgreSQL, with and without the cache under the same load, "
        "and then with the Redis master killed under it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=number(1, 600), default=10.0, help="of each measurement (default: %(default)g)")
    add("--connections", type=whole(2, 1000), default=64, help="callers at a time (default: %(default)s)")
    add("--users", type=whole(1, 5000), default=200, help="users that are asked for (default: %(default)s)")
    add(
        "--endure",
        type=number(0, 3600),
        default=60.0,
        metavar="S",
        help="seconds with the failover; 0: none (default: 60)",
    )
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add("--dir", type=Path, help="directory of the local environment (default: .local)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: nothing is left running
    sys.exit(main())
