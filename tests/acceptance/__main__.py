"""The command line of the acceptance: ``python -m tests.acceptance --help``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from examples.fingerprint.report import Verdict
from tests.acceptance.commands import COMMANDS, SET, Ran, Tell, execute, last_words, run
from tests.acceptance.figures import FIGURES, Figure, Row, judge

RESULTS: Final = Path("bench/results")  # git ignores it
INTERRUPTED: Final = 130
_WIDTH: Final = 150  # where nobody looks at a terminal
_UP_SECONDS: Final = 120.0
_STYLES: Final = {Verdict.HOLDS: "bold green", Verdict.MISSED: "bold red", Verdict.NOT_MEASURED: "bold yellow"}
_DESCRIPTION: Final = """\
Runs what shows the acceptance figures, on processes of its own that end with it, and prints one table: each figure,
what was promised, what was seen, the verdict, and the command behind it. About five minutes. Nothing else should run
on the machine meanwhile: load, service, Redis and Sentinels share its cores."""
_EPILOG: Final = f"""\
figures: {", ".join(figure.name for figure in FIGURES)}

examples:
  python -m tests.acceptance                                 all of them
  python -m tests.acceptance --only failover                 one; repeatable
  python -m tests.acceptance --results .                     acceptance.json goes to another folder

exit codes: 0 every figure holds, and every command behind one ended well; 1 one was missed or not measured;
2 wrong arguments, or results that cannot be written; {INTERRUPTED} interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands and print the table; see ``--help``."""
    options = _parser().parse_args(arguments)
    figures = [figure for figure in FIGURES if not options.only or figure.name in options.only]
    written = options.results / "acceptance.json"
    try:
        options.results.mkdir(parents=True, exist_ok=True)
        began, load = time.time(), os.getloadavg()[0]
        ran = measure(figures)
        rows = [judge(figure, ran[figure.command].document, ran[figure.command].reason) for figure in figures]
        about = {"began": round(began), "cores": os.cpu_count(), "load_average": round(load, 1)}
        written.write_text(json.dumps(document(rows, ran, about), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("interrupted: what was started has ended", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    show(rows, ran, f"{about['cores']} cores, load {about['load_average']} at the start; {written} has the rest")
    return exit_code(rows, ran.values())


def measure(figures: Sequence[Figure]) -> dict[str, Ran]:
    """Run every command that one of the figures needs, once."""
    names = [name for name in COMMANDS if any(figure.command == name for figure in figures)]
    ran: dict[str, Ran] = {}
    with tempfile.TemporaryDirectory(prefix="cachestack-acceptance-") as folder, contextlib.ExitStack() as stack:
        root, reason = Path(folder), ""
        for number, name in enumerate(names, 1):
            command = COMMANDS[name]
            with told(f"{number} of {len(names)}  {command} (about {command.seconds:g} s)") as tell:
                if command.on_set and not (root / "set").exists():
                    reason = stack.enter_context(local_set(root, tell))
                if command.on_set and reason:
                    ran[name] = Ran(None, None, 0.0, reason)
                else:
                    ran[name] = run(command, root / name, root / "set" / "local", tell)
    return ran


@contextlib.contextmanager
def local_set(root: Path, tell: Tell) -> Iterator[str]:
    """Start a local environment below ``root`` and end it; give why there is none, or an empty text."""
    folder = root / "set"
    folder.mkdir()
    module, *arguments = SET
    command = [sys.executable, "-m", module, "--dir", str(folder / "local")]
    try:
        code = execute([*command, *arguments], folder, _UP_SECONDS, tell)
        yield f"the set could not be started: {last_words(folder)}" if code != 0 else ""
    finally:
        execute([*command, "down"], folder, _UP_SECONDS, lambda _: None)


@contextlib.contextmanager
def told(what: str) -> Iterator[Tell]:
    """Say on standard error what is done: with its last line and the time on a terminal, else once."""
    console, began = Console(stderr=True, highlight=False), time.monotonic()
    if not console.is_terminal:
        console.print(what, soft_wrap=True)
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda line: status.update(f"{what}  {time.monotonic() - began:.0f} s  [dim]{line[:80]}[/dim]")
    console.print(f"{what}: {time.monotonic() - began:.0f} s", soft_wrap=True)


def show(rows: Sequence[Row], ran: dict[str, Ran], note: str) -> None:
    """Print the table, what went wrong, and the verdict."""
    table = Table("figure", "promise", "seen", "verdict", "command", title="Acceptance", title_justify="left")
    for row in rows:
        bar = row.figure.bar
        verdict = f"[{_STYLES[row.verdict]}]{row.verdict}[/]"
        table.add_row(row.figure.what, str(bar), row.seen, verdict, str(COMMANDS[row.figure.command]))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(table)
    for row in rows:
        if row.reason:
            console.print(f"{row.figure.what}: {row.reason}", markup=False)
    if any(COMMANDS[name].on_set for name in ran):
        console.print(f"examples.* run on a set that python -m {' '.join(SET)} has started", markup=False)
    for name, one in ran.items():
        if one.exit_code:
            console.print(f"{COMMANDS[name]}: {one.reason}", markup=False)
    console.print(note, markup=False)
    well = exit_code(rows, ran.values()) == 0
    console.print("Every figure holds." if well else "Not every figure holds, or a command did not end well.")


def exit_code(rows: Sequence[Row], ran: Iterator[Ran] | Any) -> int:
    """Return 0 if every figure holds and every command ended well: those look at more than one figure, too."""
    held = bool(rows) and all(row.verdict is Verdict.HOLDS for row in rows)
    return int(not held or any(one.exit_code != 0 for one in ran))


def document(rows: Sequence[Row], ran: dict[str, Ran], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything for JSON."""
    return {
        **about,
        "exit_code": exit_code(rows, ran.values()),
        "figures": [
            {
                "name": row.figure.name, "what": row.figure.what, "promise": str(row.figure.bar), "value": row.value,
                "seen": row.seen, "verdict": row.verdict, "reason": row.reason,
                "command": str(COMMANDS[row.figure.command]),
            }
            for row in rows
        ],
        "commands": {name: {"command": str(COMMANDS[name]), **dataclasses.asdict(one)} for name, one in ran.items()},
    }  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "tests.acceptance", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain
    )
    names = [figure.name for figure in FIGURES]
    parser.add_argument("--only", action="append", choices=names, metavar="FIGURE", help="this one; repeatable")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR",
        help="where acceptance.json is written, with every command's own JSON (default: %(default)s)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: nothing is left running
    sys.exit(main())
