"""How a job fails: one sentence for people, one exit code for scripts."""

from __future__ import annotations

from typing import ClassVar

from cacheclient.contract import ExitCode


class JobError(Exception):
    """The job cannot go on; the text names the cause and, where there is one, the remedy."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class UsageError(JobError):
    """An option or an environment variable is missing or has a value that is not allowed."""

    exit_code = ExitCode.USAGE


class CorruptBackupError(JobError):
    """A backup is not what its manifest says, or Redis cannot load it."""

    exit_code = ExitCode.CORRUPT


class BusyError(JobError):
    """Another job holds the claim on this stack's backups."""

    exit_code = ExitCode.BUSY


class RefusedError(JobError):
    """The command would destroy data, and nobody has said that it may."""

    exit_code = ExitCode.REFUSED
