"""The passwords of a set: made once, at random, and handed to Kubernetes or to Pulumi without passing a command line.

A stack names a Secret (``secretName``). Either it exists already, made by this command, or the stack holds the
passwords itself, encrypted, and the program declares the Secret.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from typing import TYPE_CHECKING, Any, Final

import yaml

from cacheclient.contract import EXPORTER_AUTH_FILE
from infra import rotation, settings, stack_files
from infra.exporter import sidecar_passwords
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.programs import STACK
from infra.local.rotation import LocalTarget
from infra.settings_schema import Passwords

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP: Final = """\
Make the passwords of a stack's Redis set, at random, and print them once. Nothing is stored here.

  As the Secret that the stack's manifests name (create, not apply: it refuses to replace passwords in use):
      python -m infra.credentials dev | kubectl create -f -
  As an encrypted value of the stack, so that `pulumi up` declares the Secret:
      python -m infra.credentials dev --json | pulumi config set --secret passwords --stack dev
  New passwords for a set that serves, without an outage (its own --help says more):
      python -m infra.credentials rotate dev
"""
_ROTATE_HELP: Final = """\
Give every user of a running set a new password, without a restart and without a failed call: the new passwords become
valid beside the old ones, then everything uses them, then the old ones are refused. Interrupted, it goes on where it
stopped. Clients take part by reading their password file for every connection, as cacheclient does; where a client's
copy of the Secret is brought by other means, stop before the last step (--keep-old) and run it again afterwards.

  python -m infra.credentials rotate dev             through kubectl, in the context of Pulumi.dev.yaml
  python -m infra.credentials rotate local           the local environment ('make up')
  python -m infra.credentials rotate dev --dry-run   only say what would be done

Exit codes: 0 done; 1 a step could not be completed (old and new passwords are valid); 2 refused: wrong arguments or
settings, or a Secret that the stack declares (the way out is printed)."""


def generate() -> Passwords:
    """Return new passwords of 256 random bits each."""
    return Passwords(**{field: secrets.token_urlsafe(rotation.PASSWORD_BYTES) for field in Passwords.__struct_fields__})


def secret_files(passwords: Passwords) -> dict[str, str]:
    """Return the Secret's content: a file per Redis user, that of the Sentinels, and the exporters' own format."""
    exporters = sidecar_passwords(passwords.exporter, passwords.sentinel_auth)
    return passwords.files() | {EXPORTER_AUTH_FILE: exporters}


def secret_manifest(name: str, namespace: str, passwords: Passwords) -> dict[str, Any]:
    """Return the Secret as a Kubernetes object."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "stringData": secret_files(passwords),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, or 2 where the stack's settings cannot be used (see also ``rotate``)."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["rotate"]:
        return rotate(given[1:])
    parser = argparse.ArgumentParser(
        "infra.credentials", description=_HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stack", metavar="STACK", help="the stack, as in Pulumi.STACK.yaml")
    parser.add_argument("--json", action="store_true", help="print the passwords for `pulumi config set` instead")
    stack_files.add_overrides(parser)
    options = parser.parse_args(given)
    try:
        stack = settings.load(options.stack, options.overrides)
    except ValueError as error:
        sys.stderr.write(f"infra.credentials: {error}\n")
        return 2
    passwords = generate()
    if options.json:
        sys.stdout.write(json.dumps(passwords.files()) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(secret_manifest(stack.secret_name, stack.namespace, passwords)))
    return 0


def rotate(arguments: Sequence[str]) -> int:
    """Run the rotation of a set's passwords and return the exit code."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("infra.credentials rotate", description=_ROTATE_HELP, formatter_class=plain)
    parser.add_argument("stack", metavar="STACK", help="the stack, as in Pulumi.STACK.yaml, or local")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what is left to do")
    parser.add_argument("--keep-old", action="store_true", help="stop before the old passwords are refused")
    grace = "seconds for clients to get the new Secret before the old passwords are refused (default: 120)"
    parser.add_argument("--grace", type=float, default=120.0, metavar="SECONDS", help=grace)
    stack_files.add_overrides(parser)
    options = parser.parse_args(arguments)
    try:
        target = _target(options.stack, options.overrides, options.grace)
    except (ValueError, LocalError) as error:
        sys.stderr.write(f"infra.credentials rotate: {error}\n")
        return 2
    try:
        rotation.run(target, _say, dry_run=options.dry_run, keep_old=options.keep_old)
    except rotation.RefusedError as error:
        sys.stderr.write(f"infra.credentials rotate: {error}\n")
        return 2
    except rotation.RotationError as error:
        sys.stderr.write(
            f"infra.credentials rotate: {error}\nOld and new passwords are valid; the same command goes on.\n"
        )
        return 1
    return 0


def _target(stack: str, overrides: Sequence[str], grace: float) -> rotation.Target:
    if stack == STACK:
        return LocalTarget(Environment.load())
    from infra.kubectl_rotation import KubectlTarget  # noqa: PLC0415  the pods' specs take a second to import

    return KubectlTarget(settings.load(stack, overrides), grace)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
