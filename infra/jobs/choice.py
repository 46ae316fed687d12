"""Which node is backed up, and which backup is restored. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.jobs.errors import JobError, RefusedError, UsageError
from infra.jobs.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a Redis node said of itself (INFO); ``answered`` is False if it said nothing within the time allowed."""

    host: str
    answered: bool = True
    role: str = ""
    loading: bool = False
    link_up: bool = False
    syncing: bool = False
    master_host: str = ""
    offset: int = 0
    replicas: int = 0
    version: str = ""
    keys: int = 0

    def unfit(self, master: str) -> str:
        """Say why this node is no healthy replica of ``master``; empty if it is one."""
        reasons = (
            (not self.answered, "does not answer"),
            (self.loading, "is loading"),
            (self.role == "master", "is a master"),
            (self.role != "slave", f"has the role {self.role!r}"),
            (not self.link_up, "has no link to its master"),
            (self.syncing, "is copying from its master"),
            (self.master_host != master, f"follows {self.master_host}, not {master}"),
            (self.offset <= 0, "does not know its replication offset"),
        )
        return next((text for holds, text in reasons if holds), "")


def source(nodes: Sequence[Node], master: str, *, allow_master: bool) -> Node:
    """Return the node to take a snapshot from: the healthy replica that is furthest on, the later ordinal of two.

    A snapshot forks, and a fork costs the node memory and some milliseconds: never the master's, unless it is alone and
    the operator allows it.

    Raises:
        RefusedError: if only the master is left and ``allow_master`` is not set, or if it is not alone.
        JobError: if not even the master answers.
    """
    reasons = {node.host: node.unfit(master) for node in nodes}
    fit = [(node.offset, index, node) for index, node in enumerate(nodes) if not reasons[node.host]]
    if fit:
        return max(fit)[2]
    told = "; ".join(f"{host} {reason}" for host, reason in reasons.items())
    leader = next((node for node in nodes if node.host == master and node.answered and not node.loading), None)
    if leader is None:
        raise JobError(f"no node can be backed up: {told}")
    if leader.replicas:
        raise RefusedError(f"no replica is healthy now, and the master is not alone: wait until one is ({told})")
    if not allow_master:
        raise RefusedError(f"only the master is left, and a backup forks it; --allow-master allows that ({told})")
    return leader


def backup(backups: Sequence[Manifest], wanted: str) -> Manifest:
    """Return the backup that ``wanted`` names.

    Args:
        backups: all backups of the stack.
        wanted: ``latest``, an object key (or its end), or a time: the newest backup taken at that time or before.

    Raises:
        UsageError: if ``wanted`` is none of these.
        JobError: if there is no such backup.
    """
    ordered = sorted(backups, key=lambda b: (b.taken, b.object_key))
    if not ordered:
        raise JobError("there is no backup of this stack")
    if wanted == "latest":
        return ordered[-1]
    named = [b for b in ordered if b.object_key == wanted or b.object_key.endswith(f"/{wanted}")]
    if named:
        return named[-1]
    if "/" in wanted or re.fullmatch(r".*\.rdb(\.zst)?(\.enc)?", wanted):
        raise JobError(f"no backup is called {wanted}; `list` shows what there is")
    moment = _time(wanted)
    before = [b for b in ordered if b.taken <= moment]
    if not before:
        raise JobError(f"no backup was taken at {moment:%Y-%m-%dT%H:%M:%SZ} or before; the first is {ordered[0].taken}")
    return before[-1]


def predecessor(backups: Sequence[Manifest], of: Manifest) -> Manifest | None:
    """Return the newest backup that is older than ``of``."""
    older = [b for b in backups if (b.taken, b.object_key) < (of.taken, of.object_key)]
    return max(older, key=lambda b: (b.taken, b.object_key), default=None)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"backup {text!r}: latest, an object key, or a time such as 2026-03-01T06:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
