"""Everything a stack file may say, as frozen typed values, with their defaults.

Each field's type carries its range and, in words, what is allowed (``infra.setting_types``).
Names in files are camelCase (as in Kubernetes), in Python snake_case. Sizes are Kubernetes quantities, times seconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cacheclient.contract import SENTINEL_AUTH_FILE, RedisUser
from infra.setting_types import (
    Backups,
    CacheNamespace,
    CacheVersion,
    Cidrs,
    Clients,
    Compression,
    Cpu,
    Cron,
    Days,
    Endpoint,
    Entries,
    Flag,
    HitRate,
    Image,
    Interval,
    KeyId,
    KeyPatterns,
    Labels,
    Limits,
    LongSeconds,
    Lookups,
    Name,
    Names,
    OptionalBucket,
    OptionalImage,
    OptionalName,
    OptionalText,
    Password,
    PodCount,
    PortNumber,
    Ports,
    Prefix,
    Price,
    PriorityValue,
    PullPolicy,
    RedisCount,
    Region,
    Requests,
    SavePoints,
    Seconds,
    SentinelCount,
    Size,
    Spread,
    Staleness,
    Text,
    UpToNine,
    Version,
    WebAddress,
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


class Client(Group, frozen=True, kw_only=True):
    """The cache that this environment is for, as the pods of the bundle use it: see ``cacheclient.CacheOptions``.

    ``namespace`` and ``version`` are those of the application whose entries are counted, invalidated and pre-warmed.
    """

    namespace: CacheNamespace = "cache"
    version: CacheVersion = 1
    l1_max_entries: Entries = 10_000
    l1_memory: Size = "64Mi"
    l1_ttl_seconds: LongSeconds = 300
    l2_ttl_seconds: LongSeconds = 1800
    max_staleness_seconds: Staleness = 1


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


class Monitoring(Group, frozen=True, kw_only=True):
    """What Prometheus and Grafana need.

    ``labels`` are those by which the cluster's Prometheus selects ServiceMonitors and PrometheusRules. ``dashboards``
    declares a ConfigMap per dashboard for Grafana's sidecar. ``runbooks`` and ``grafana`` are the addresses that alerts
    link to. ``thresholds`` are figures at which alerts fire and panels change colour (``infra.alert_limits``).
    """

    enabled: Flag = False
    namespace: Name = "monitoring"
    scrape_interval: Interval = "15s"
    labels: Labels = {}
    dashboards: Flag = True
    grafana: WebAddress = ""
    runbooks: WebAddress = ""
    thresholds: Limits = {}


class Cost(Group, frozen=True, kw_only=True):
    """Prices in US dollars, from which dashboard 6 and ``GET /cache/stats`` compute what the cache saves and costs.

    Databases are paid for by query or by size: give the price that you pay, and 0 for the other. A month has 730 hours;
    a GiB of Redis is counted on each server of the set. See ``cacheclient.savings``.
    """

    per_million_queries: Price = 2.0
    per_database_hour: Price = 0.0
    per_million_round_trips: Price = 0.0
    per_redis_gib_month: Price = 36.0
    per_process_gib_month: Price = 3.6


class Tls(Group, frozen=True, kw_only=True):
    """Encryption of Redis and Sentinel, between each other and to clients and exporters.

    ``secret_name`` names a Secret with tls.crt, tls.key and ca.crt, as cert-manager or ``python -m infra.certificates``
    makes it. Running servers keep the certificate they read at their start: another ``version`` restarts the pods one
    by one, and each master hands over first. With ``client_auth`` clients have to show a certificate, too.
    """

    enabled: Flag = False
    secret_name: Name = "redis-tls"  # noqa: S105  a name
    version: Version = "1"
    client_auth: Flag = False


class Priority(Group, frozen=True, kw_only=True):
    """The PriorityClass of every pod; without a name that of the cluster's default.

    With a ``value`` above 0 the program declares the class, which belongs to the whole cluster; else it must exist.
    """

    class_name: OptionalName = ""
    value: PriorityValue = 0


class Network(Group, frozen=True, kw_only=True):
    """Who may connect: our own pods, and every pod of the ``client_namespaces``."""

    policies: Flag = True
    client_namespaces: Names = ()


class Application(Group, frozen=True, kw_only=True):
    """The application that ``cachestack deploy`` rolls after the set, and what its caches have to show afterwards.

    ``deployment`` is its Deployment in ``namespace``; without one, nothing is rolled or measured. ``image`` is rolled
    into ``container``, which need not be named where the pods have one; without an image, what runs is left as it is.
    Its pods serve the cache API's ``/cache/stats`` on ``port``: of at least ``min_lookups`` lookups, a share of
    ``hit_rate`` has to be found in L1 or L2.
    """

    namespace: OptionalName = ""
    deployment: OptionalName = ""
    container: OptionalName = ""
    image: OptionalImage = ""
    port: PortNumber = 8080
    hit_rate: HitRate = 0.80
    min_lookups: Lookups = 1000


class Passwords(Group, frozen=True, kw_only=True):
    """One password per Redis user, and that of the Sentinels. Never shown."""

    app: Password
    repl: Password
    sentinel: Password
    exporter: Password
    backup: Password
    ops: Password
    admin: Password
    sentinel_auth: Password = msgspec.field(name=SENTINEL_AUTH_FILE)

    def __repr__(self) -> str:
        return "Passwords(***)"

    def of(self, user: RedisUser) -> str:
        """Return the password of a Redis user."""
        return str(getattr(self, user.value))


class Settings(Group, frozen=True, kw_only=True):
    """One environment. The defaults of the single values are in Pulumi.yaml, those of the groups' values here."""

    context: Text
    namespace: Name
    manage_namespace: Flag
    protect: Flag
    spread: Spread
    storage_class: OptionalName
    priority: Priority
    secret_name: Name
    redis: Redis
    sentinel: Sentinel
    exporter: Exporter
    backup: Backup
    client: Client
    api: Api
    warmup: WarmUp
    monitoring: Monitoring
    cost: Cost
    tls: Tls
    network: Network
    application: Application
    passwords: Passwords | None = None
