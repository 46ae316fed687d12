"""Environment variables: of clients and the cache API, of the scripts, of the backup jobs."""

from __future__ import annotations

from enum import StrEnum


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
    PURE_PYTHON = "CACHE_PURE_PYTHON"  # set to anything: leave out what is compiled (cacheclient.native)
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
