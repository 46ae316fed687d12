"""The commands of this package."""

from __future__ import annotations

from typing import Final

from cacheclient.cli.command import Command

CACHE: Final = "The cache"

COMMANDS: Final = (
    Command(
        name="doctor",
        load="cacheclient.cli.doctor:doctor",
        help="Check everything that a cache stands on, and say how to mend it.",
        panel=CACHE,
    ),
)
