"""The pods of the Redis set and of the Sentinel set: files, environment, containers, probes. Pure functions.

Two sets, because losing the master's node must not also cost a vote. The texts come from ``infra.redis_conf``, the
scripts from ``infra/files``; both are the same in the local environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from cacheclient.contract import (
    ACL_CONF,
    EXPORTER_AUTH_FILE,
    PASSWORD_FILES,
    REDIS_CONF,
    SENTINEL_AUTH_FILE,
    SENTINEL_CONF,
    WARMED_ON_TIME,
    BackupKey,
    Component,
    Port,
    RedisUser,
    Script,
    ScriptEnv,
    TlsFile,
    set_name,
)
from infra import node_sets, topology, workloads
from infra.exporter import exporter_address, exporter_tls
from infra.node_sets import NodeSetSpec
from infra.quantities import size_bytes
from infra.redis_conf import RedisConf, SentinelConf, Tls, acl_text, redis_conf, sentinel_conf
from infra.topology import DATA_DIR, FILES_DIR, RESTORE_CONFIG_MAP, host, redis_hosts, sentinel_hosts
from infra.workloads import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulumi_kubernetes.core.v1 import ContainerArgsDict, PodSpecArgsDict, VolumeMountArgsDict

    from infra.settings import Settings

RUN_DIR: Final = "/run/cachestack"
RESTORE_DIR: Final = "/etc/cachestack/restore"
SECRET_DIR: Final = "/etc/cachestack/secrets"  # noqa: S105  a path
EXPORTER_DIR: Final = "/etc/cachestack/exporter"
TLS_DIR: Final = "/etc/cachestack/tls"
TLS_VERSION: Final = "cachestack/tls-version"

SENTINEL_KEYS: Final = (RedisUser.SENTINEL.value, RedisUser.OPS.value, SENTINEL_AUTH_FILE)

# The stop hook has 25 s of its own; the rest is for the last fsync and a slow disk.
REDIS_GRACE: Final = 60
SENTINEL_GRACE: Final = 30
_SCRIPTS: Final = Path(__file__).parent / "files"


def scope_of(stack: str, settings: Settings) -> Scope:
    """Return where the objects of a stack live."""
    return Scope(namespace=settings.namespace, instance=set_name(stack))


def redis_nodes(stack: str, settings: Settings) -> NodeSetSpec:
    """Return the Redis set."""
    redis, scope = settings.redis, scope_of(stack, settings)
    conf = RedisConf(
        memory_limit=size_bytes(redis.memory),
        app_key_patterns=redis.key_patterns,
        save=tuple((int(seconds), int(changes)) for seconds, changes in (point.split() for point in redis.save)),
        min_replicas_to_write=redis.min_replicas_to_write,
        min_replicas_max_lag=redis.min_replicas_max_lag_seconds,
        repl_backlog=size_bytes(redis.repl_backlog),
        maxclients=redis.max_clients,
        tls=tls_of(settings),
    )
    files = {REDIS_CONF: redis_conf(conf), ACL_CONF: acl_text(conf)} | scripts(Component.REDIS)
    return NodeSetSpec(
        scope=scope,
        component=Component.REDIS,
        replicas=redis.replicas,
        storage=redis.storage,
        storage_class=settings.storage_class,
        files=files,
        ports={"redis": Port.REDIS.value},
        metrics_port=Port.EXPORTER.value,
        pod=_pod(scope, settings, Component.REDIS, files, [_redis(scope, settings), exporter(settings, Port.REDIS)]),
        annotations=_annotations(settings),
        # A replica that has just joined is given time to catch up before the next pod goes.
        min_ready_seconds=10,
    )


def sentinel_nodes(stack: str, settings: Settings) -> NodeSetSpec:
    """Return the Sentinel set."""
    sentinel, scope = settings.sentinel, scope_of(stack, settings)
    conf = SentinelConf(
        set_name=scope.instance,
        quorum=sentinel.quorum,
        down_after=sentinel.down_after_seconds,
        failover_timeout=sentinel.failover_timeout_seconds,
        parallel_syncs=sentinel.parallel_syncs,
        tls=tls_of(settings),
    )
    files = {SENTINEL_CONF: sentinel_conf(conf)} | scripts(Component.SENTINEL)
    containers = [_sentinel(scope, settings), exporter(settings, Port.SENTINEL)]
    return NodeSetSpec(
        scope=scope,
        component=Component.SENTINEL,
        replicas=sentinel.replicas,
        storage=sentinel.storage,
        storage_class=settings.storage_class,
        files=files,
        ports={"sentinel": Port.SENTINEL.value},
        metrics_port=Port.EXPORTER.value,
        pod=_pod(scope, settings, Component.SENTINEL, files, containers),
        annotations=_annotations(settings),
        min_ready_seconds=5,
    )


def tls_of(settings: Settings) -> Tls | None:
    """Return what the configuration texts say about TLS; None where the stack does not encrypt."""
    return Tls(client_auth=settings.tls.client_auth) if settings.tls.enabled else None


def _annotations(settings: Settings) -> dict[str, str]:
    return {TLS_VERSION: settings.tls.version} if settings.tls.enabled else {}


def scripts(component: Component) -> dict[str, str]:
    """Return the shell scripts of a component and what they share, by file name."""
    own = [script for script in Script if script.startswith(f"{component}-")]
    return {name.value: (_SCRIPTS / name).read_text(encoding="utf-8") for name in (*own, Script.ASK)}


def script_environment(scope: Scope, settings: Settings, conf_file: str) -> dict[str, str]:
    """Return what the scripts read, apart from the pod's name; the local environment sets the same variables."""
    encrypted: dict[str, str] = {ScriptEnv.TLS_DIR: TLS_DIR} if settings.tls.enabled else {}
    return {
        ScriptEnv.SET: scope.instance,
        ScriptEnv.SELF: host("$(POD_NAME)", scope.namespace),
        ScriptEnv.REDIS_HOSTS: " ".join(redis_hosts(settings)),
        ScriptEnv.REDIS_PORT: str(Port.REDIS.value),
        ScriptEnv.SENTINEL_HOSTS: " ".join(sentinel_hosts(settings)),
        ScriptEnv.SENTINEL_PORT: str(Port.SENTINEL.value),
        ScriptEnv.DATA_DIR: DATA_DIR,
        ScriptEnv.RUN_DIR: RUN_DIR,
        ScriptEnv.CONF_FILE: f"{FILES_DIR}/{conf_file}",
        ScriptEnv.SECRET_DIR: SECRET_DIR,
        ScriptEnv.RESTORE_DIR: RESTORE_DIR,
        **encrypted,
    }


def exporter(settings: Settings, port: Port) -> ContainerArgsDict:
    """Return the redis_exporter sidecar for the server at ``port`` of the same pod.

    The connection time-out is below the scrape time-out: else a hung Redis makes the whole scrape fail, and
    ``redis_up`` is absent instead of 0.
    """
    tls = settings.tls.enabled
    user = ["-redis.user", RedisUser.EXPORTER.value] if port is Port.REDIS else []
    times = [*(BackupKey if settings.backup.enabled else ()), *(WARMED_ON_TIME if settings.warmup.enabled else ())]
    if port is Port.REDIS and times:
        user += ["-check-single-keys", ",".join(f"db0={key}" for key in times)]
    flags = ["-redis.addr", exporter_address(port, tls=tls), "-connection-timeout", "1s", "-config-command", "-"]
    flags += ["-redis.password-file", f"{EXPORTER_DIR}/{EXPORTER_AUTH_FILE}"]
    flags += ["-web.listen-address", f":{Port.EXPORTER.value}", *user, *(exporter_tls(TLS_DIR) if tls else ())]
    sidecar = workloads.container("exporter", settings.exporter, command=["/redis_exporter", *flags])
    sidecar["ports"] = [{"name": "metrics", "container_port": Port.EXPORTER.value, "protocol": "TCP"}]
    passwords: VolumeMountArgsDict = {"name": "exporter", "mount_path": EXPORTER_DIR, "read_only": True}
    sidecar["volume_mounts"] = [passwords, _tls_mount()] if tls else [passwords]
    sidecar["startup_probe"] = workloads.http_probe("/health", "metrics", period=1, failures=60)
    sidecar["readiness_probe"] = workloads.http_probe("/health", "metrics", period=10, failures=3)
    sidecar["liveness_probe"] = workloads.http_probe("/health", "metrics", period=10, failures=6)
    return sidecar


def _redis(scope: Scope, settings: Settings) -> ContainerArgsDict:
    redis = workloads.container("redis", settings.redis, command=_script(Script.REDIS_START))
    redis["env"] = [
        workloads.pod_name_variable("POD_NAME"),
        *workloads.environment(script_environment(scope, settings, REDIS_CONF)),
    ]
    redis["ports"] = [{"name": "redis", "container_port": Port.REDIS.value, "protocol": "TCP"}]
    redis["volume_mounts"] = _mounts(settings)
    redis["lifecycle"] = {"pre_stop": {"exec_": {"command": _script(Script.REDIS_STOP)}}}
    _add_probes(redis, Script.REDIS_PROBE)
    return redis


def _sentinel(scope: Scope, settings: Settings) -> ContainerArgsDict:
    sentinel = workloads.container("sentinel", settings.sentinel, command=_script(Script.SENTINEL_START))
    sentinel["env"] = [
        workloads.pod_name_variable("POD_NAME"),
        *workloads.environment(script_environment(scope, settings, SENTINEL_CONF)),
    ]
    sentinel["ports"] = [{"name": "sentinel", "container_port": Port.SENTINEL.value, "protocol": "TCP"}]
    sentinel["volume_mounts"] = _mounts(settings)
    _add_probes(sentinel, Script.SENTINEL_PROBE)
    return sentinel


def _add_probes(container: ContainerArgsDict, script: Script) -> None:
    """Add the probes: 10 minutes to load the data, a restart only after a minute without any answer."""
    container["startup_probe"] = workloads.exec_probe(_script(script, "startup"), period=5, failures=120, timeout=5)
    container["liveness_probe"] = workloads.exec_probe(_script(script, "liveness"), period=10, failures=6, timeout=5)
    container["readiness_probe"] = workloads.exec_probe(_script(script, "readiness"), period=5, failures=3, timeout=5)


def _script(script: Script, *arguments: str) -> list[str]:
    return ["sh", f"{FILES_DIR}/{script.value}", *arguments]


def _mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    return [
        {"name": topology.CLAIM, "mount_path": DATA_DIR},
        {"name": "run", "mount_path": RUN_DIR},
        {"name": "files", "mount_path": FILES_DIR, "read_only": True},
        {"name": "secrets", "mount_path": SECRET_DIR, "read_only": True},
        {"name": "restore", "mount_path": RESTORE_DIR, "read_only": True},
        *([_tls_mount()] if settings.tls.enabled else []),
    ]


def _tls_mount() -> VolumeMountArgsDict:
    return {"name": "tls", "mount_path": TLS_DIR, "read_only": True}


def _pod(
    scope: Scope,
    settings: Settings,
    component: Component,
    files: dict[str, str],
    containers: Sequence[ContainerArgsDict],
) -> PodSpecArgsDict:
    is_redis = component is Component.REDIS
    keys = PASSWORD_FILES if is_redis else SENTINEL_KEYS
    pod: PodSpecArgsDict = {
        "service_account_name": component.value,
        "automount_service_account_token": False,
        # Off: the Service redis-0 would set REDIS_0_PORT=tcp://... in each container, and redis_exporter reads REDIS_*.
        "enable_service_links": False,
        "security_context": workloads.pod_security(),
        "termination_grace_period_seconds": REDIS_GRACE if is_redis else SENTINEL_GRACE,
        "affinity": workloads.affinity(scope, component, settings.spread),
        "topology_spread_constraints": workloads.zone_spread(scope, component, settings.spread),
        "containers": list(containers),
        "volumes": [
            workloads.memory_volume("run", "8Mi"),
            workloads.config_volume("files", node_sets.files_name(component, files), workloads.SCRIPT_MODE),
            workloads.password_volume("secrets", settings.secret_name, keys),
            {"name": "restore", "config_map": {"name": RESTORE_CONFIG_MAP, "optional": True}},
            workloads.secret_volume("exporter", settings.secret_name, [EXPORTER_AUTH_FILE]),
            *(
                [workloads.secret_volume("tls", settings.tls.secret_name, list(TlsFile))]
                if settings.tls.enabled
                else []
            ),
        ],
    }
    if settings.priority.class_name:
        pod["priority_class_name"] = settings.priority.class_name
    return pod
