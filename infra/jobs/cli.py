"""The command line of the jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from infra.jobs import commands
from infra.jobs.errors import JobError
from infra.jobs.progress import say
from infra.local.errors import LocalError

INTERRUPTED: Final = 130

_DESCRIPTION: Final = """\
Backups of a Redis set: taken from a replica, checked, sealed, stored in a bucket, and proved by restoring them.
In the cluster the settings come from the environment (CronJob cache-backup); by hand from options or the same
variables. --local means the set of `make up` on this machine. docs/backup.md explains it all."""

_EPILOG: Final = """\
examples:
  python -m infra.jobs backup --local --stack local --bucket backups --endpoint http://127.0.0.1:8333
  python -m infra.jobs list --stack prod --bucket acme-cache-backups
  python -m infra.jobs verify --backup latest            download it and let Redis check it
  python -m infra.jobs restore --namespace cache-prod    what would happen (nothing does without --execute)
  python -m infra.jobs restore --namespace cache-prod --backup 2026-03-01T06:00Z --execute --force
  python -m infra.jobs drill                             load the newest backup into a server made for it
  python -m infra.jobs prune --orphans --dry-run

exit codes: 0 done; 1 failed; 2 an option or variable is missing or not allowed; 3 a backup is corrupt;
4 another job works on these backups; 5 refused: data would be lost (--force, --execute); 130 interrupted"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``--help``."""
    options = parser().parse_args(arguments)
    try:
        result, code = options.run(options)
    except (JobError, LocalError, OSError) as error:
        if options.json:
            _print_json({"error": str(error)})
        say(f"error: {error}")
        return error.exit_code if isinstance(error, JobError) else 1
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    if options.json:
        _print_json(result.data)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in result.lines))
    return int(code)


def _print_json(data: Any) -> None:
    sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    plain = argparse.RawDescriptionHelpFormatter
    whole = argparse.ArgumentParser("infra.jobs", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain)
    adders = whole.add_subparsers(required=True, metavar="COMMAND")
    shared = _shared()

    def command(name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        added = adders.add_parser(name, help=text, description=text, parents=[shared])
        added.set_defaults(run=run)
        return added

    backup = command("backup", commands.backup, "take a backup from a replica, then prune what is no longer kept")
    backup.add_argument("--allow-master", action="store_true", help="use the master if it is alone (its fork costs it)")
    backup.add_argument(
        "--kind", choices=("scheduled", "manual", "safety"), default="manual", help="noted in the manifest"
    )
    listed = command("list", commands.list_backups, "list backups, uploads without a manifest, and what is not ours")
    listed.add_argument("--publish", action="store_true", help="tell the alerts the time of the newest backup")
    verify = command("verify", commands.verify, "download a backup and let Redis check it")
    _which(verify)
    restore = command("restore", commands.restore, "replace a set's data by a backup; says what it would do first")
    _which(restore)
    _restore_options(restore)
    _which(command("drill", commands.drill, "load a backup into a throwaway server and compare the number of keys"))
    prune = command("prune", commands.prune, "delete backups that are no longer kept, or uploads without a manifest")
    prune.add_argument("--orphans", action="store_true", help="also delete uploads without a manifest")
    prune.add_argument("--older-than", type=_hours, default=24.0, metavar="HOURS", help="age of such uploads (24)")
    prune.add_argument("--dry-run", action="store_true", help="delete nothing, only say what would go")
    prune.add_argument("--lifecycle", type=_days, metavar="DAYS", help="also have the store delete what is older")
    return whole


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one line of JSON")
    where = shared.add_argument_group("where the backups lie (default: the environment variables CACHE_BACKUP_*)")
    where.add_argument("--stack", help="the stack, as in Pulumi.STACK.yaml")
    where.add_argument("--bucket", help="the bucket; it must exist")
    where.add_argument("--prefix", help="first part of every key")
    where.add_argument("--endpoint", help="http(s)://host[:port] of a store that is not AWS, such as GCS")
    where.add_argument("--region", help="region of the bucket")
    where.add_argument(
        "--credentials-dir", help="folder with access-key-id and secret-access-key; else boto3's own search"
    )
    where.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="wait for an answer of the store (30)")
    sealing = shared.add_argument_group("how they are sealed, and how long kept")
    sealing.add_argument("--compression", choices=("none", "zstd"), help="zstd unless said otherwise")
    sealing.add_argument("--key-dir", help="folder with encryption keys, each a file named by its id")
    sealing.add_argument("--key-id", help="the key that encrypts new backups; none: not encrypted")
    sealing.add_argument("--keep-days", help="keep everything younger (7)")
    sealing.add_argument("--keep-last", help="never keep fewer than these newest (42)")
    sealing.add_argument("--scratch-dir", help="folder for the files of the job")
    target = shared.add_argument_group("which set (default: the environment variables of the pods' scripts)")
    target.add_argument("--local", action="store_true", help="the set of `make up`")
    target.add_argument("--dir", help="directory of the local environment (default: .local)")
    return shared


def _which(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backup", default="latest", metavar="WHICH", help="latest, an object key, or a time: the newest until then"
    )


def _restore_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--namespace", help="restore the set of this Kubernetes namespace, through kubectl")
    parser.add_argument("--context", default="", help="kubeconfig context (default: the current one)")
    parser.add_argument("--data-dir", help="restore the data directory of one stopped node (what the Job does)")
    parser.add_argument("--restore-id", default="by-hand", help="with --data-dir: the id that the mark names")
    parser.add_argument("--execute", "--yes", action="store_true", help="do it; without, only the plan is printed")
    parser.add_argument("--force", action="store_true", help="replace data that is there")
    parser.add_argument(
        "--no-safety-backup", action="store_true", help="for a set that cannot be backed up any more: do without"
    )


def _number(text: str, allowed: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 1e6:  # noqa: PLR2004  beyond any sense
        raise argparse.ArgumentTypeError(f"{text!r}: {allowed}")
    return value


def _hours(text: str) -> float:
    return _number(text, "hours, 0 or more", 0)


def _seconds(text: str) -> float:
    return _number(text, "seconds, 0.1 or more", 0.1)


def _days(text: str) -> int:
    return int(_number(text, "days, 1 or more", 1))
