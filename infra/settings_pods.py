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
    """Image and resources of a container. ``memory`` is both request and limit.

    Borrowed memory would make the pod the first that the kernel kills when its node runs short. ``pull_policy`` is
    ``Always``, which asks the registry whether this cluster may still have the image and downloads nothing that is
    there; ``IfNotPresent`` starts pods while the registry is away, and images that were loaded on the nodes.
    """

    image: Image
    pull_policy: PullPolicy = "Always"
    cpu_request: Cpu
    cpu_limit: Cpu
    memory: Size


class Redis(Container, frozen=True, kw_only=True):
    """The Redis set. Its data limit, maxmemory, is a share of ``memory`` (``infra.redis_conf.maxmemory_bytes``)."""

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
    """The Sentinel set. Its times decide how long a lost master is noticed and replaced."""

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

    ``secret_name`` is a Secret with ``access-key-id`` and ``secret-access-key``; empty where the pod has an identity of
    its own. ``encryption_secret`` holds the keys by id. ``scratch`` is the room for a snapshot and its packed copy; the
    drill loads a backup into ``drill_memory``. ``object_store_cidrs`` are the addresses that the jobs may reach on the
    endpoint's port.
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

    ``image`` is the project's own. With ``warms`` its pods carry out pre-warms themselves, with the plan file, the data
    and the sources of ``warmup``; else they ask the applications to. Each key of the Secret ``admin_secret`` is a token
    of an administrator, who is named by it; ``jwt_config_map`` has the keys of an issuer of JWTs, in
    ``jwks.json``. With neither, nobody can invalidate or pre-warm. Each address may ask ``requests_per_minute`` times,
    of all pods together; 0: without limit.
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
    """The warm-up CronJobs: plan ``full`` once a night, plan ``hot`` every few hours, UTC; see docs/warm-up.md.

    ``image`` is the project's own. The plan file is the key ``warm.toml`` of the Secret ``secret_name``, whose
    files are in /etc/cachestack/warm. It may refer to those, to files of the volume ``data_claim`` in /data, and to
    servers at the ``source_ports`` of the ``source_cidrs``. A Job is ended a minute after its deadline, which should be
    that of its plan.
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
