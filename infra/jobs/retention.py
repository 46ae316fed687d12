"""Which backups may go. Pure.

Kept: everything younger than ``keep_days``, and never fewer than the newest ``keep_last``. Every six hours for seven
days makes 28 backups, the requirement also says 42: with both rules both readings hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from infra.jobs.manifest import Manifest
from infra.jobs.names import Name


class Rule(NamedTuple):
    """How long backups are kept; ``keep_last`` is at least 1."""

    keep_days: int = 7
    keep_last: int = 42


def prunable(backups: Iterable[Manifest], now: datetime, rule: Rule, newest_valid: str) -> list[Manifest]:
    """Return the backups that may be deleted, oldest first.

    Args:
        backups: the manifests that could be read; the order does not matter.
        now: the present.
        rule: how much is kept.
        newest_valid: the object key of the newest backup known to be whole; it is kept whatever the rule says.
    """
    ordered = sorted(backups, key=lambda b: (b.taken, b.object_key), reverse=True)
    limit = now - timedelta(days=rule.keep_days)
    beyond = ordered[max(rule.keep_last, 1) :]
    return [b for b in reversed(beyond) if b.taken < limit and b.object_key != newest_valid]


def orphans(snapshots: Iterable[Name], committed: Collection[str], now: datetime, hours: float) -> list[Name]:
    """Return the snapshots without a manifest whose name is older than ``hours``: uploads that were never committed.

    Args:
        snapshots: the keys of snapshots in the bucket.
        committed: the stems of the manifests in the bucket, readable or not.
        now: the present.
        hours: younger ones may still be on their way.
    """
    limit = now - timedelta(hours=hours)
    return sorted((n for n in snapshots if n.stem not in committed and n.taken < limit), key=lambda n: n.key)
