"""The cache API in the cluster: pods of the project's own image that serve ``cacheclient.api``. The specs are pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pulumi
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import Service, ServiceAccount
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget

from cacheclient.contract import API_FACTORY, Component, Env, Port
from infra import clients, warmers, workloads
from infra.monitoring import prices
from infra.redis_pods import TLS_VERSION, scope_of
from infra.topology import host

if TYPE_CHECKING:
    from pulumi_kubernetes.apps.v1 import DeploymentSpecArgsDict
    from pulumi_kubernetes.core.v1 import ContainerArgsDict, PodSpecArgsDict, VolumeArgsDict, VolumeMountArgsDict
    from pulumi_kubernetes.meta.v1 import ObjectMetaArgsDict

    from infra.settings import Settings

ADMIN_DIR: Final = "/etc/cachestack/admin"
JWT_DIR: Final = "/etc/cachestack/jwt"
JWT_FILE: Final = "jwks.json"
# Seconds. A pod that stops is first taken out of the Service everywhere; then it ends what it is asked, which a request
# that waits for its pre-warm may draw out to half a minute.
DRAIN: Final = 5
GRACE: Final = 45
REVISIONS_KEPT: Final = 5
# One worker: the statistics and the metrics are those of a process, and pods are what it scales by.
COMMAND: Final = (
    "python", "-m", "granian", "--interface", "asgi", "--no-ws", "--workers", "1", "--host", "0.0.0.0",  # noqa: S104
    "--port", str(Port.API.value), "--log-level", "warning", "--factory", API_FACTORY,
)  # fmt: skip


def environment(stack: str, settings: Settings) -> dict[str, str]:
    """Return what ``cacheclient.api.app`` reads: a client's variables, prices, and who may do what how often."""
    api = settings.api
    own: dict[Env, str] = {}
    if api.admin_secret:
        own[Env.ADMIN_TOKEN_FILE] = ADMIN_DIR
    if api.jwt_config_map:
        own |= {
            Env.JWT_KEYS_FILE: f"{JWT_DIR}/{JWT_FILE}",
            Env.JWT_AUDIENCE: api.jwt_audience,
            Env.JWT_ISSUER: api.jwt_issuer,
            Env.JWT_SCOPE: api.jwt_scope,
        }
    own[Env.API_LIMIT] = f"{per_minute}/60" if (per_minute := api.requests_per_minute) else "0"
    plan = warmers.plan_variables() if api.warms else {}
    return (
        clients.environment(stack, settings)
        | prices(settings.cost).to_env()
        | plan
        | {name.value: value for name, value in own.items() if value}
    )


def address(settings: Settings) -> str:
    """Return where clients in the cluster reach the API."""
    return f"http://{host(Component.API.value, settings.namespace)}:{Port.API.value}"


def _volumes(settings: Settings) -> list[VolumeArgsDict]:
    found = [*clients.volumes(settings), workloads.memory_volume("tmp", "16Mi")]
    if settings.api.admin_secret:  # every key: each is a token, and more may come
        secret = {"secret_name": settings.api.admin_secret, "default_mode": workloads.SECRET_MODE}
        found.append({"name": "admin", "secret": secret})  # type: ignore[typeddict-item]
    if settings.api.warms:
        found += warmers.plan_volumes(settings)
    if settings.api.jwt_config_map:
        found.append(workloads.config_volume("jwt", settings.api.jwt_config_map))
    return found


def _mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    found: list[VolumeMountArgsDict] = [*clients.mounts(settings), {"name": "tmp", "mount_path": "/tmp"}]  # noqa: S108
    for name, path, wanted in (
        ("admin", ADMIN_DIR, settings.api.admin_secret),
        ("jwt", JWT_DIR, settings.api.jwt_config_map),
    ):
        if wanted:
            found.append({"name": name, "mount_path": path, "read_only": True})
    return [*found, *(warmers.plan_mounts(settings) if settings.api.warms else [])]


def container(stack: str, settings: Settings) -> ContainerArgsDict:
    """Return the container. Redis away is no reason to restart it, nor to take it out of the Service."""
    made = workloads.container("api", settings.api, command=COMMAND)
    made["env"] = workloads.environment(environment(stack, settings))
    made["ports"] = [{"name": "http", "container_port": Port.API.value, "protocol": "TCP"}]
    made["volume_mounts"] = _mounts(settings)
    made["lifecycle"] = {"pre_stop": {"exec_": {"command": ["sleep", str(DRAIN)]}}}
    made["startup_probe"] = workloads.http_probe("/readyz", "http", period=1, failures=60, timeout=2)
    made["readiness_probe"] = workloads.http_probe("/readyz", "http", period=5, failures=2, timeout=2)
    made["liveness_probe"] = workloads.http_probe("/healthz", "http", period=10, failures=6, timeout=5)
    return made


def pod(stack: str, settings: Settings) -> PodSpecArgsDict:
    """Return the pod. It prefers other nodes and zones than its like, and runs beside them if there are none."""
    scope = scope_of(stack, settings)
    made: PodSpecArgsDict = {
        "service_account_name": Component.API.value,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": workloads.pod_security(),
        "termination_grace_period_seconds": GRACE,
        "affinity": workloads.affinity(scope, Component.API, "soft"),
        "topology_spread_constraints": workloads.zone_spread(scope, Component.API, "soft"),
        "containers": [container(stack, settings)],
        "volumes": _volumes(settings),
    }
    if settings.priority.class_name:
        made["priority_class_name"] = settings.priority.class_name
    return made


def deployment_spec(stack: str, settings: Settings) -> DeploymentSpecArgsDict:
    """Return the Deployment: a new pod is ready before an old one goes."""
    scope = scope_of(stack, settings)
    metadata: ObjectMetaArgsDict = {"labels": workloads.pod_labels(scope, Component.API)}
    if settings.tls.enabled:
        metadata["annotations"] = {TLS_VERSION: settings.tls.version}
    return {
        "replicas": settings.api.replicas,
        "revision_history_limit": REVISIONS_KEPT,
        "min_ready_seconds": 2,
        "progress_deadline_seconds": 300,
        "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": 1, "max_unavailable": 0}},
        "selector": workloads.match(scope, Component.API),
        "template": {"metadata": metadata, "spec": pod(stack, settings)},
    }


class CacheApi(pulumi.ComponentResource):
    """Service account, Deployment, Service and disruption budget of one environment's cache API."""

    def __init__(self, name: str, stack: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:api:CacheApi", name, None, opts)
        scope, child = scope_of(stack, settings), pulumi.ResourceOptions(parent=self)
        metadata = workloads.metadata(scope, Component.API, Component.API.value)
        account = ServiceAccount(
            Component.API.value, metadata=metadata, automount_service_account_token=False, opts=child
        )
        PodDisruptionBudget(
            Component.API.value, metadata=metadata, spec=workloads.one_at_a_time(scope, Component.API), opts=child
        )
        deployment = Deployment(
            Component.API.value,
            metadata=metadata,
            spec=deployment_spec(stack, settings),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account]),
        )
        Service(
            Component.API.value,
            metadata=metadata,
            spec=workloads.service_spec(workloads.selector(scope, Component.API), {"http": Port.API.value}),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[deployment]),
        )
        self.register_outputs({"address": address(settings)})
