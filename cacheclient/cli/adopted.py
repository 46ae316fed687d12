"""Commands that have an argparse parser of their own, as commands of ``cachestack``: written once, offered twice.

Each of the parser's commands gets the same options, with help and completion like all others; what is typed goes to
the parser's own program, which checks values and knows what they mean.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from cacheclient.cli.command import Failure
from cacheclient.contract import ExitCode

Program = Callable[[Sequence[str]], int]


def adopt(
    parser: argparse.ArgumentParser, run: Program, name: str, text: str, renamed: Mapping[str, str]
) -> typer.Typer:
    """Return an application with the commands of ``parser``, which ``run`` is called for.

    Args:
        parser: has sub-commands, and nothing but them.
        run: takes what would have been typed, and returns the exit code.
        name: of the application, in place of the parser's in its examples.
        text: its line of help, before the parser's own description.
        renamed: commands that have another name here.
    """
    examples = (parser.epilog or "").replace(f"python -m {parser.prog}", f"cachestack {name}")
    for old, new in renamed.items():
        examples = examples.replace(f"cachestack {name} {old} ", f"cachestack {name} {new} ")
    application = typer.Typer(
        add_completion=False, no_args_is_help=True, help=f"{text}\n\n{parser.description}", epilog=examples
    )
    for command, sentence in _commands(parser):
        application.command(renamed.get(command.name, command.name))(_command(command, sentence, run))
    return application


def alone(parser: argparse.ArgumentParser, run: Program, name: str) -> Callable[..., int]:
    """Return the function of one of its commands."""
    ((found, text),) = [each for each in _commands(parser) if each[0].name == name]
    return _command(found, text, run)


class _Command(NamedTuple):
    name: str
    parser: argparse.ArgumentParser


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[_Command, str]]:
    """Yield each command with its line of help, as a sentence."""
    for action in parser._actions:  # noqa: SLF001  argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for choice in action._choices_actions:  # noqa: SLF001
                text = choice.help or ""
                yield _Command(choice.dest, action.choices[choice.dest]), f"{text[:1].upper()}{text[1:]}."


def _command(found: _Command, text: str, run: Program) -> Callable[..., int]:
    actions = [
        (action, group.title or "")
        for group in found.parser._action_groups  # noqa: SLF001
        for action in group._group_actions  # noqa: SLF001
        if not isinstance(action, argparse._HelpAction)  # noqa: SLF001
    ]

    def command(**given: Any) -> int:
        return run([found.name, *(word for action, _ in actions for word in _words(action, given[action.dest]))])

    parameters = [_parameter(action, title) for action, title in actions]
    command.__doc__ = text
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _parameter(action: argparse.Action, title: str) -> inspect.Parameter:
    kind: Any = bool if action.nargs == 0 else list[str] if action.nargs == "*" else str
    wanted: Any = kind if kind is bool or action.required else kind | None
    metavar = "|".join(map(str, action.choices)) if action.choices else _text(action.metavar)
    if action.option_strings:
        panel = title[:1].upper() + title[1:] if title not in ("options", "positional arguments") else None
        option = typer.Option(
            *action.option_strings, help=action.help, rich_help_panel=panel, show_default=False,
            metavar=None if kind is bool else metavar, autocompletion=_completion(action),
        )  # fmt: skip
    else:
        option = typer.Argument(help=action.help, show_default=False, metavar=metavar)
    default = False if kind is bool else None
    return inspect.Parameter(
        action.dest, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[wanted, option]
    )


def _words(action: argparse.Action, value: Any) -> list[str]:
    """Return what to type for a value.

    Raises:
        Failure: if the parser would not take it; argparse itself would print its usage, too.
    """
    if value in (None, False, []):
        return []
    name = action.option_strings[:1]
    if value is True:
        return [*name]
    values = value if isinstance(value, list) else [value]
    for each in values:
        _check(action, each)
    return [*name, *values]


def _check(action: argparse.Action, text: str) -> None:
    name = action.option_strings[0] if action.option_strings else str(action.metavar)
    if action.choices and text not in action.choices:
        raise Failure(f"{name} {text}: one of {', '.join(map(str, action.choices))}", ExitCode.USAGE)
    try:
        if callable(action.type):
            action.type(text)
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise Failure(f"{name}: {error}", ExitCode.USAGE) from error


def _completion(action: argparse.Action) -> Callable[[str], list[str]] | None:
    """Return what tells the choices that a word may become; None if there are none."""
    choices = [str(choice) for choice in action.choices or ()]

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete if choices else None


def _text(metavar: Any) -> str | None:
    return metavar if isinstance(metavar, str) else None
