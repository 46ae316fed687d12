"""What commands print: for people to a console that knows when nobody looks on, for scripts as one JSON document."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def console(*, stderr: bool = False) -> Console:
    """Return where to print; without colours in pipes and with NO_COLOR, and never breaking what scripts match."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print ``data`` as one line of JSON; what JSON cannot have, as bytes, is written as text."""
    sys.stdout.write(msgspec.json.encode(data, enc_hook=_text).decode() + "\n")


def _text(value: Any) -> str:
    return str(value)
