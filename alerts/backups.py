"""Alerts on backups and restore drills. The jobs leave the time of each success in a key, which the exporters read.

Only a stack with backups has these series: its exporters are told to look for the keys. A key that is not there has the
size 0, so "never" can be told from "not wanted". The keys live on every node, hence the maximum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alerts.model import Alert, Severity
from cacheclient.contract import BackupKey, Exporter, Loss

if TYPE_CHECKING:
    from alerts.scope import Scope


def _age(scope: Scope, key: BackupKey) -> str:
    """Return the seconds since a job's last success; absent if there was none."""
    return f"time() - max by (namespace) ({scope.redis(Exporter.KEY_VALUE, _matcher(key))})"


def _never(scope: Scope, key: BackupKey) -> str:
    """Return the condition that a job is wanted and has never succeeded."""
    return f"max by (namespace) ({scope.redis(Exporter.KEY_SIZE, _matcher(key))}) == 0"


def _matcher(key: BackupKey) -> str:
    return f'key="{key}"'


BACKUPS: Final = (
    Alert(
        name="RedisBackupMissed",
        condition=lambda s, t: f"{_age(s, BackupKey.LAST_SUCCESS)} > {t.backup_age_seconds}",
        hold="5m",
        severity=Severity.WARNING,
        summary="The last backup did not succeed.",
        description="The newest backup of {{ $labels.namespace }} is {{ $value | humanizeDuration }} old.",
        silent={Loss.UNBORN: "there was none: RedisBackupNever"},
        board="redis",
    ),
    Alert(
        name="RedisBackupOverdue",
        condition=lambda s, t: f"{_age(s, BackupKey.LAST_SUCCESS)} > {t.backup_overdue_seconds}",
        hold="5m",
        severity=Severity.CRITICAL,
        summary="Two backups in a row did not succeed.",
        description="The newest backup of {{ $labels.namespace }} is {{ $value | humanizeDuration }} old.",
        silent={Loss.UNBORN: "there was none: RedisBackupNever"},
        board="redis",
    ),
    Alert(
        name="RedisBackupNever",
        condition=lambda s, _: _never(s, BackupKey.LAST_SUCCESS),
        hold="7h",
        severity=Severity.WARNING,
        summary="No backup has ever succeeded.",
        description="Backups of {{ $labels.namespace }} are enabled, and there is none.",
        board="redis",
    ),
    Alert(
        name="RedisRestoreDrillMissed",
        condition=lambda s, t: f"{_age(s, BackupKey.DRILL_SUCCESS)} > {t.drill_age_seconds}",
        hold="1h",
        severity=Severity.WARNING,
        summary="No backup has been proved to load for over a week.",
        description="The last restore drill of {{ $labels.namespace }} was {{ $value | humanizeDuration }} ago.",
        silent={Loss.UNBORN: "there was none: RedisRestoreDrillNever"},
        board="redis",
    ),
    Alert(
        name="RedisRestoreDrillNever",
        condition=lambda s, _: _never(s, BackupKey.DRILL_SUCCESS),
        hold="8d",
        severity=Severity.WARNING,
        summary="No restore drill has ever succeeded.",
        description="Backups of {{ $labels.namespace }} are enabled, and none has been proved to load.",
        board="redis",
    ),
)
