"""The commands of this package."""

from __future__ import annotations

from typing import Final

from cacheclient.cli.command import Command

SET: Final = "The Redis set"
"""The heading of what has to do with the servers below the caches."""

COMMANDS: Final = (
    Command(
        name="deploy",
        load="infra.deploy.command:deploy",
        help="Deploy an environment; then measure its hit rate and warm the cache.",
        panel=SET,
        extras=("infra",),
    ),
    Command(
        name="handover",
        load="infra.handover_command:handover",
        help="Let the master hand over to a replica, without losing a write.",
        panel=SET,
        extras=("infra",),
    ),
    Command(
        name="backup",
        load="infra.jobs.command:application",
        help="Backups of a set: create, list, verify, restore, drill, prune.",
        panel=SET,
        extras=("jobs",),
    ),
    Command(
        name="drill",
        load="infra.jobs.command:drill",
        help="Load a backup into a throwaway server and compare the number of keys.",
        panel=SET,
        extras=("jobs",),
    ),
    Command(
        name="local",
        load="infra.local.command:application",
        help="The local set: up, down, status, logs, events, env.",
        panel=SET,
        extras=("infra",),
    ),
)
