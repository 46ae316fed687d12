"""New passwords for a set that serves: each user has two valid ones while they change hands.

Three steps, each complete on every node before the next begins, so that a node that restarts in between starts with
passwords that the others accept:

1. ``add``: the new password is valid everywhere, beside the one in use (``NAME.alt`` in the Secret);
2. ``switch``: the new one is in use by replication, Sentinels and by clients at their next connection, and the old one
   is still valid;
3. ``remove``: the old one is not valid any more. Connections that are open stay open.

The Secret itself says how far a rotation has come, so one that was interrupted goes on where it stopped. Pure, except
for ``run``, which is told how to reach a set (``Target``).
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from cacheclient.contract import (
    ALTERNATE_SUFFIX,
    EXPORTER_AUTH_FILE,
    PASSWORD_FILES,
    ROTATION_FILE,
    SENTINEL_AUTH_FILE,
    Component,
    RedisUser,
)
from infra.exporter import sidecar_passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Files = dict[str, str]
PASSWORD_BYTES: Final = 32
# What a pod's script digests, in its order.
MOUNTED_BY: Final = {
    Component.REDIS: PASSWORD_FILES,
    Component.SENTINEL: (SENTINEL_AUTH_FILE, RedisUser.SENTINEL.value),
}
STEPS: Final = {
    "add": "the new passwords become valid beside those in use",
    "switch": "replication, Sentinels and new connections of clients use them",
    "remove": "the old passwords are not valid any more",
}


class RotationError(Exception):
    """A step could not be completed; what is valid stays valid, and the same command goes on from there."""


class RefusedError(RotationError):
    """The passwords of this set cannot be changed like this; nothing was touched."""


class Target(Protocol):
    """A set whose passwords can be changed."""

    def read(self) -> Files:
        """Return the content of its Secret."""

    def write(self, files: Files) -> None:
        """Replace the content of its Secret."""

    def nodes(self) -> Sequence[str]:
        """Return the names of its Redis and Sentinel nodes."""

    def await_mounted(self, node: str) -> None:
        """Wait until the node would start with the Secret as it is; raise RotationError if that takes too long."""

    def apply(self, node: str) -> str:
        """Make the running node accept and use what the Secret holds; return what it logged, or raise RotationError."""

    def reload_exporters(self) -> None:
        """Make the exporters use what the Secret holds."""

    def await_clients(self) -> None:
        """Wait until clients that read the Secret's files see their new content."""


def digest(files: Mapping[str, str], names: Sequence[str]) -> str:
    """Return what the scripts print for ``digest`` where these files are mounted: one of the passwords' hashes."""
    text = ""
    for name in names:
        valid = [files[key] for key in (name, f"{name}{ALTERNATE_SUFFIX}") if key in files]
        text += f"{name} {' '.join(f'#{sha256(password.encode()).hexdigest()}' for password in valid)} "
    return sha256(text.encode()).hexdigest()


def steps_left(files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the steps that are still to be made; all of them if no rotation is under way."""
    done = files.get(ROTATION_FILE, "").strip()
    names = tuple(STEPS)
    return names[names.index(done) :] if done in names else names


def changed(files: Mapping[str, str], step: str) -> Files:
    """Return the Secret's content for a step; that of a step which is repeated stays as it is.

    Raises:
        RotationError: if a password is missing: this is not the Secret of a set.
    """
    if missing := [name for name in PASSWORD_FILES if not files.get(name)]:
        raise RotationError(f"the Secret has no {', '.join(missing)}")
    result = dict(files)
    begun = result.get(ROTATION_FILE, "").strip() == step
    for name in PASSWORD_FILES if not begun else ():
        alternate = f"{name}{ALTERNATE_SUFFIX}"
        if step == "add":
            result[alternate] = secrets.token_urlsafe(PASSWORD_BYTES)
        elif step == "switch":
            result[name], result[alternate] = result[alternate], result[name]
        else:
            result.pop(alternate, None)
    if EXPORTER_AUTH_FILE in result:
        result[EXPORTER_AUTH_FILE] = sidecar_passwords(result[RedisUser.EXPORTER], result[SENTINEL_AUTH_FILE])
    result[ROTATION_FILE] = step
    return result


def run(target: Target, say: Callable[[str], None], *, dry_run: bool = False, keep_old: bool = False) -> None:
    """Make the steps that are left, each on every node; with ``keep_old`` all but the last.

    Raises:
        RotationError: if a step cannot be completed. Old and new passwords stay valid then.
    """
    nodes = target.nodes()
    for step in steps_left(target.read()):
        if step == "remove" and keep_old:
            say("remove: left for the next run; the old passwords are still valid")
            return
        say(f"{step}: {STEPS[step]}" + (f" (dry run: nothing changes on {', '.join(nodes)})" if dry_run else ""))
        if not dry_run:
            if step == "remove":
                target.await_clients()
                target.reload_exporters()
            _make(target, step, nodes, say)
    if not dry_run:
        target.write({name: text for name, text in target.read().items() if name != ROTATION_FILE})
        say("done: the old passwords are refused")


def _make(target: Target, step: str, nodes: Sequence[str], say: Callable[[str], None]) -> None:
    target.write(changed(target.read(), step))
    for node in nodes:
        target.await_mounted(node)
    for node in nodes:
        say(f"{step}: {node}: {target.apply(node)}")
