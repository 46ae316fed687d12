"""The commands of this package."""

from __future__ import annotations

from typing import Final

from cacheclient.cli.command import Command

COMMANDS: Final = (
    Command(
        name="top",
        load="dashboards.terminal.command:top",
        help="Show the cache at a glance in this terminal, refreshed until Ctrl-C.",
        panel="The cache",
    ),
    Command(
        name="savings",
        load="dashboards.terminal.savings:savings",
        help="Show what the caches of the whole fleet saved, and what they cost.",
        panel="The cache",
    ),
)
