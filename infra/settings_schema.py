"""Everything a stack file may say, as frozen typed values, with their defaults.

Each field's type carries its range and, in words, what is allowed (``infra.setting_types``).
The groups that describe pods are in ``infra.settings_pods``.
Names in files are camelCase (as in Kubernetes), in Python snake_case. Sizes are Kubernetes quantities, times seconds.
"""

from __future__ import annotations

import msgspec

from cacheclient.contract import SENTINEL_AUTH_FILE, RedisUser
from infra.setting_types import (
    CacheNamespace,
    CacheVersion,
    Entries,
    Flag,
    HitRate,
    Interval,
    Labels,
    Limits,
    LongSeconds,
    Lookups,
    Name,
    Names,
    OptionalImage,
    OptionalName,
    Password,
    PortNumber,
    Price,
    PriorityValue,
    Size,
    Spread,
    Staleness,
    Text,
    Version,
    WebAddress,
)
from infra.settings_pods import Api, Backup, Exporter, Group, Redis, Sentinel, WarmUp


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


class Monitoring(Group, frozen=True, kw_only=True):
    """What Prometheus and Grafana need.

    ``labels`` are those by which the cluster's Prometheus selects ServiceMonitors and PrometheusRules. ``dashboards``
    declares a ConfigMap per dashboard for Grafana's sidecar. ``runbooks`` and ``grafana`` are the addresses that alerts
    link to. ``thresholds`` are figures at which alerts fire and panels change colour (``infra.alert_limits``).
    """

    enabled: Flag = False
    namespace: Name = "monitoring"
    scrape_interval: Interval = "15s"
    labels: Labels = msgspec.field(default_factory=dict)
    dashboards: Flag = True
    grafana: WebAddress = ""
    runbooks: WebAddress = ""
    thresholds: Limits = msgspec.field(default_factory=dict)


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
