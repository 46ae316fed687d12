"""What a stack file may say of pods: the groups with an image and resources, and their defaults."""

from __future__ import annotations

from typing import Final

import msgspec

from infra.setting_types import (
    Backups,
    Cidrs,
    Clients,
    Compression,
    Cpu,
    Cron,
    Days,
    Endpoint,
    Flag,
    Image,
    KeyId,
    KeyPatterns,
    LongSeconds,
    Name,
    OptionalBucket,
    OptionalImage,
    OptionalName,
    OptionalText,
    PodCount,
    Ports,
    Prefix,
    PullPolicy,
    RedisCount,
    Region,
    Requests,
    SavePoints,
    Seconds,
    SentinelCount,
    Size,
    UpToNine,
)


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A group of keys in the stack file."""


# By digest, so that what was tried is what runs: a tag can be moved. The digests are those of the multi-platform lists.
REDIS_IMAGE: Final = "redis:7.2.16-bookworm@sha256:74566c6910d13ae61e7ce73ebd3127438a1fe805b309b097c323142719ec8a5b"


EXPORTER_IMAGE: Final = (
    "oliver006/redis_exporter:v1.90.0@sha256:a129504e65b87c54f79bc92f1afc403475e8ff646a3d7512de469904ceddf986"
)


class Container(Group, frozen=True, kw_only=True):
    """Image and resources of a container.

    Attributes:
        image: what runs.
        pull_policy: ``Always`` asks the registry whether this cluster may still have the image, and downloads nothing
            that is there; ``IfNotPresent`` starts pods while the registry is away, and images that were loaded on the
            nodes.
        cpu_request: processor time that is kept for it.
        cpu_limit: processor time that it may take at most.
        memory: both request and limit: borrowed memory would make the pod the first that the kernel kills when its node
            runs short.
    """

    image: Image
    pull_policy: PullPolicy = "Always"
    cpu_request: Cpu
    cpu_limit: Cpu
    memory: Size


class Redis(Container, frozen=True, kw_only=True):
    """The Redis set.

    Attributes:
        memory: of each server. Its data limit, maxmemory, is three fifths of it (``infra.redis_conf.maxmemory_bytes``).
        replicas: servers of the set, the master among them.
        storage: the volume of each server; it grows in place and never shrinks.
        save: when a snapshot is written: so many changes within so many seconds.
        repl_backlog: history that is kept so that a replica which was away resumes without a full copy.
        max_clients: connections accepted at the same time, by each server.
        min_replicas_to_write: replicas without which the master refuses writes; 0 turns the guard off.
        min_replicas_max_lag_seconds: since its last acknowledgement, after which a replica no longer counts for that.
        key_patterns: keys that the user ``app`` may touch.
    """

    image: Image = REDIS_IMAGE
    cpu_request: Cpu = "500m"
    cpu_limit: Cpu = "1"
    memory: Size = "2Gi"
    replicas: RedisCount = 3
    storage: Size = "10Gi"
    save: SavePoints = ("60 1000",)
    repl_backlog: Size = "64Mi"
    max_clients: Clients = 2000
    min_replicas_to_write: UpToNine = 1
    min_replicas_max_lag_seconds: Seconds = 2
    key_patterns: KeyPatterns = ("*",)


class Sentinel(Container, frozen=True, kw_only=True):
    """The Sentinel set. Its times decide how long a lost master is noticed and replaced.

    Attributes:
        replicas: Sentinels of the set; an odd number.
        storage: the volume of each Sentinel, which holds what it has learnt.
        quorum: Sentinels that must agree that the master is down.
        down_after_seconds: silence after which a node counts as down.
        failover_timeout_seconds: bound of one failover; a failed attempt is retried only after twice this time.
        parallel_syncs: replicas that copy from a new master at the same time.
    """

    image: Image = REDIS_IMAGE
    cpu_request: Cpu = "50m"
    cpu_limit: Cpu = "200m"
    memory: Size = "64Mi"
    replicas: SentinelCount = 3
    storage: Size = "1Gi"
    quorum: UpToNine = 2
    down_after_seconds: Seconds = 30
    failover_timeout_seconds: Seconds = 180
    parallel_syncs: UpToNine = 1


class Exporter(Container, frozen=True, kw_only=True):
    """The redis_exporter sidecar of every Redis and Sentinel pod."""

    image: Image = EXPORTER_IMAGE
    cpu_request: Cpu = "10m"
    cpu_limit: Cpu = "100m"
    memory: Size = "64Mi"


class Backup(Container, frozen=True, kw_only=True):
    """The backup and drill CronJobs, and where the backups lie.

    Attributes:
        enabled: whether the jobs are declared.
        image: the project's own; needed where this is enabled.
        schedule: when a backup is taken.
        drill_schedule: when the newest backup is loaded, to prove that it can be.
        drill_memory: of the drill, which loads a whole backup.
        bucket: where the backups lie.
        prefix: what their keys begin with.
        endpoint: of a store that speaks S3.
        region: of the bucket; ``auto`` for Google Cloud Storage.
        secret_name: a Secret with ``access-key-id`` and ``secret-access-key``; empty where the pod has an identity of
            its own.
        encryption_secret: a Secret with the keys by their ids; empty leaves the backups in clear text.
        encryption_key_id: the key that new backups are encrypted with.
        compression: of the snapshots.
        keep_days: everything that is younger is kept.
        keep_last: so many of the newest are kept, however old.
        scratch: room for a snapshot and its packed copy: twice maxmemory.
        object_store_cidrs: addresses that the jobs may reach on the endpoint's port.
    """

    enabled: Flag = False
    image: OptionalImage = ""
    cpu_request: Cpu = "100m"
    cpu_limit: Cpu = "1"
    memory: Size = "256Mi"
    schedule: Cron = "0 */6 * * *"
    drill_schedule: Cron = "30 3 * * 0"
    drill_memory: Size = "2Gi"
    bucket: OptionalBucket = ""
    prefix: Prefix = "cachestack"
    endpoint: Endpoint = ""
    region: Region = ""
    secret_name: OptionalName = ""
    encryption_secret: OptionalName = ""
    encryption_key_id: KeyId = ""
    compression: Compression = "zstd"
    keep_days: Days = 7
    keep_last: Backups = 42
    scratch: Size = "4Gi"
    object_store_cidrs: Cidrs = ("0.0.0.0/0",)


class Api(Container, frozen=True, kw_only=True):
    """The cache API: statistics, invalidation and pre-warming by HTTP, for the pods of ``network.clientNamespaces``.

    With neither tokens nor keys of an issuer nobody can invalidate or pre-warm.

    Attributes:
        enabled: whether the API is declared.
        image: the project's own; needed where this is enabled.
        replicas: its pods.
        admin_secret: each key of this Secret is an administrator's name, its value the token.
        requests_per_minute: that each address may make, of all pods together; 0: without limit.
        warms: whether its pods carry out pre-warms themselves, with the plan file, the data and the sources of
            ``warmup``; else they ask the applications to.
        jwt_config_map: has the keys of an issuer of JWTs, in ``jwks.json``.
        jwt_audience: whom a token must be for.
        jwt_issuer: whom it must be from.
        jwt_scope: a word that its claim ``scope`` must hold.
    """

    enabled: Flag = False
    image: OptionalImage = ""
    cpu_request: Cpu = "100m"
    cpu_limit: Cpu = "500m"
    memory: Size = "256Mi"
    replicas: PodCount = 2
    admin_secret: OptionalName = "cache-api-admin"  # noqa: S105  a name
    requests_per_minute: Requests = 600
    warms: Flag = False
    jwt_config_map: OptionalName = ""
    jwt_audience: OptionalText = ""
    jwt_issuer: OptionalText = ""
    jwt_scope: OptionalText = ""


class WarmUp(Container, frozen=True, kw_only=True):
    """The warm-up CronJobs: plan ``full`` once a night, plan ``hot`` every few hours; see docs/warm-up.md.

    Attributes:
        enabled: whether the jobs are declared.
        image: the project's own; needed where this is enabled.
        secret_name: a Secret whose key ``warm.toml`` is the plan file; all its files are in /etc/cachestack/warm.
        data_claim: a volume claim with exported files, in /data.
        full_schedule: when plan ``full`` runs.
        hot_schedule: when plan ``hot`` runs.
        full_deadline_seconds: of plan ``full``; its Job is ended a minute later. Give the plan in the file the same.
        hot_deadline_seconds: the same of plan ``hot``.
        source_cidrs: addresses that the jobs may reach besides Redis.
        source_ports: the ports there.
    """

    enabled: Flag = False
    image: OptionalImage = ""
    cpu_request: Cpu = "100m"
    cpu_limit: Cpu = "1"
    memory: Size = "256Mi"
    secret_name: Name = "cache-warm"  # noqa: S105  a name
    data_claim: OptionalName = ""
    full_schedule: Cron = "0 2 * * *"
    hot_schedule: Cron = "0 */6 * * *"
    full_deadline_seconds: LongSeconds = 14_400
    hot_deadline_seconds: LongSeconds = 1_800
    source_cidrs: Cidrs = ("0.0.0.0/0",)
    source_ports: Ports = (5432, 443)
