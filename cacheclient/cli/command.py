"""What a package says of its commands without importing them, and how a command fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cacheclient.contract import ExitCode

GROUP: Final = "cachestack.commands"
"""The entry points that name tuples of ``Command``: how other packages add theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of ``cachestack``.

    Attributes:
        name: what is typed.
        load: ``module:attribute`` of a function or of a typer application; imported when the command is run.
        help: one line, the first of its own help.
        panel: the heading that it stands under.
        extras: of this distribution, that it needs besides ``cli``.
    """

    name: str
    load: str
    help: str
    panel: str
    extras: tuple[str, ...] = ()


class Failure(Exception):  # noqa: N818  not a fault of the program
    """A command cannot go on: one sentence, which names what is allowed where it was not."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def missing(module: str, extras: tuple[str, ...]) -> Failure:
    """Return what to say where ``module``, which an extra brings, is not installed."""
    return Failure(f"{module} is not installed: pip install 'cachestack[{','.join(extras)}]'", ExitCode.USAGE)
