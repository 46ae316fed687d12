"""``cachestack migrate``: entries of an older version, copied to this one."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cacheclient.cache import AsyncCache
from cacheclient.cli.command import Failure
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from cacheclient.errors import ConfigurationError
from cacheclient.migration import Migration, Transform
from cacheclient.named import function_named

_SHOWN: Final = 5  # errors that are told one by one; --json has up to a hundred


@connected()
async def migrate(
    cache: AsyncCache[Any],
    old_version: Annotated[int, typer.Argument(help="The version whose entries are copied to --version.")],
    *,
    transform: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Takes an old value, returns the new one. Searched from here."),
    ] = None,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Remove each old entry once it is copied.")] = False,
    rate: Annotated[float, typer.Option(help="Keys a second at most, 1 to 1000000.")] = 2000.0,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, not where it was interrupted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be done, change nothing.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Copy the entries of an older version to this one, so that it need not start cold.

    Lifetimes and tags are kept; what this version has already is not undone. Interrupted, the same command goes on
    where it was. Meanwhile run the new version's pods with sync.supersedes (docs/versions.md).
    """
    function = None if transform is None else _transform(transform)
    told = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=told, transient=True, disable=not told.is_terminal,
    )  # fmt: skip
    with bar, _interruptible():
        task = bar.add_task(f"version {old_version}", total=await cache.count(version=old_version))
        done = await cache.migrate(
            old_version, transform=function, drop_old=drop_old, rate=rate, resume=not restart, dry_run=dry_run,
            progress=lambda so_far: bar.update(task, completed=so_far.seen),
        )  # fmt: skip
    if as_json:
        print_json({"dry_run": dry_run, **asdict(done)})
    else:
        _tell(done, dry_run=dry_run)
    return ExitCode.FAILED if done.failed else ExitCode.DONE


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except asyncio.CancelledError:
        sys.stderr.write("interrupted; the same command goes on where this one was\n")
        raise


def _transform(name: str) -> Transform:
    """Import a function by its name.

    Raises:
        Failure: if there is none of that name.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise Failure(f"--transform {name}: MODULE:FUNCTION, such as shop.schema:upgrade", ExitCode.USAGE)
    try:
        return function_named(name)
    except ConfigurationError as error:
        raise Failure(f"--transform {error}", ExitCode.USAGE) from error


def _tell(done: Migration, *, dry_run: bool) -> None:
    would, noun = "would be " * dry_run, "key" if done.seen == 1 else "keys"
    console().print(
        f"{done.seen:,} {noun} looked at: {done.copied:,} {would}copied, {done.skipped:,} skipped, "
        f"{done.failed:,} failed, {done.dropped:,} {would}dropped"
    )
    for key, error in done.errors[:_SHOWN]:
        console(stderr=True).print(f"{key}: {error}", markup=False)
    if done.failed > _SHOWN:
        console(stderr=True).print(f"... and {done.failed - _SHOWN:,} more (--json has the first hundred)")
