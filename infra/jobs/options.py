"""What a job is told: environment variables in the cluster, options by hand; an option goes first."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cacheclient.contract import BackupEnv, set_name
from infra.jobs.errors import UsageError
from infra.jobs.names import Folder
from infra.jobs.retention import Rule
from infra.jobs.sealing import Keys
from infra.jobs.storage import ANSWER_SECONDS, Location


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """Where backups lie, how they are sealed, and how long they are kept."""

    folder: Folder
    location: Location
    keys: Keys
    compress: bool
    rule: Rule
    scratch: Path | None

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a folder for the files of one job; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="cachestack-", dir=self.scratch) as folder:
            yield Path(folder)


def read(arguments: argparse.Namespace, environment: Mapping[str, str], *, stack: str = "") -> JobOptions:
    """Return the options of a job; ``stack`` is the default for the stack's name.

    Raises:
        UsageError: for the first value that is missing or not allowed, with its name.
    """

    def value(name: BackupEnv, default: str = "") -> str:
        given = getattr(arguments, name.name.lower(), None)
        return str(given) if given is not None else environment.get(name) or default

    def folder(name: BackupEnv) -> Path | None:
        return Path(value(name)) if value(name) else None

    stack = value(BackupEnv.STACK, stack)
    bucket = value(BackupEnv.BUCKET)
    for name, text in ((BackupEnv.STACK, stack), (BackupEnv.BUCKET, bucket)):
        if not text:
            raise UsageError(f"{name.name.lower()}: missing; give --{name.name.lower()} or set {name}")
    try:
        set_name(stack)
    except ValueError as error:
        raise UsageError(str(error)) from None
    compression = value(BackupEnv.COMPRESSION, "zstd")
    if compression not in {"none", "zstd"}:
        raise UsageError(f"compression {compression!r}: none or zstd")
    return JobOptions(
        folder=Folder(value(BackupEnv.PREFIX), stack),
        location=Location(
            bucket=bucket,
            endpoint=value(BackupEnv.ENDPOINT),
            region=value(BackupEnv.REGION),
            credentials=folder(BackupEnv.CREDENTIALS_DIR),
            seconds=getattr(arguments, "timeout", None) or ANSWER_SECONDS,
        ),
        keys=Keys(folder(BackupEnv.KEY_DIR), value(BackupEnv.KEY_ID)),
        compress=compression == "zstd",
        rule=Rule(
            _whole(BackupEnv.KEEP_DAYS, value(BackupEnv.KEEP_DAYS, "7")),
            _whole(BackupEnv.KEEP_LAST, value(BackupEnv.KEEP_LAST, "42")),
        ),
        scratch=folder(BackupEnv.SCRATCH_DIR),
    )


def _whole(name: BackupEnv, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{name.name.lower()} {text!r}: a whole number, 1 or more")
    return int(text)
