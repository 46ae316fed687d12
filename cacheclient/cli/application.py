"""The application: all commands by their declarations; the one that is run is imported then."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from cacheclient.cli.command import GROUP, Command, Failure, missing
from cacheclient.cli.commands import COMMANDS
from cacheclient.contract import ExitCode

NAME: Final = "cachestack"
_OURS: Final = ("cacheclient", "dashboards", "alerts", "infra")


def declared() -> Mapping[str, Command]:
    """Return every command by name, those of other packages last; a name that is taken stays whose it is."""
    found = {command.name: command for command in COMMANDS}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            commands = point.load()
        except Exception as error:  # noqa: BLE001  whatever a package of somebody else's raises, ours go on
            _failed(NAME, f"the commands of {point.value} are left out: {type(error).__name__}: {error}", 0)
        else:
            for command in commands:
                found.setdefault(command.name, command)
    return found


def load(command: Command) -> Any:
    """Import a command.

    Raises:
        Failure: if an extra that it needs is not installed.
    """
    module, _, attribute = command.load.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        raise missing(error.name, ("cli", *command.extras)) from error
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(command.name)(found)
        found = alone
    return typer.main.get_command(found)


class Commands(TyperGroup):
    """Lists commands by their declarations, and imports the one that is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._declared = declared()
        self.commands = {
            name: TyperCommand(name=name, help=command.help, callback=None, rich_help_panel=command.panel)
            for name, command in self._declared.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that ``args`` name, and what is left for it."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load(self._declared[found.name or ""]), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it cannot do is one line."""
        try:
            return super().invoke(ctx)
        except Failure as failure:
            return _failed(f"{ctx.command_path} {ctx.invoked_subcommand}", str(failure), failure.code)


application = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 failed, not found, or not as it should be; 2 wrong arguments or settings; "
    "3 a corrupt backup; 4 somebody else has it; 5 refused, as it would destroy data; 130 interrupted.",
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001  a flag of the command line
    if asked:
        sys.stdout.write(f"{NAME} {version(NAME)}\n")
        raise typer.Exit


@application.callback()
def _cachestack(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Look after a cache: what it holds, how it does, and the Redis set below it.

    COMMAND --help says more. Scripts take --json; colours are off in pipes and with NO_COLOR.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what goes wrong is one line on stderr."""
    code = _run(arguments or ["--help"])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _unread()
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        done = typer.main.get_command(application).main(arguments, prog_name=NAME, standalone_mode=False)
    except typer.TyperException as error:  # wrong arguments
        context = getattr(error, "ctx", None)
        if message := error.format_message():  # else a group was given no command, and has printed its help
            _failed(context.command_path if context else NAME, message, error.exit_code)
        return error.exit_code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except SystemExit as ended:
        if not isinstance(ended.__context__, OSError):
            raise
        return _unread()  # rich and typer make this of a broken pipe
    return int(done or 0)


def _failed(who: str, message: str, code: int) -> int:
    sys.stderr.write(f"{who}: {message}\n")
    return code


def _unread() -> int:
    """Let a reader go that has seen enough, as ``head`` has: that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.DONE
