"""Names and addresses of a set's pods in the cluster: pure functions of the settings.

Each pod has a Service of its own name. Those names are what Redis and Sentinel announce, because they resolve as long
as the Service exists, also while the pod is away; the names behind a headless Service do not, and a Sentinel that
cannot resolve a name may go into TILT. They carry the namespace, so that clients in other namespaces resolve them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cacheclient.contract import Component, RedisUser

if TYPE_CHECKING:
    from collections.abc import Iterable

    from infra.settings import Settings

CLAIM: Final = "data"  # the volume claim of each pod: data-redis-0
DATA_DIR: Final = "/data"  # where a Redis pod mounts it
FILES_DIR: Final = "/etc/cachestack/files"
RESTORE_CONFIG_MAP: Final = "cache-restore"  # there only while a restore runs; every node mounts it, if it is there


def pod_names(component: Component, replicas: int) -> tuple[str, ...]:
    """Return the names a StatefulSet gives its pods: ``redis-0``, ``redis-1``, ..."""
    return tuple(f"{component}-{ordinal}" for ordinal in range(replicas))


def host(pod: str, namespace: str) -> str:
    """Return the address of a pod's own Service, resolvable in every namespace of the cluster."""
    return f"{pod}.{namespace}.svc"


def redis_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the addresses of the Redis pods, by ordinal."""
    return tuple(host(pod, settings.namespace) for pod in pod_names(Component.REDIS, settings.redis.replicas))


def sentinel_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the addresses of the Sentinel pods, by ordinal."""
    return tuple(host(pod, settings.namespace) for pod in pod_names(Component.SENTINEL, settings.sentinel.replicas))


def client_url(sentinels: Iterable[str], set_name: str, *, tls: bool) -> str:
    """Return the URL by which a client finds the master: every Sentinel (host:port), the set, and the user ``app``."""
    scheme = "rediss+sentinel" if tls else "redis+sentinel"
    return f"{scheme}://{RedisUser.APP.value}@{','.join(sentinels)}/{set_name}"
