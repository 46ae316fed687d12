"""The command line of the drill: ``python -m tests.drill --help``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.drill import stage
from tests.drill.measure import BY_NAME, Outcome, measure

INTERRUPTED: Final = 130
SETS: Final = max(1, (os.cpu_count() or 1) // 2)  # each is six servers and a busy writer
_SETS_HELP: Final = f"sets at the same time (default: half the cores, here {SETS})"
_DESCRIPTION: Final = """\
Cause every failure that the set promises to survive, against Redis and Sentinel processes started for this and ended
afterwards, and print what was promised and what clients saw. Never touches a set that it did not start."""
_EPILOG: Final = f"""\
promises: {", ".join(BY_NAME)}

examples:
  python -m tests.drill                                  ten runs of each (20 minutes on 2 cores)
  python -m tests.drill --only node-lost --down-after 30 with the cluster's timing

exit codes: 0 every promise was kept in every run; 1 one was broken, or a run could not be finished; 2 wrong arguments;
{INTERRUPTED} interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill and print the table; see ``--help``."""
    options = _parser().parse_args(arguments)
    names = options.only or [name for name in BY_NAME if stage.may_mount() or name != "disk-full"]
    if not stage.may_mount() and "disk-full" not in (options.only or []):
        print("disk-full is left out: only root may make the small file system", file=sys.stderr)  # noqa: T201
    outcomes: dict[str, Outcome] = {}
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(options.sets, mp_context=spawn) as pool:
            jobs = [pool.submit(measure, name, options.runs, options.down_after) for name in names]
            for job in as_completed(jobs):
                outcome = job.result()
                outcomes[outcome.name] = outcome
                print(f"{len(outcomes)} of {len(names)}: {_line(outcome)}", file=sys.stderr, flush=True)  # noqa: T201
    except KeyboardInterrupt:
        return INTERRUPTED
    found = [outcomes[name] for name in names]
    if options.json:
        print(json.dumps([_as_json(outcome) for outcome in found], indent=1))  # noqa: T201
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(_table(found, options.down_after))
    return int(not all(outcome.kept for outcome in found))


def _line(outcome: Outcome) -> str:
    if not outcome.seconds:
        return f"{outcome.name}: no run was finished: {'; '.join(outcome.problems)}"
    figures = f"median {statistics.median(outcome.seconds):.1f} s, worst {max(outcome.seconds):.1f} s"
    return "; ".join([f"{outcome.name}: {figures}", *outcome.problems])


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "promise": outcome.name,
        "limit_seconds": outcome.limit,
        "seconds": [round(seconds, 3) for seconds in outcome.seconds],
        "problems": list(outcome.problems),
        "kept": outcome.kept,
    }


def _table(outcomes: Sequence[Outcome], down_after: float) -> Table:
    table = Table(title=f"Promises of the set; a node counts as down after {down_after:g} s", title_justify="left")
    for column in ("failure", "promise", "runs", "median", "worst", "verdict"):
        table.add_column(column)
    for outcome in outcomes:
        seconds = outcome.seconds or (float("nan"),)
        table.add_row(
            outcome.name, f"{BY_NAME[outcome.name].text} <= {outcome.limit:g} s", str(len(outcome.seconds)),
            f"{statistics.median(seconds):.1f} s", f"{max(seconds):.1f} s", "holds" if outcome.kept else "BROKEN",
        )  # fmt: skip
    return table


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tests.drill", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain)
    parser.add_argument("--runs", type=int, default=10, help="runs of each promise (default: 10)")
    parser.add_argument("--only", action="append", choices=list(BY_NAME), metavar="NAME", help="this one; repeatable")
    parser.add_argument("--sets", type=int, default=SETS, help=_SETS_HELP)
    parser.add_argument("--down-after", type=float, default=3.0, help="seconds (default: 3; clusters use 30)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
