"""Names of what runs in the cluster, as manifests, Prometheus and Grafana write them."""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Final

APP_NAME: Final = "cachestack"
UID: Final = 10999  # user and group of every container
API_FACTORY: Final = "cacheclient.api:app"  # what an ASGI server is told to call for the application


class Port(IntEnum):
    """TCP ports inside the cluster."""

    REDIS = 6379
    SENTINEL = 26379
    EXPORTER = 9121
    API = 8080


class Job(StrEnum):
    """Values of the Prometheus ``job`` label, which every rule and panel selects by."""

    REDIS = "redis"
    SENTINEL = "redis-sentinel"
    API = "cache-api"


class Component(StrEnum):
    """Values of the ``app.kubernetes.io/component`` label; also names of StatefulSets, Deployments and CronJobs."""

    REDIS = "redis"
    SENTINEL = "sentinel"
    API = "cache-api"
    BACKUP = "cache-backup"
    WARMER = "cache-warmer"


class Label(StrEnum):
    """Label keys on every object. Selectors use the first three; the others may change during an object's life."""

    NAME = "app.kubernetes.io/name"
    INSTANCE = "app.kubernetes.io/instance"
    COMPONENT = "app.kubernetes.io/component"
    PART_OF = "app.kubernetes.io/part-of"
    MANAGED_BY = "app.kubernetes.io/managed-by"
    VERSION = "app.kubernetes.io/version"


# Dashboard uids are stable: links, alerts and the provisioning files name them.
DASHBOARD_UIDS: Final = {
    "hit-rate": "cache-1",
    "latency": "cache-2",
    "redis": "cache-3",
    "invalidation": "cache-4",
    "pods": "cache-5",
    "cost": "cache-6",
}

_STACK = re.compile(r"[a-z][a-z0-9-]{0,30}")


def set_name(stack: str) -> str:
    """Return the Sentinel set name of a stack: ``cache-<stack>``, unique so that two environments can never merge.

    Raises:
        ValueError: if ``stack`` is not lower-case letters, digits and hyphens, starting with a letter.
    """
    if not _STACK.fullmatch(stack):
        raise ValueError(
            f"stack name {stack!r}: at most 31 lower-case letters, digits and hyphens, starting with a letter"
        )
    return f"cache-{stack}"
