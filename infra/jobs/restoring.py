"""A restore of a whole set: the order of its steps, whatever the set runs on.

The set is stopped as a whole, because any node that still had the old data would be copied by, or promoted over, the
one that has the restored data. The mark of the restore, which every node sees, then takes the place of all other
evidence: the first node leads if the restored data is on its disk, the others follow it, the Sentinels watch it. The
replication id is new and every connection was cut, so clients find the new set by themselves and drop their L1.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from infra.jobs import choice
from infra.jobs.errors import CorruptBackupError, JobError, RefusedError
from infra.jobs.fetching import Verdict
from infra.jobs.manifest import Manifest
from infra.jobs.progress import mib, say


@dataclass(frozen=True, slots=True)
class Survey:
    """The keys of each node that answers; ``resumable`` if an interrupted restore has stopped the set already."""

    keys: dict[str, int]
    resumable: bool = False

    @property
    def most(self) -> int:
        """The keys of the node that has the most."""
        return max(self.keys.values(), default=0)


class Target(Protocol):
    """A set that can be restored."""

    name: str

    def survey(self) -> Survey:
        """Ask every node how many keys it has."""

    def backups(self) -> Sequence[Manifest]:
        """List the backups there are."""

    def verify(self, backup: Manifest) -> Verdict:
        """Fetch a backup and check it."""

    def back_up(self) -> str:
        """Take a safety backup and return its object key."""

    def stop(self, restore_id: str) -> None:
        """Stop the Sentinels, then the nodes."""

    def write(self, backup: Manifest, restore_id: str) -> None:
        """Put the backup on the first node's disk."""

    def start(self, restore_id: str) -> None:
        """Mark the restore; start the first node, the others, the Sentinels, each when the ones before are ready."""

    def finish(self, backup: Manifest) -> int:
        """Take the mark away, and return the keys that the master has now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a restore would do."""

    target: str
    survey: Survey
    backup: Manifest
    now: datetime

    def lines(self) -> list[str]:
        """Say it to people."""
        backup, here = self.backup, self.survey
        present = ", ".join(f"{node}: {keys:,} keys" for node, keys in here.keys.items()) or "no node answers"
        sealing = backup.compression + (
            f", encrypted with {backup.encryption_key_id}" if backup.encryption_key_id else ""
        )
        taken = f"{backup.taken:%Y-%m-%d %H:%M:%S} UTC ({age(self.now - backup.taken)} ago)"
        content = f"{backup.keys:,} keys, {backup.expires:,} of them with a TTL"
        stored = f"{mib(backup.rdb_bytes)} ({mib(backup.object_bytes)} stored, {sealing})"
        return [
            f"Target   {self.target}",
            f"Now      {present}",
            f"Backup   {backup.object_key}",
            f"         taken {taken} from {backup.source_node}, {backup.kind}",
            f"         {content}; {stored}; Redis {backup.server_version}",
            "Effect   the whole set stops for about a minute; everything in it is replaced by the backup;",
            "         entries that were invalidated after the backup come back until their TTL ends",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did; times in seconds."""

    backup: Manifest
    safety_backup: str
    keys: int
    seconds: float


def plan(target: Target, wanted: str) -> Plan:
    """Choose and check the backup, and look at the target. Changes nothing.

    Raises:
        CorruptBackupError: if the chosen backup cannot be restored; the text offers the newest one before it that can.
    """
    survey, backups = target.survey(), target.backups()
    backup = choice.backup(backups, wanted)
    verdict = target.verify(backup)
    if not verdict.good:
        raise CorruptBackupError(
            f"{backup.object_key} cannot be restored: {verdict.fault}. {_offer(target, backups, backup)}"
        )
    return Plan(target=target.name, survey=survey, backup=backup, now=datetime.now(UTC))


def _offer(target: Target, backups: Sequence[Manifest], corrupt: Manifest) -> str:
    """Find the newest backup before a corrupt one that is whole. It is offered, never taken without being named."""
    while (before := choice.predecessor(backups, corrupt)) is not None:
        if target.verify(before).good:
            taken = f"{before.taken:%Y-%m-%d %H:%M:%S} UTC, {before.keys:,} keys"
            return f"The newest whole one before it: --backup {before.object_key} ({taken})"
        corrupt = before
    return "No backup before it is whole"


def execute(target: Target, planned: Plan, *, force: bool, safety: bool) -> Restored:
    """Do what was planned.

    Args:
        target: the set.
        planned: from :func:`plan`.
        force: replace data that is there.
        safety: back up what is there first. Only for a set that cannot be backed up any more is it left out.

    Raises:
        RefusedError: if there is data and ``force`` is not set, or it cannot be told whether there is.
        JobError: if a step fails; the text says how to go on.
    """
    began = time.monotonic()
    here, restore_id = planned.survey, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    if here.most and not force:
        raise RefusedError(
            f"{target.name} holds {here.most:,} keys; --force replaces them (a safety backup comes first)"
        )
    if not here.keys and not here.resumable and not force:
        raise RefusedError(f"no node of {target.name} answers, so nobody knows what it holds; --force goes on")
    safety_backup = _safety_backup(target, here, wanted=safety)
    try:
        _replace(target, planned.backup, restore_id)
    except (JobError, OSError) as error:
        raise JobError(
            f"the restore stopped half-way: {error}. Run the same command again to go on"
            + (f"; what was there before is in {safety_backup}" if safety_backup else "")
        ) from error
    keys = target.finish(planned.backup)
    return Restored(backup=planned.backup, safety_backup=safety_backup, keys=keys, seconds=time.monotonic() - began)


def _replace(target: Target, backup: Manifest, restore_id: str) -> None:
    say(f"restore {restore_id}: stopping the set")
    target.stop(restore_id)
    say(f"restore {restore_id}: writing the backup to the first node's disk")
    target.write(backup, restore_id)
    say(f"restore {restore_id}: starting the set")
    target.start(restore_id)


def _safety_backup(target: Target, here: Survey, *, wanted: bool) -> str:
    if not here.most or not wanted:
        return ""
    try:
        key = target.back_up()
    except JobError as error:
        raise JobError(
            f"no safety backup could be taken, so nothing was changed: {error}. --no-safety-backup goes on without"
        ) from error
    say(f"safety backup of what is there: {key}")
    return key


def age(span: object) -> str:
    """Return a time span in its two largest units."""
    seconds = int(getattr(span, "total_seconds", float)())
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min" if hours else f"{minutes} min"
