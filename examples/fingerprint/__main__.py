"""The command line of the show: `python -m examples.fingerprint --help`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dashboards.preview.page import Shown
from examples.fingerprint.messages import Target
from examples.fingerprint.report import ExitCode, Verdict
from examples.fingerprint.show import Plan, play
from examples.fingerprint.trace import read_trace
from examples.fingerprint.traffic import MAX_USERS, ZipfMix
from examples.fingerprint.view import Screen
from infra.arguments import number, whole
from infra.local.control import Environment
from infra.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.fingerprint.show import Result

_BUSY: Final = 2.5  # load per core; the show itself is good for two
_EPILOG: Final = """\
exit codes: 0 every deciding promise holds; 1 one was missed; 2 wrong arguments, or nothing to run on;
3 something ended meanwhile, so that a deciding promise could not be measured; 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run the show and return its exit code."""
    options = _parser().parse_args(arguments)
    screen = Screen()
    try:
        plan = _plan(options)
        environment = Environment.load(options.dir)
        target = Target(
            url=environment.url,
            password_file=environment.password_file,
            sentinel_password_file=environment.sentinel_password_file,
            ca_file=environment.ca_file,
            discovery=environment.places.discovery,
        )
        folder = environment.places.data / "show"
        result = play(plan, target, environment, environment.down_after, folder, screen)
    except (LocalError, ValueError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: readers and writer have ended, the nodes run on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    _print(result, screen, plan, environment.down_after)
    if environment.boards_url is not None:
        shown = Shown(minutes=5, until=int(time.time()))  # without: in a minute the figures would be of an idle cache
        screen.note(f"The boards as of now: {environment.boards_url}/d/cache-1?{shown.query}")
    if options.json:
        options.json.write_text(json.dumps(result.to_dict(), indent=1) + "\n")
    return result.exit_code


def _plan(options: argparse.Namespace) -> Plan:
    source = read_trace(options.trace) if options.trace else ZipfMix(users=options.users, seed=options.seed)
    return Plan(
        source=source,
        lookups=options.lookups,
        rate=options.rate,
        steady=options.steady,
        failures=not options.no_failures,
        calm=options.calm,
    )


def _print(result: Result, screen: Screen, plan: Plan, down_after: float) -> None:
    screen.table("Acceptance: the mix from cold; latencies at a steady rate", result.acceptance)
    screen.note(
        f"* does not decide the exit code: readers, writer, Redis and Sentinels share {os.cpu_count()} cores here\n"
        f"latencies are those of {plan.rate:,.0f} lookups/s; requests per second are as fast as it goes"
    )
    if not result.decides:
        screen.note("the hit rates of a trace say as much about the trace, and do not decide either")
    if result.failures:
        title = f"Failures under {plan.rate:,.0f} lookups/s; a node counts as down after {down_after:g} s"
        screen.table(title, result.aftermath)
    for line in (*result.notes, *result.findings.examples):
        screen.note(f"seen: {line}")
    screen.note(f"\n{_SENTENCES[result.exit_code]}")
    for row in (*result.acceptance, *result.aftermath):
        if row.decides and row.verdict is Verdict.MISSED:
            screen.note(f"  {row.what.strip()}: {row.seen}, promised {row.promise}")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if result.exit_code is ExitCode.MISSED and load > _BUSY * cores:
        screen.note(f"The machine is busy ({load:.0f} processes want its {cores} cores): try again when it is quieter.")


_SENTENCES: Final = {
    ExitCode.HOLDS: "Every promise that decides holds.",
    ExitCode.MISSED: "Missed:",
    ExitCode.INCOMPLETE: "Not everything could be measured, see above.",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "examples.fingerprint",
        description="A browser-fingerprint service on the local environment (start that first): an undisturbed run, "
        "a planned stop and a SIGKILL of the master under traffic, and how each figure compares with its promise.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, mix, plan = parser.add_argument, ZipfMix(), Plan()
    add("--trace", type=Path, metavar="FILE", help="look up the keys of an access trace instead of the zipf mix")
    add("--users", type=whole(1_000, MAX_USERS), default=mix.users, help="users of the mix (default: %(default)s)")
    add("--seed", type=whole(0, 2**32), default=mix.seed, help="seed of the mix (default: %(default)s)")
    add("--lookups", type=whole(100, 10**8), default=plan.lookups, help="lookups in the mix (default: %(default)s)")
    add("--rate", type=number(1, 10**6), default=plan.rate, help="lookups/s after the mix (default: %(default)g)")
    add("--steady", type=number(1, 3600), default=plan.steady, metavar="S", help="seconds at it (default: %(default)g)")
    add(
        "--calm",
        type=number(0, 60),
        default=plan.calm,
        metavar="S",
        help="before and after a failure (default: %(default)g)",
    )
    add("--no-failures", action="store_true", help="leave the master alone")
    add("--json", type=Path, metavar="FILE", help="also write rows and figures as JSON")
    add("--dir", type=Path, help="directory of the local environment (default: .local)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: no process and no node is left out
    sys.exit(main())
