"""The command ``cachestack``, as its commands' own help has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cacheclient.cli import application
from cacheclient.cli.connected import PANEL


def reference() -> str:
    """Return a section for every command, and one for the options that several share."""
    lines: list[str] = []
    shared: list[str] = []
    commands = application.declared().values()
    for panel in dict.fromkeys(command.panel for command in commands):
        lines += [f"## {panel}", ""]
        for declared in commands:
            if declared.panel == panel:
                lines += _command(f"cachestack {declared.name}", application.load(declared), shared)
    return "\n".join([*lines, f"## {PANEL}", "", "Taken by every command above that says so.", "", *shared])


def _command(path: str, command: Any, shared: list[str]) -> Iterator[str]:
    yield from (f"### {path}", "", *(command.help or "").strip().splitlines(), "")
    if children := getattr(command, "commands", {}):
        for name, child in children.items():
            yield from _command(f"{path} {name}", child, shared)
        return
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = "".join(f" {_named(argument)}" for argument in arguments)
    options = [param for param in command.params if param.param_type_name == "option"]
    own = [option for option in options if option.rich_help_panel != PANEL]
    yield from ("```text", f"{path} [OPTIONS]{usage}", "```", "", *_table([*arguments, *own]))
    if len(own) < len(options):
        yield from (f"And [which cache](#{PANEL.lower().replace(' ', '-')}).", "")
        shared[:] = _table([option for option in options if option.rich_help_panel == PANEL])


def _named(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).removesuffix("...") + "..." * (argument.nargs == -1)
    return name if argument.required or name[0] in "[-" else f"[{name}]"


def _table(params: list[Any]) -> list[str]:
    """Return a table of parameters: name, meaning, and what is taken if it is not given."""
    rows = [f"| `{_syntax(param)}` | {_meaning(param)} |" for param in params]
    return ["| | |", "|---|---|", *rows, ""] if rows else []


def _syntax(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(_named(param)).replace("|", "\\|")
    value = "" if param.is_flag else f" {param.metavar or 'TEXT'}"
    return (", ".join(param.opts) + value).replace("|", "\\|")


def _meaning(param: Any) -> str:
    text = (param.help or "").replace("\\[", "[").replace("|", "\\|")
    shown = param.show_default and not getattr(param, "is_flag", False) and param.default not in (None, "", ())
    default = f" Default: {param.default}." if shown else ""
    variable = f" Variable: `{param.envvar}`." if param.envvar else ""
    return text + default + variable
