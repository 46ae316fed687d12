"""The exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's end tells a script."""

    DONE = 0
    FAILED = 1  # it could not be done, nothing was found, or what was looked at is not as it should be
    USAGE = 2  # an argument, option, variable or setting is missing or not allowed: nothing was begun
    CORRUPT = 3  # a backup is not what its manifest says
    BUSY = 4  # somebody else has it: a lock, or the claim on a stack's backups
    REFUSED = 5  # it would destroy data, and nobody has said that it may
    INTERRUPTED = 130  # Ctrl-C; what was begun goes on where it was, or was put right
