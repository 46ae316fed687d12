"""``make release VERSION=1.2.3``: looks at everything that a release needs, and sets the tag at last, if told to."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.text import Text

from cacheclient.cli.output import console, print_json
from cacheclient.contract import ExitCode
from release import checks, distribution
from release.steps import DOES, Done, Name, Release

_STYLES: Final = {"done": "green", "done before": "green", "left out": "dim", "planned": "cyan", "failed": "bold red"}
_EPILOG: Final = """\
The steps, in order. --from begins the slow ones with a later one; the first three are looked at always:
{steps}

It stops at the first that fails, with the remedy; run it again when that is mended. What make does (lint, docs, test,
install) is not repeated for a commit that has passed it. Nothing is uploaded or pushed: the last line is the command
that would.

examples:
  make release VERSION=1.2.3                     look at everything, change nothing but dist/
  make release VERSION=1.2.3 ARGS=--execute      and set the tag

exit code: 0 all is well, 1 a step failed, 2 an argument cannot be"""


def _parser() -> argparse.ArgumentParser:
    steps = "\n".join(f"  {name:<10} {does}" for name, does in DOES.items())
    parser = argparse.ArgumentParser(
        prog="python -m release", description="Release a version: a checklist that is run.",
        epilog=_EPILOG.format(steps=steps), formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("version", type=_version, metavar="VERSION", help="such as 1.2.3")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--execute", action="store_true", help="set the tag at the end")
    way.add_argument("--dry-run", action="store_true", help="set no tag; so it is without --execute")
    parser.add_argument(
        "--from",
        dest="first",
        type=Name,
        choices=list(Name),
        default=Name.TREE,
        metavar="STEP",
        help="leave out the slow steps before this one",
    )
    parser.add_argument("--again", action="store_true", help="repeat what this commit has passed")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    return parser


def _version(text: str) -> str:
    if not checks.VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: three numbers, such as 1.2.3")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    asked = _parser().parse_args(arguments)
    running = Release(
        version=asked.version, root=distribution.ROOT, today=dt.datetime.now(dt.UTC).date(),
        execute=asked.execute, first=asked.first, again=asked.again,
    )  # fmt: skip
    out = console(stderr=asked.json)
    told = running.run(lambda done: out.print(_line(done)))
    failed = told[-1].state == "failed"
    following = next_command(running, told[-1])
    if asked.json:
        print_json(_data(running, told, following))
    else:
        out.print(Text(f"\n{'Stopped. When it is mended' if failed else 'Next'}:\n  {following}"))
    return ExitCode.FAILED if failed else ExitCode.DONE


def next_command(running: Release, last: Done) -> str:
    """Return what to type next: the same again, the tag, or the upload."""
    if last.state != "failed" and running.execute:
        files = [f"dist/{name}" for name in running.made if name.endswith((".whl", ".tar.gz"))]
        return f"git push origin main v{running.version}" + (f" && uv publish {shlex.join(files)}" if files else "")
    execute = running.execute or last.state != "failed"
    return f"make release VERSION={running.version}{' ARGS=--execute' if execute else ''}"


def _line(done: Done) -> Text:
    took = f" ({done.seconds:.0f} s)" if done.seconds >= 1 else ""
    return Text.assemble(f"{done.step:<10}", (f"{done.state:<12}", _STYLES[done.state]), f"{done.said}{took}")


def _data(running: Release, told: list[Done], following: str) -> dict[str, Any]:
    return {
        "version": running.version,
        "dry_run": not running.execute,
        "ok": told[-1].state != "failed",
        "steps": [asdict(done) for done in told],
        "files": running.made,
        "next": following,
    }


if __name__ == "__main__":
    sys.exit(main())
