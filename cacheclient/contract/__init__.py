"""Every name that two parts of cachestack must agree on, declared once.

The client exports these metrics, the alerts and dashboards read them, the infrastructure program opens these ports and
sets these environment variables. Nothing else in the repository spells such a name as a literal. This module imports
the standard library only, so that the infrastructure, the alerts and the dashboards can use it without the client's
dependencies.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum, StrEnum
from typing import Final

from cacheclient.contract.exits import ExitCode
from cacheclient.contract.exporter import EXPORTER_METRICS, SCRAPE_SECONDS, Exporter
from cacheclient.contract.losses import Loss, losses
from cacheclient.contract.metrics import (
    BUILD_INFO,
    CAPACITY_BYTES,
    CIRCUIT_STATE,
    COALESCED,
    CONNECTION_ERRORS,
    CONSISTENCY_CHECKED,
    CONSISTENCY_INCONSISTENT,
    ENTRIES,
    ERRORS,
    EVENTS,
    EVICTIONS,
    FAILOVER_EVENTS,
    FAILOVER_SECONDS,
    HIT_RATE,
    HIT_RATE_AT_SIZE,
    HITS,
    INVALIDATIONS,
    L1_OFF,
    LATENCY_BUCKETS,
    LEASES,
    LISTENER_CONNECTED,
    LISTENER_GAPS,
    LOADER_CALLS,
    LOADER_SECONDS,
    LOCKS,
    LOOKUP_MS,
    LOOKUP_SECONDS,
    MEMORY_PRESSURE,
    METRICS,
    MIGRATED,
    MISSES,
    NAMESPACE_VERSION,
    OUTAGE_BUCKETS,
    PROPAGATION_SECONDS,
    PUSH_STORMS,
    RATE_LIMITED,
    REVALIDATED,
    SIZE_BYTES,
    STALE_SERVED,
    SUSPECT_ENTRIES,
    TUNING_CHANGES,
    TUNING_ENGAGED,
    TUNING_VALUE,
    WARMED,
    WORKING_SET,
    WRITE_MS,
    WRITE_SECONDS,
    Metric,
    MetricKind,
)
from cacheclient.contract.process import Process

__all__ = [
    "ACL_CONF",
    "ALTERNATE_SUFFIX",
    "API_FACTORY",
    "APP_NAME",
    "AUDIT_LENGTH",
    "AUDIT_WINDOWS",
    "BUILD_INFO",
    "CAPACITY_BYTES",
    "CIRCUIT_STATE",
    "COALESCED",
    "CONNECTION_ERRORS",
    "CONSISTENCY_CHECKED",
    "CONSISTENCY_INCONSISTENT",
    "DASHBOARD_UIDS",
    "ENTRIES",
    "ERRORS",
    "EVENTS",
    "EVICTIONS",
    "EXPORTER_AUTH_FILE",
    "EXPORTER_METRICS",
    "FAILOVER_EVENTS",
    "FAILOVER_SECONDS",
    "HITS",
    "HIT_RATE",
    "HIT_RATE_AT_SIZE",
    "INVALIDATIONS",
    "L1_OFF",
    "LATENCY_BUCKETS",
    "LEASES",
    "LISTENER_CONNECTED",
    "LISTENER_GAPS",
    "LOADER_CALLS",
    "LOADER_SECONDS",
    "LOCKS",
    "LOOKUP_MS",
    "LOOKUP_SECONDS",
    "MEMORY_PRESSURE",
    "METRICS",
    "MIGRATED",
    "MISSES",
    "NAMESPACE_VERSION",
    "OUTAGE_BUCKETS",
    "PROPAGATION_SECONDS",
    "PUSH_STORMS",
    "RATE_LIMITED",
    "REDIS_CONF",
    "RESTORE_MARK",
    "REVALIDATED",
    "ROTATION_FILE",
    "SCRAPE_SECONDS",
    "SENTINEL_AUTH_FILE",
    "SENTINEL_CONF",
    "SIZES",
    "SIZE_BYTES",
    "STALE_SERVED",
    "SUSPECT_ENTRIES",
    "TUNING_CHANGES",
    "TUNING_ENGAGED",
    "TUNING_VALUE",
    "UID",
    "WARMED",
    "WARMED_AT",
    "WARMED_ON_TIME",
    "WORKING_SET",
    "WRITE_MS",
    "WRITE_SECONDS",
    "BackupEnv",
    "BackupKey",
    "Channel",
    "Comparison",
    "Component",
    "Env",
    "ErrorType",
    "ExitCode",
    "Exporter",
    "Job",
    "Label",
    "Loss",
    "Metric",
    "MetricKind",
    "Port",
    "Process",
    "Record",
    "RedisUser",
    "Script",
    "ScriptBudget",
    "ScriptEnv",
    "Tier",
    "TlsFile",
    "TuningLimit",
    "TuningRule",
    "losses",
    "set_name",
]


class Tier(StrEnum):
    """Values of the ``tier`` label."""

    L1 = "l1"
    L2 = "l2"
    L3 = "l3"
    ALL = "all"


class ErrorType(StrEnum):
    """Values of the ``type`` label of cache_errors_total: a closed set, so that every series exists from the start."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    READONLY = "readonly"
    OOM = "oom"
    MISCONF = "misconf"
    NOREPLICAS = "noreplicas"
    SERIALIZATION = "serialization"
    LOADER = "loader"
    OTHER = "other"


class Comparison(StrEnum):
    """Values of the ``comparison`` label: what the consistency auditor held against what."""

    L1_L2 = "l1_l2"
    L2_SOURCE = "l2_source"


class DecidedBy(StrEnum):
    """Values of the ``decided_by`` label: who decided on a hit under a rate limit."""

    REDIS = "redis"
    MEMORY = "memory"  # this process, because Redis has said until when the subject is over its limit
    OUTAGE = "outage"  # the limiter's policy, because Redis could not be asked
    NOBODY = "nobody"  # there was no limit; not counted


class TuningRule(StrEnum):
    """Values of the ``rule`` label: the four rules of requirement 2.10, by the figure that each looks at."""

    L2_HIT_RATE = "l2_hit_rate"
    MEMORY_PRESSURE = "memory_pressure"
    L1_HIT_RATE = "l1_hit_rate"
    INVALIDATIONS = "invalidations"


class TuningLimit(float, Enum):
    """Where the four rules engage, and how far they go; the defaults of the options, and lines of the panels.

    None is the same as a threshold of an alert: tuning is to have acted, or said what to do, before people are called
    (the combined hit rate at 0.60, memory of Redis at 0.80) and long after a target is missed (L1 0.50, L2 0.80).
    """

    L2_HIT_RATE = 0.70
    PRESSURE = 0.85
    L1_HIT_RATE = 0.30
    INVALIDATIONS = 10.0  # a second
    RAISED_TTL = 600.0  # seconds


# Sizes at which a tier's hit rate is estimated, by the value of the ``size`` label: times its own.
SIZES: Final = {"0.5x": 0.5, "1x": 1.0, "2x": 2.0, "4x": 4.0}

# Seconds after an invalidation at which its key is checked, by the value of the ``window`` label.
AUDIT_WINDOWS: Final = {"1s": 1.0, "10s": 10.0, "60s": 60.0}


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


# Redis keys in which a warm-up leaves the time of its last success (Unix seconds), by plan; the exporter reads them.
WARMED_AT: Final = {plan: f"meta:warmup:{plan}:last_success_ts" for plan in ("critical", "hot", "full")}
WARMED_ON_TIME: Final = (WARMED_AT["full"], WARMED_AT["hot"])  # those of the plans that run on a schedule
AUDIT_LENGTH: Final = 10_000  # entries that the audit stream keeps, about


class Port(IntEnum):
    """TCP ports inside the cluster."""

    REDIS = 6379
    SENTINEL = 26379
    EXPORTER = 9121
    API = 8080


class Job(StrEnum):
    """Values of the Prometheus ``job`` label, which every rule and panel selects by."""

    REDIS = "redis"
    SENTINEL = "redis-sentinel"
    API = "cache-api"


API_FACTORY: Final = "cacheclient.api:app"  # what an ASGI server is told to call for the application


class Component(StrEnum):
    """Values of the ``app.kubernetes.io/component`` label; also names of StatefulSets, Deployments and CronJobs."""

    REDIS = "redis"
    SENTINEL = "sentinel"
    API = "cache-api"
    BACKUP = "cache-backup"
    WARMER = "cache-warmer"


class Label(StrEnum):
    """Label keys on every object. Selectors use the first three; the others may change during an object's life."""

    NAME = "app.kubernetes.io/name"
    INSTANCE = "app.kubernetes.io/instance"
    COMPONENT = "app.kubernetes.io/component"
    PART_OF = "app.kubernetes.io/part-of"
    MANAGED_BY = "app.kubernetes.io/managed-by"
    VERSION = "app.kubernetes.io/version"


class Script(StrEnum):
    """File names of the shell scripts, as mounted in the pods and as run by the local environment."""

    REDIS_START = "redis-start.sh"
    REDIS_STOP = "redis-stop.sh"
    REDIS_PROBE = "redis-probe.sh"
    REDIS_ROTATE = "redis-rotate.sh"
    SENTINEL_START = "sentinel-start.sh"
    SENTINEL_PROBE = "sentinel-probe.sh"
    SENTINEL_ROTATE = "sentinel-rotate.sh"
    ASK = "ask.sh"  # sourced by the others, from their own directory


# The texts of infra.redis_conf are mounted under these names, all in one directory; CACHE_CONF_FILE names the first
# (Redis pods) or the second (Sentinel pods). The start scripts look for the ACL file beside the first.
REDIS_CONF: Final = "redis.conf"
SENTINEL_CONF: Final = "sentinel.conf"
ACL_CONF: Final = "users.acl"

# A restore of the whole set puts this file into CACHE_RESTORE_DIR of every node: "ID HOST". Each node obeys it once, at
# its next start: HOST leads with the data that was restored to its disk, the others follow it, the Sentinels watch it.
RESTORE_MARK: Final = "mark"


class Env(StrEnum):
    """Environment variables that configure a client (``CacheOptions.from_env``) and the cache API."""

    URL = "CACHE_URL"
    NAMESPACE = "CACHE_NAMESPACE"
    VERSION = "CACHE_VERSION"
    CODEC = "CACHE_CODEC"
    PASSWORD_FILE = "CACHE_PASSWORD_FILE"  # noqa: S105  the name of a variable, not a password
    USERNAME = "CACHE_USERNAME"
    SENTINEL_PASSWORD_FILE = "CACHE_SENTINEL_PASSWORD_FILE"  # noqa: S105
    CA_FILE = "CACHE_CA_FILE"
    CERT_FILE = "CACHE_CERT_FILE"
    KEY_FILE = "CACHE_KEY_FILE"
    ADMIN_TOKEN_FILE = "CACHE_ADMIN_TOKEN_FILE"  # noqa: S105  a file with a token a line, or a directory of such files
    API_LIMIT = "CACHE_API_LIMIT"
    JWT_KEYS_FILE = "CACHE_JWT_KEYS_FILE"
    JWT_AUDIENCE = "CACHE_JWT_AUDIENCE"
    JWT_ISSUER = "CACHE_JWT_ISSUER"
    JWT_ALGORITHMS = "CACHE_JWT_ALGORITHMS"
    JWT_SCOPE = "CACHE_JWT_SCOPE"
    PLAN_FILE = "CACHE_PLAN_FILE"
    OPTION_PREFIX = "CACHE_OPT_"
    API_URL = "CACHE_API_URL"  # whom the command line asks, as the next
    PROMETHEUS_URL = "CACHE_PROMETHEUS_URL"
    COST_PREFIX = "CACHE_COST_"  # prices: cacheclient.savings


class ScriptEnv(StrEnum):
    """Environment variables the shell scripts read; the only thing that differs between a pod and a local process.

    Host lists are separated by spaces, in ordinal order; the first host may bootstrap an empty set. ``BIND`` is the one
    address to listen on and may be left out: then the process listens on all addresses and is asked at 127.0.0.1.
    ``TLS_DIR`` holds the files of ``TlsFile``; without it nothing is encrypted.
    """

    SET = "CACHE_SET"
    SELF = "CACHE_SELF"
    REDIS_HOSTS = "CACHE_REDIS_HOSTS"
    REDIS_PORT = "CACHE_REDIS_PORT"
    SENTINEL_HOSTS = "CACHE_SENTINEL_HOSTS"
    SENTINEL_PORT = "CACHE_SENTINEL_PORT"
    DATA_DIR = "CACHE_DATA_DIR"
    RUN_DIR = "CACHE_RUN_DIR"
    CONF_FILE = "CACHE_CONF_FILE"
    SECRET_DIR = "CACHE_SECRET_DIR"  # noqa: S105
    BIND = "CACHE_BIND"
    RESTORE_DIR = "CACHE_RESTORE_DIR"
    TLS_DIR = "CACHE_TLS_DIR"


class TlsFile(StrEnum):
    """Files of a TLS Secret, named as cert-manager and ``kubectl create secret tls`` name them."""

    CERTIFICATE = "tls.crt"
    KEY = "tls.key"
    AUTHORITY = "ca.crt"


class BackupEnv(StrEnum):
    """Environment variables of the backup jobs, besides those of ``ScriptEnv`` that say where the set is."""

    STACK = "CACHE_BACKUP_STACK"
    BUCKET = "CACHE_BACKUP_BUCKET"
    PREFIX = "CACHE_BACKUP_PREFIX"
    ENDPOINT = "CACHE_BACKUP_ENDPOINT"
    REGION = "CACHE_BACKUP_REGION"
    CREDENTIALS_DIR = "CACHE_BACKUP_CREDENTIALS_DIR"
    KEY_DIR = "CACHE_BACKUP_KEY_DIR"
    KEY_ID = "CACHE_BACKUP_KEY_ID"
    COMPRESSION = "CACHE_BACKUP_COMPRESSION"
    KEEP_DAYS = "CACHE_BACKUP_KEEP_DAYS"
    KEEP_LAST = "CACHE_BACKUP_KEEP_LAST"
    SCRATCH_DIR = "CACHE_BACKUP_SCRATCH_DIR"


class BackupKey(StrEnum):
    """Redis keys in which the jobs leave the time of their last success (Unix seconds); the exporter reads them."""

    LAST_SUCCESS = "meta:backup:last_success_ts"
    DRILL_SUCCESS = "meta:backup:drill_success_ts"


class ScriptBudget(StrEnum):
    """Environment variables that change the scripts' time budgets, in seconds; each script documents its defaults."""

    CALL = "CACHE_CALL_S"
    POLL = "CACHE_POLL_S"
    RESOLVE = "CACHE_RESOLVE_S"
    SILENCE = "CACHE_SILENCE_S"
    RETRY = "CACHE_RETRY_S"
    FAILOVER = "CACHE_FAILOVER_S"
    EMPTY = "CACHE_EMPTY_S"
    ATTEMPT = "CACHE_ATTEMPT_S"
    CATCH_UP = "CACHE_CATCH_UP_S"
    PAUSE = "CACHE_PAUSE_S"
    HANDOVER = "CACHE_HANDOVER_S"
    MASTER = "CACHE_MASTER_S"


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


SENTINEL_AUTH_FILE: Final = "sentinel-auth"
# While passwords are rotated, a file of this suffix beside a password holds the other one that is valid.
ALTERNATE_SUFFIX: Final = ".alt"
ROTATION_FILE: Final = "rotation"  # beside the passwords: the step of a rotation that is under way
EXPORTER_AUTH_FILE: Final = "exporter.json"  # redis_exporter's own format: a map from addresses to passwords

# Dashboard uids are stable: links, alerts and the provisioning files name them.
DASHBOARD_UIDS: Final = {
    "hit-rate": "cache-1",
    "latency": "cache-2",
    "redis": "cache-3",
    "invalidation": "cache-4",
    "pods": "cache-5",
    "cost": "cache-6",
}

APP_NAME: Final = "cachestack"
UID: Final = 10999  # user and group of every container

_STACK = re.compile(r"[a-z][a-z0-9-]{0,30}")


def set_name(stack: str) -> str:
    """Return the Sentinel set name of a stack: ``cache-<stack>``, unique so that two environments can never merge.

    Raises:
        ValueError: if ``stack`` is not lower-case letters, digits and hyphens, starting with a letter.
    """
    if not _STACK.fullmatch(stack):
        raise ValueError(
            f"stack name {stack!r}: at most 31 lower-case letters, digits and hyphens, starting with a letter"
        )
    return f"cache-{stack}"
