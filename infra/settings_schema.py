"""Everything a stack file may say, as frozen typed values, with their defaults.

Each field's type carries its range and, in words, what is allowed (``infra.setting_types``).
The groups that describe pods are in ``infra.settings_pods``.
Names in files are camelCase (as in Kubernetes), in Python snake_case. Sizes are Kubernetes quantities, times seconds.
"""

from __future__ import annotations

import msgspec

from cacheclient.contract import SENTINEL_AUTH_FILE
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

    Attributes:
        namespace: of the application whose entries are counted, invalidated and pre-warmed.
        version: of its schema.
        l1_max_entries: ``l1.max_entries``.
        l1_memory: ``l1.max_bytes``.
        l1_ttl_seconds: ``l1.ttl``.
        l2_ttl_seconds: ``l2.ttl``.
        max_staleness_seconds: ``sync.max_staleness``.
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

    Attributes:
        enabled: whether monitors, rules and dashboards are declared; the definitions of the Prometheus operator must be
            in the cluster.
        namespace: where Prometheus runs: its pods may reach the exporters.
        scrape_interval: between two scrapes.
        labels: by which the cluster's Prometheus selects ServiceMonitors and PrometheusRules.
        dashboards: whether a ConfigMap is declared for each dashboard, for Grafana's sidecar.
        grafana: the address of Grafana that alerts link to.
        runbooks: the address of the runbooks that alerts link to.
        thresholds: figures at which alerts fire and panels change colour; the names are below.
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

    Databases are paid for by query or by size: give the price that you pay, and 0 for the other. See
    ``cacheclient.savings``.

    Attributes:
        per_million_queries: of the database.
        per_database_hour: in which the database is busy.
        per_million_round_trips: to Redis, such as traffic between zones.
        per_redis_gib_month: counted on each server of the set; a month has 730 hours.
        per_process_gib_month: of the processes' memory, which L1 takes.
    """

    per_million_queries: Price = 2.0
    per_database_hour: Price = 0.0
    per_million_round_trips: Price = 0.0
    per_redis_gib_month: Price = 36.0
    per_process_gib_month: Price = 3.6


class Tls(Group, frozen=True, kw_only=True):
    """Encryption of Redis and Sentinel, between each other and to clients and exporters.

    Attributes:
        enabled: whether everything is encrypted; there is no port in clear text then.
        secret_name: a Secret with tls.crt, tls.key and ca.crt, as cert-manager or ``python -m infra.certificates``
            makes it.
        version: running servers keep the certificate they read at their start; another text here restarts the pods one
            by one, and each master hands over first.
        client_auth: whether clients have to show a certificate, too.
    """

    enabled: Flag = False
    secret_name: Name = "redis-tls"  # noqa: S105  a name
    version: Version = "1"
    client_auth: Flag = False


class Priority(Group, frozen=True, kw_only=True):
    """The PriorityClass of every pod.

    Attributes:
        class_name: its name; empty for the cluster's default.
        value: above 0 the program declares the class, which belongs to the whole cluster; else it must exist.
    """

    class_name: OptionalName = ""
    value: PriorityValue = 0


class Network(Group, frozen=True, kw_only=True):
    """Who may connect: our own pods, and those of the client namespaces.

    Attributes:
        policies: whether NetworkPolicies are declared.
        client_namespaces: every pod of these namespaces may connect.
    """

    policies: Flag = True
    client_namespaces: Names = ()


class Application(Group, frozen=True, kw_only=True):
    """The application that ``cachestack deploy`` rolls after the set, and what its caches have to show afterwards.

    Attributes:
        namespace: where it runs.
        deployment: its Deployment; without one, nothing is rolled or measured.
        container: that gets the image; need not be named where the pods have one.
        image: to be rolled; without one, what runs is left as it is.
        port: where its pods serve the cache API's ``/cache/stats``.
        hit_rate: share of lookups that has to be found in L1 or L2.
        min_lookups: that the rate is measured over.
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

    def files(self) -> dict[str, str]:
        """Return each password by the name of its file."""
        files: dict[str, str] = msgspec.to_builtins(self)
        return files


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
