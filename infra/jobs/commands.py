"""What each command does: options in, one result out, for people as lines and for scripts as data."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from cacheclient.contract import BackupKey
from infra.jobs import backing_up, catalogue, choice, data_dir, fetching, options, restoring
from infra.jobs import drill as drills
from infra.jobs.claims import claimed
from infra.jobs.cluster_set import ClusterSet
from infra.jobs.errors import CorruptBackupError, JobError, RefusedError, UsageError
from infra.jobs.kubectl import Kubectl
from infra.jobs.local_set import LocalSet, redis_set
from infra.jobs.manifest import Manifest
from infra.jobs.options import JobOptions
from infra.jobs.progress import mib, say
from infra.jobs.redis_set import RedisSet, Tools
from infra.jobs.restoring import Plan, Target
from infra.jobs.storage import ObjectStore
from infra.local.control import Environment, default_root
from infra.local.programs import STACK as LOCAL_STACK

CORRUPT: Final = CorruptBackupError.exit_code


@dataclass(frozen=True, slots=True)
class Result:
    """What a command tells: ``lines`` to people, ``data`` to scripts."""

    lines: list[str]
    data: dict[str, Any]


def backup(arguments: argparse.Namespace) -> tuple[Result, int]:
    """Take a backup."""
    job, store = _where(arguments)
    outcome = backing_up.back_up(_set(arguments), store, job, kind=arguments.kind, allow_master=arguments.allow_master)
    for warning in outcome.warnings:
        say(f"warning: {warning}")
    lines = [f"{outcome.backup.object_key}: {outcome.backup.keys:,} keys in {outcome.seconds:.1f} s"]
    return Result(lines, msgspec.to_builtins(outcome)), 0


def list_backups(arguments: argparse.Namespace) -> tuple[Result, int]:
    """List what is in the bucket."""
    job, store = _where(arguments)
    found, now = catalogue.read(store, job.folder), datetime.now(UTC)
    orphans = [name.key for name in found.orphans(now, 0)]
    if arguments.publish and found.newest:
        refused = _set(arguments).publish(BackupKey.LAST_SUCCESS, str(int(found.newest.finished.timestamp())))
        if refused:
            raise JobError(f"the master does not take the time of the newest backup: {refused}")
    lines = [_row(each, now) for each in reversed(found.backups)] or ["no backup"]
    lines += [f"no manifest (an upload under way, or one that was torn): {key}" for key in orphans]
    lines += [f"manifest that cannot be used: {key}" for key in found.unreadable]
    if found.foreign:
        lines.append(f"{found.foreign} objects that are not ours")
    data = {
        "backups": msgspec.to_builtins(found.backups),
        "orphans": orphans,
        "unreadable": found.unreadable,
        "foreign": found.foreign,
    }
    return Result(lines, data), 0


def _row(found: Manifest, now: datetime) -> str:
    taken = f"{found.taken:%Y-%m-%d %H:%M:%S} {restoring.age(now - found.taken) + ' ago':>14}"
    return f"{taken}  {found.keys:>11,} keys  {mib(found.object_bytes):>12}  {found.kind:<9}  {found.object_key}"


def verify(arguments: argparse.Namespace) -> tuple[Result, int]:
    """Check one backup; the exit code is 3 if it is corrupt."""
    job, store = _where(arguments)
    chosen = choice.backup(catalogue.read(store, job.folder).backups, arguments.backup)
    verdict = fetching.verify(store, job, chosen, _tools(arguments))
    said = "whole" if verdict.good else f"corrupt: {verdict.fault}"
    data = {"good": verdict.good, "fault": verdict.fault, "backup": msgspec.to_builtins(chosen)}
    return Result([f"{chosen.object_key}: {said}"], data), 0 if verdict.good else CORRUPT


def drill(arguments: argparse.Namespace) -> tuple[Result, int]:
    """Load a backup into a throwaway server."""
    job, store = _where(arguments)
    chosen = choice.backup(catalogue.read(store, job.folder).backups, arguments.backup)
    tools = _tools(arguments)
    with job.workspace() as folder:
        snapshot = fetching.fetch(store, job, chosen, tools, folder)
        loaded = drills.load(snapshot, chosen, tools, folder)
    try:
        refused = _set(arguments).publish(BackupKey.DRILL_SUCCESS, str(int(datetime.now(UTC).timestamp())))
    except UsageError as error:  # by hand, far from any set
        refused = str(error)
    if refused:
        say(f"warning: the time of this success could not be written to the master, alerts miss it: {refused}")
    line = f"{chosen.object_key}: {chosen.keys:,} keys loaded in {loaded.seconds:.1f} s, as the manifest says"
    data = {"backup": msgspec.to_builtins(chosen), "seconds": loaded.seconds, "published": not refused}
    return Result([line], data), 0


def prune(arguments: argparse.Namespace) -> tuple[Result, int]:
    """Delete what is no longer kept."""
    job, store = _where(arguments)
    dry = arguments.dry_run
    if arguments.lifecycle and arguments.lifecycle <= job.rule.keep_days:
        raise UsageError(f"lifecycle {arguments.lifecycle}: more days than are kept ({job.rule.keep_days})")
    with claimed(store, job.folder, "prune"):
        found = catalogue.read(store, job.folder)
        newest_valid = _newest_valid(arguments, job, store, found)
        gone = backing_up.prune(store, job, newest_valid=newest_valid, dry_run=dry)
        orphans = [name.key for name in found.orphans(datetime.now(UTC), arguments.older_than)]
        if arguments.orphans and not dry:
            store.delete(orphans)
        if arguments.lifecycle and not dry:
            store.expire_after(job.folder.path, arguments.lifecycle)
    verb = "would be deleted" if dry else "deleted"
    lines = [f"{len(gone)} backups {verb}"]
    if orphans:
        removed = verb if arguments.orphans else "left (--orphans deletes them)"
        lines.append(f"{len(orphans)} uploads without a manifest {removed}: {', '.join(orphans)}")
    data = {"dry_run": dry, "pruned": gone, "orphans": orphans, "orphans_deleted": arguments.orphans and not dry}
    return Result(lines, data), 0


def _newest_valid(
    arguments: argparse.Namespace, job: JobOptions, store: ObjectStore, found: catalogue.Catalogue
) -> str:
    """Return the key of the newest backup that is whole: after a backup it is that one, by hand it must be found."""
    for candidate in reversed(found.backups):
        if fetching.verify(store, job, candidate, _tools(arguments)).good:
            return candidate.object_key
        say(f"{candidate.object_key} is corrupt")
    if found.backups:
        raise RefusedError("not one backup is whole, so none is pruned")
    return ""


def restore(arguments: argparse.Namespace) -> tuple[Result, int]:
    """Say what a restore would do, or do it."""
    chosen = [bool(arguments.local), bool(arguments.namespace), bool(arguments.data_dir)]
    if sum(chosen) != 1:
        raise UsageError("restore what? One of --local, --namespace NAMESPACE, --data-dir DIR")
    if arguments.data_dir:
        return _restore_data_dir(arguments)
    if arguments.namespace:
        return _restore_set(
            arguments, ClusterSet(Kubectl(arguments.namespace, arguments.context), arguments.stack or "")
        )
    job, store = _where(arguments)
    with tempfile.TemporaryDirectory(prefix="cachestack-", dir=job.scratch) as folder:
        return _restore_set(arguments, LocalSet(_environment(arguments), store, job, Path(folder)))


def _restore_set(arguments: argparse.Namespace, target: Target) -> tuple[Result, int]:
    planned = restoring.plan(target, arguments.backup)
    if not arguments.execute:
        lines = [*planned.lines(), "Nothing was changed. --execute does it."]
        return Result(lines, _plan_data(planned)), 0
    for line in planned.lines():
        say(line)
    done = restoring.execute(target, planned, force=arguments.force, safety=not arguments.no_safety_backup)
    kept = f"; what was there before: {done.safety_backup}" if done.safety_backup else ""
    lines = [f"{target.name} holds {done.keys:,} keys of {planned.backup.object_key} after {done.seconds:.1f} s{kept}"]
    return Result(lines, {"executed": True, **msgspec.to_builtins(done)}), 0


def _plan_data(planned: Plan) -> dict[str, Any]:
    return {
        "executed": False,
        "target": planned.target,
        "keys_now": planned.survey.keys,
        "backup": msgspec.to_builtins(planned.backup),
    }


def _restore_data_dir(arguments: argparse.Namespace) -> tuple[Result, int]:
    job, store = _where(arguments)
    tools = _tools(arguments)
    wanted = choice.backup(catalogue.read(store, job.folder).backups, arguments.backup)
    with job.workspace() as folder:
        snapshot = fetching.fetch(store, job, wanted, tools, folder)
        if arguments.execute:
            data_dir.write(Path(arguments.data_dir), snapshot, arguments.restore_id)
    said = "holds" if arguments.execute else "would hold (nothing was changed; --execute does it)"
    data = {"executed": arguments.execute, "backup": msgspec.to_builtins(wanted)}
    return Result([f"{arguments.data_dir} {said} {wanted.object_key}"], data), 0


def _where(arguments: argparse.Namespace) -> tuple[JobOptions, ObjectStore]:
    job = options.read(arguments, os.environ, stack=LOCAL_STACK if arguments.local else "")
    return job, ObjectStore(job.location)


def _environment(arguments: argparse.Namespace) -> Environment:
    return Environment.load(Path(arguments.dir) if arguments.dir else default_root())


def _set(arguments: argparse.Namespace) -> RedisSet:
    return redis_set(_environment(arguments)) if arguments.local else RedisSet.of(os.environ)


def _tools(arguments: argparse.Namespace) -> Tools:
    return redis_set(_environment(arguments)).tools if arguments.local else Tools.find(os.environ)
