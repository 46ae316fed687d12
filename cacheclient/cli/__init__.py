"""The command ``cachestack``, also as ``python -m cacheclient``.

Each module here is a group of commands. Other packages add theirs by entry points (``command.GROUP``), so nothing of
them is imported here. ``typer`` and ``rich`` come with the extra ``cli``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cacheclient.cli.command import missing

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (``contract.ExitCode``)."""
    try:
        from cacheclient.cli.application import run  # noqa: PLC0415  needs the extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cacheclient"):
            raise
        failure = missing(error.name, ("cli",))
        sys.stderr.write(f"cachestack: {failure}\n")
        return failure.code
    return run(sys.argv[1:] if arguments is None else list(arguments))
