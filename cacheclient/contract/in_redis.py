"""What parts find of each other in Redis: channels, records beside the entries, users, times of last success."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Channel(StrEnum):
    """Publish/subscribe channels of the fleet (requirement 2.7)."""

    INVALIDATE = "redis:channel:cache:invalidate"
    UPDATE = "redis:channel:cache:update"
    PREWARM = "redis:channel:cache:prewarm"


class Record(StrEnum):
    """What is kept beside the entries of a namespace, under ``<namespace>:<record>``; see ``KeySpace.record``."""

    JOB = "job"  # pre-warms that were asked for by HTTP
    ANSWER = "answer"  # to requests with an idempotency key
    AUDIT = "audit"  # a stream: who changed what
    TUNING = "tuning"  # that a process has asked for a pre-warm, so that the others do not, too
    WARMING = "warming"  # how far warm-ups have come, and the keys that each process should have in L1


AUDIT_LENGTH: Final = 10_000  # entries that the audit stream keeps, about

# Redis keys in which a warm-up leaves the time of its last success (Unix seconds), by plan; the exporter reads them.
WARMED_AT: Final = {plan: f"meta:warmup:{plan}:last_success_ts" for plan in ("critical", "hot", "full")}
WARMED_ON_TIME: Final = (WARMED_AT["full"], WARMED_AT["hot"])  # those of the plans that run on a schedule


class BackupKey(StrEnum):
    """Redis keys in which the jobs leave the time of their last success (Unix seconds); the exporter reads them."""

    LAST_SUCCESS = "meta:backup:last_success_ts"
    DRILL_SUCCESS = "meta:backup:drill_success_ts"


class RedisUser(StrEnum):
    """ACL users of Redis; each has one password, in a file of this name below the secret directory.

    The user ``default`` is off. Sentinel itself asks for the password in the file ``sentinel-auth``. ``ADMIN`` is for
    the rotation of passwords alone.
    """

    APP = "app"
    REPLICATION = "repl"
    SENTINEL = "sentinel"
    EXPORTER = "exporter"
    BACKUP = "backup"
    OPS = "ops"
    ADMIN = "admin"
