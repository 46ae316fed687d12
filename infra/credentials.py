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

import msgspec
import yaml

from cacheclient.contract import EXPORTER_AUTH_FILE, SENTINEL_AUTH_FILE, RedisUser
from infra import settings, stack_files
from infra.exporter import sidecar_passwords
from infra.settings import Passwords

if TYPE_CHECKING:
    from collections.abc import Sequence

_PASSWORD_BYTES: Final = 32
_HELP: Final = """\
Make the passwords of a stack's Redis set, at random, and print them once. Nothing is stored here.

  As the Secret that the stack's manifests name (create, not apply: it refuses to replace passwords in use):
      python -m infra.credentials dev | kubectl create -f -
  As an encrypted value of the stack, so that `pulumi up` declares the Secret:
      python -m infra.credentials dev --json | pulumi config set --secret passwords --stack dev
"""


def generate() -> Passwords:
    """Return new passwords of 256 random bits each."""
    return Passwords(**{field: secrets.token_urlsafe(_PASSWORD_BYTES) for field in Passwords.__struct_fields__})


def secret_files(passwords: Passwords) -> dict[str, str]:
    """Return the Secret's content: a file per Redis user, that of the Sentinels, and the exporters' own format."""
    files = {user.value: passwords.of(user) for user in RedisUser}
    files[SENTINEL_AUTH_FILE] = passwords.sentinel_auth
    return files | {EXPORTER_AUTH_FILE: sidecar_passwords(passwords.of(RedisUser.EXPORTER), passwords.sentinel_auth)}


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
    """Run the command; the exit code is 0, or 2 where the stack's settings cannot be used."""
    parser = argparse.ArgumentParser(
        "infra.credentials", description=_HELP, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stack", metavar="STACK", help="the stack, as in Pulumi.STACK.yaml")
    parser.add_argument("--json", action="store_true", help="print the passwords for `pulumi config set` instead")
    options = parser.parse_args(arguments)
    try:
        stack = settings.parse(options.stack, stack_files.read(options.stack))
    except ValueError as error:
        sys.stderr.write(f"infra.credentials: {error}\n")
        return 2
    passwords = generate()
    if options.json:
        names = {field.encode_name: getattr(passwords, field.name) for field in msgspec.structs.fields(Passwords)}
        sys.stdout.write(json.dumps(names) + "\n")
    else:
        sys.stdout.write(yaml.safe_dump(secret_manifest(stack.secret_name, stack.namespace, passwords)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
