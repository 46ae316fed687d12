"""``cachestack warm``: a warm-up from the command line, and what the CronJobs run."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import Env, ExitCode
from cacheclient.warming import PLANS, Outcome, Report, Warmer, read_plans, summary

_LINES: Final = 10.0  # seconds between lines where nobody looks on
_SHOWN: Final = 5  # errors of a source that are told one by one; --json has up to a hundred
_CODES: Final = {Outcome.DONE: ExitCode.DONE, Outcome.ELSEWHERE: ExitCode.BUSY}


def _plans(incomplete: str) -> list[str]:
    return [plan for plan in PLANS if plan.startswith(incomplete)]


@connected()
async def warm(
    cache: AsyncCache[Any],
    plan: Annotated[str, typer.Argument(help=f"{', '.join(PLANS)}.", autocompletion=_plans)],
    *,
    plan_file: Annotated[
        Path | None,
        typer.Option(envvar=Env.PLAN_FILE.value, show_default=False, help="The TOML file with plans and sources."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where one was interrupted within the hour.")] = False,
    wait: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Wait so long for another process that carries it out, 0 to 86400."),
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read everything, write nothing.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Put entries into the cache before anybody asks for them.

    What is invalidated meanwhile stays so. Interrupted, the same command with --resume goes on where it was. One
    warm-up of a plan runs at a time: exit code 4 says that another process carries it out. One that was killed counts
    for half a minute more; --wait 45 outlasts that.
    """
    if plan_file is None:
        raise Failure(f"--plan-file or {Env.PLAN_FILE.value}: which sources?", ExitCode.USAGE)
    said = read_plans(plan_file)
    told = console(stderr=True)
    async with Warmer(cache, said.sources(cache), plans=said.plans, follow=False) as warmer:
        run = asyncio.ensure_future(
            _shown(told, warmer, plan, resume=resume, wait=wait, dry_run=dry_run) if told.is_terminal and not as_json
            else warmer.run(plan, resume=resume, wait=wait, dry_run=dry_run, progress=None if as_json else _Lines(told))
        )  # fmt: skip
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.cancel)  # how Kubernetes ends a pod
        try:
            report = await run
        except asyncio.CancelledError:
            if (own := asyncio.current_task()) is None or own.cancelling():  # Ctrl-C
                raise
            told.print("interrupted: --resume goes on where it was")
            return ExitCode.INTERRUPTED
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    if as_json:
        print_json(report.to_dict())
    else:
        _tell(report, told)
    return _CODES.get(report.outcome, ExitCode.FAILED)


async def _shown(told: Console, warmer: Warmer, plan: str, *, resume: bool, wait: float, dry_run: bool) -> Report:
    """Warm up under a bar for each source."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"), TimeElapsedColumn(),
        console=told, transient=True,
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def show(report: Report) -> None:
        for one in report.sources:
            if one.name not in tasks:
                tasks[one.name] = bar.add_task(one.name, total=None, counts="")
            total = None if one.share is None else 1.0
            bar.update(tasks[one.name], total=total, completed=one.share or 0, counts=_counts(one))

    with bar:
        return await warmer.run(plan, resume=resume, wait=wait, dry_run=dry_run, progress=show)


class _Lines:
    """One line now and then, with the time: for logs."""

    def __init__(self, told: Console) -> None:
        self._told = told
        self._next = time.monotonic() + _LINES

    def __call__(self, report: Report) -> None:
        if time.monotonic() >= self._next and report.sources:
            self._next = time.monotonic() + _LINES
            one = report.sources[-1]
            share = "" if one.share is None else f"{one.share:.0%}, "
            self._told.print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {one.name}: {share}{_counts(one)}", markup=False)


def _counts(one: Any) -> str:
    return f"{one.read:,} read, {one.written:,} written, {one.skipped:,} skipped, {one.failed:,} failed"


def _tell(report: Report, told: Console) -> None:
    for one in report.sources:
        resumed = ", resumed" * one.resumed
        why = f": {one.error}" if one.error else ""
        console().print(f"{one.name}: {one.outcome}{why}: {_counts(one)} in {one.seconds:.1f} s{resumed}", markup=False)
        for where, text in one.errors[:_SHOWN]:
            told.print(f"  {where}: {text}", markup=False)
        if one.failed > _SHOWN:
            told.print(f"  ... and {one.failed - _SHOWN:,} more (--json has the first hundred)")
    console().print(f"{report.plan}{' (dry run)' * report.dry_run}: {summary(report)}", markup=False)
