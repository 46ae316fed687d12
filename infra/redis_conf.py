"""The configuration text of Redis and Sentinel: pure functions, one text for every environment.

A text holds the policy of the set. What differs between two processes of one set stands in it as a placeholder, which
the start scripts fill in when the process starts:

=====================  ================================================================================
``@self@``             the name this node announces (a Service name in the cluster, an address locally)
``@bind@``             the address to listen on
``@port@``             the port to listen on and to announce
``@data@``, ``@run@``  the data directory (persistent) and the run directory (may be in memory)
``@password:NAME@``    the content of the file NAME in the secret directory
``@hashes:NAME@``      ``#`` and its SHA-256, so that the ACL file holds no password in clear text; the same of
                       the file NAME.alt, if there is one: the other password that is valid during a rotation
``@tls@``              the directory with the certificate, its key and the authority's certificate
``@myid@``             Sentinel only: the identity derived from set and node name
``@master@``           Sentinel only: host and port of the master to monitor
=====================  ================================================================================

What a pod mounts (paths are free; the environment of ``contract.ScriptEnv`` names them):

- one read-only directory with ``redis.conf`` and ``users.acl`` (Redis pods) or ``sentinel.conf`` (Sentinel pods), from
  a ConfigMap; ``CACHE_CONF_FILE`` is the path of ``redis.conf`` or ``sentinel.conf`` in it;
- one read-only directory with every file of ``contract.Script``, from a ConfigMap; the scripts find each other there;
- the secret directory ``CACHE_SECRET_DIR``, from a Secret: Redis pods need one file per ``contract.RedisUser`` and
  ``sentinel-auth``; Sentinel pods need ``sentinel`` and ``sentinel-auth``, and ``ops`` to look for a first master;
- with TLS, ``CACHE_TLS_DIR``, from a Secret with the files of ``contract.TlsFile``;
- ``CACHE_RUN_DIR``, an emptyDir: the rendered files with passwords live there (Redis and Sentinel rewrite theirs);
- ``CACHE_DATA_DIR``, the volume: AOF and RDB files and the record of the last known master, or Sentinel's state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cacheclient.contract import SENTINEL_AUTH_FILE, WARMED_AT, BackupKey, Channel, RedisUser, TlsFile
from infra.quantities import MIB

MAXMEMORY_SHARE: Final = 0.60
"""Share of the memory limit that data may use: a fork for a snapshot copies the pages written meanwhile, and a full
instance of 1 GiB under writes was measured to copy up to 292 MiB; buffers and fragmentation take the rest."""

_SET_NAME = re.compile(r"[a-z][a-z0-9-]*")
_KEY_PATTERN = re.compile(r"[!-~]+")


def maxmemory_bytes(memory_limit: int) -> int:
    """Return ``maxmemory`` in bytes for a container memory limit in bytes.

    Raises:
        ValueError: if ``memory_limit`` is below 32 MiB, where an empty instance with its buffers does not fit.
    """
    if memory_limit < 32 * MIB:
        raise ValueError(f"memory_limit is {memory_limit}: at least {32 * MIB} bytes (32 MiB) are needed")
    return int(memory_limit * MAXMEMORY_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Encrypt every connection; with ``client_auth`` a client also has to show a certificate of our authority."""

    client_auth: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConf:
    """What a stack decides about its Redis nodes; equal on all nodes of a set, because each may become the master.

    Attributes:
        memory_limit: container memory limit in bytes; ``maxmemory`` follows from it.
        app_key_patterns: glob patterns of the keys the user ``app`` may touch.
        save: RDB snapshot rules as pairs (seconds, changes). Each snapshot forks: its cost is copy-on-write memory.
        min_replicas_to_write: in-sync replicas without which the master refuses writes; 0 turns the guard off.
        min_replicas_max_lag: seconds since a replica's last acknowledgement after which it no longer counts; a
            partitioned master refuses writes after this time plus up to two seconds. 0 turns the guard off.
        repl_backlog: bytes of history kept so that a replica which was away resumes without a full copy.
        maxclients: connections accepted at the same time.
        latency_threshold_ms: events slower than this enter Redis' latency monitor.
        io_threads: I/O threads; 1 leaves all work to the main thread.
        tls: encrypt; None serves in clear text.

    Raises:
        ValueError: if a value is out of range; the message names the field.
    """

    memory_limit: int
    app_key_patterns: tuple[str, ...] = ("*",)
    save: tuple[tuple[int, int], ...] = ((60, 1000),)
    min_replicas_to_write: int = 1
    min_replicas_max_lag: int = 2
    repl_backlog: int = 64 * MIB
    maxclients: int = 2000
    latency_threshold_ms: int = 25
    io_threads: int = 1
    tls: Tls | None = None

    def __post_init__(self) -> None:
        maxmemory_bytes(self.memory_limit)
        if not self.app_key_patterns or not all(_KEY_PATTERN.fullmatch(p) for p in self.app_key_patterns):
            raise ValueError(f"app_key_patterns is {self.app_key_patterns!r}: one or more globs without white space")
        if any(len(rule) != 2 or min(rule) < 1 for rule in self.save):  # noqa: PLR2004  a pair
            raise ValueError(f"save is {self.save!r}: pairs (seconds, changes), both at least 1")
        for name, least in _REDIS_LEAST.items():
            _require_at_least(name, getattr(self, name), least)


_REDIS_LEAST: Final = {
    "min_replicas_to_write": 0,
    "min_replicas_max_lag": 0,
    "repl_backlog": MIB,
    "maxclients": 32,
    "latency_threshold_ms": 0,
    "io_threads": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelConf:
    """What a stack decides about its Sentinels; times in seconds.

    Attributes:
        set_name: name of the monitored set, unique per environment (``contract.set_name``).
        quorum: Sentinels that must agree that the master is down.
        down_after: silence after which a node counts as down.
        failover_timeout: bound of one failover; a failed attempt is retried only after twice this time.
        parallel_syncs: replicas that copy from a new master at the same time.
        reboot_down_after: how long a master that came back within ``down_after`` may load before it counts as down.
        tls: encrypt, to clients, Redis and other Sentinels; None talks in clear text.

    Raises:
        ValueError: if a value is out of range; the message names the field.
    """

    set_name: str
    quorum: int = 2
    down_after: float = 30.0
    failover_timeout: float = 180.0
    parallel_syncs: int = 1
    reboot_down_after: float = 15.0
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not _SET_NAME.fullmatch(self.set_name):
            raise ValueError(f"set_name is {self.set_name!r}: lower-case letters, digits and hyphens, a letter first")
        for name in ("quorum", "parallel_syncs"):
            _require_at_least(name, getattr(self, name), 1)
        for name in ("down_after", "failover_timeout", "reboot_down_after"):
            _require_at_least(name, getattr(self, name), 0.001)


def _require_at_least(name: str, value: float, least: float) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}: at least {least}")


def _listening(tls: Tls | None) -> str:
    """Return where to listen. With TLS there is no port in clear text; replication and Sentinel's links use it, too."""
    if tls is None:
        return "bind @bind@\nport @port@"
    return f"""\
bind @bind@
port 0
tls-port @port@
tls-cert-file @tls@/{TlsFile.CERTIFICATE}
tls-key-file @tls@/{TlsFile.KEY}
tls-ca-cert-file @tls@/{TlsFile.AUTHORITY}
tls-auth-clients {"yes" if tls.client_auth else "no"}
tls-protocols "TLSv1.2 TLSv1.3"
tls-replication yes"""


def redis_conf(conf: RedisConf) -> str:
    """Return the text of ``redis.conf``; the start script appends ``replicaof`` where the node is to follow."""
    saves = "\n".join(f"save {seconds} {changes}" for seconds, changes in conf.save) or 'save ""'
    return f"""\
{_listening(conf.tls)}
protected-mode no
tcp-keepalive 60
maxclients {conf.maxclients}
io-threads {conf.io_threads}
daemonize no
logfile ""
dir @data@
aclfile @run@/users.acl

maxmemory {maxmemory_bytes(conf.memory_limit)}
maxmemory-policy volatile-lfu
lazyfree-lazy-eviction yes
lazyfree-lazy-expire yes
lazyfree-lazy-server-del yes
lazyfree-lazy-user-del yes
replica-lazy-flush yes
disable-thp yes
latency-monitor-threshold {conf.latency_threshold_ms}

{saves}
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb

replica-announce-ip @self@
replica-announce-port @port@
masteruser {RedisUser.REPLICATION}
masterauth @password:{RedisUser.REPLICATION}@
min-replicas-to-write {conf.min_replicas_to_write}
min-replicas-max-lag {conf.min_replicas_max_lag}
repl-backlog-size {conf.repl_backlog}
repl-diskless-sync yes
repl-diskless-sync-delay 1
client-output-buffer-limit replica {4 * conf.repl_backlog} {2 * conf.repl_backlog} 60
"""


# What Sentinel sends to the nodes it monitors: its hello channel only, and the commands of a reconfiguration.
_SENTINEL_RULES = (
    "resetchannels &__sentinel__:hello +multi +exec +ping +info +role +publish +subscribe +replicaof +slaveof "
    "+config|rewrite +client|setname +client|kill +script|kill"
)
# What a cache client needs. KEYS, FLUSHALL, CONFIG and their like are in @dangerous or @admin. SCAN is not bound by the
# key patterns (Redis does not check its replies): names of other keys are visible, their values are not.
_APP_RULES = (
    "+@read +@write +@pubsub +@scripting +@transaction +@connection -@admin -@dangerous -script|flush -script|kill "
    "-function +info +role +time +wait +client|no-evict"
)
# Where the backup jobs leave the times of their last success; a client could forge them, which costs an alert, no data.
_BACKUP_KEYS = " ".join(f"~{key}" for key in BackupKey)
_WARMUP_KEYS = " ".join(f"~{key}" for key in WARMED_AT.values())  # the same of warm-ups, which are clients
# No CONFIG GET, although redis_exporter would like it: it also shows the replication password, which reads every key.
# The commands on keys read the times of the backups and warm-ups.
_EXPORTER_RULES = (
    f"{_BACKUP_KEYS} {_WARMUP_KEYS} resetchannels +ping +info +client|setname +slowlog|len +slowlog|get "
    "+latency|latest +latency|histogram +select +type +get +strlen +pfcount"
)
# What redis-cli --rdb sends (a snapshot is asked for as a replica asks), the role of the node, and the times.
_BACKUP_RULES = f"{_BACKUP_KEYS} resetchannels +ping +info +sync +psync +replconf +set"
# What the start script, the stop hook and the probes ask.
_OPS_RULES = "resetchannels +ping +info +role +client|pause +client|unpause +client|kill"
# What a rotation of passwords needs, and nobody else may: with ACL SETUSER one can become anybody.
_ADMIN_RULES = "resetchannels +ping +acl|setuser +config|set"


def acl_text(conf: RedisConf) -> str:
    """Return the text of ``users.acl``: one line per user, each with the least it needs; ``default`` is off.

    No user may use all channels: who can publish to Sentinel's hello channel can forge the topology.
    """
    app_keys = " ".join(f"~{pattern}" for pattern in conf.app_key_patterns)
    app_channels = " ".join(f"&{channel}" for channel in Channel)
    rules = {
        # Those first: after a pattern that is all keys, Redis takes no other.
        RedisUser.APP: f"{_WARMUP_KEYS} {app_keys} resetchannels {app_channels} {_APP_RULES}",
        RedisUser.REPLICATION: "resetchannels +psync +replconf +ping",
        RedisUser.SENTINEL: _SENTINEL_RULES,
        RedisUser.EXPORTER: _EXPORTER_RULES,
        RedisUser.BACKUP: _BACKUP_RULES,
        RedisUser.OPS: _OPS_RULES,
        RedisUser.ADMIN: _ADMIN_RULES,
    }
    users = [f"user {user} on @hashes:{user}@ {rules[user]}" for user in RedisUser]
    return "\n".join(["user default reset", *users, ""])


def sentinel_conf(conf: SentinelConf) -> str:
    """Return the text of ``sentinel.conf``; the start script adds what the Sentinel had learnt before a restart.

    Announced names and ``resolve-hostnames`` are always on: harmless with addresses, needed with Service names, and
    a set must never mix the two.
    """
    name = conf.set_name
    return f"""\
{_listening(conf.tls)}
protected-mode no
daemonize no
logfile ""
dir @data@
user default on @hashes:{SENTINEL_AUTH_FILE}@ ~* &* +@all

sentinel sentinel-pass @password:{SENTINEL_AUTH_FILE}@
sentinel myid @myid@
sentinel announce-ip @self@
sentinel announce-port @port@
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel deny-scripts-reconfig yes
sentinel monitor {name} @master@ {conf.quorum}
sentinel auth-user {name} {RedisUser.SENTINEL}
sentinel auth-pass {name} @password:{RedisUser.SENTINEL}@
sentinel down-after-milliseconds {name} {_milliseconds(conf.down_after)}
sentinel failover-timeout {name} {_milliseconds(conf.failover_timeout)}
sentinel parallel-syncs {name} {conf.parallel_syncs}
sentinel master-reboot-down-after-period {name} {_milliseconds(conf.reboot_down_after)}
"""


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
