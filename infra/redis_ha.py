"""The component of the whole set: Redis, Sentinel, the Service for first contact, the Secret if the stack has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi
from pulumi_kubernetes.core.v1 import Secret, Service

from cacheclient.contract import Component, Port
from infra import workloads
from infra.credentials import secret_files
from infra.node_sets import NodeSet
from infra.redis_pods import redis_nodes, scope_of, sentinel_nodes
from infra.topology import host

if TYPE_CHECKING:
    from infra.settings import Settings


class RedisHA(pulumi.ComponentResource):
    """A Redis master with its replicas, and the Sentinels that replace it when it is lost.

    ``sentinel_address`` is where a client asks first; it then follows the announced addresses of the pods. There is no
    Service that always points to the master: such a Service keeps connections to the old one through a failover.
    """

    def __init__(self, name: str, stack: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:redis:RedisHA", name, None, opts)
        scope = scope_of(stack, settings)
        child = pulumi.ResourceOptions(parent=self)
        needed: list[pulumi.Resource] = []
        if settings.passwords is not None:
            # Taken out of the stack, it stays in the cluster: that is how a Secret is made to stand for itself, which a
            # rotation needs (infra.kubectl_rotation), and a set whose Secret is gone starts no pod any more.
            kept = pulumi.ResourceOptions(parent=self, retain_on_delete=True, protect=False)
            needed.append(
                Secret(
                    "auth",
                    metadata=workloads.metadata(scope, Component.REDIS, settings.secret_name),
                    type="Opaque",
                    string_data=secret_files(settings.passwords),  # the SDK marks it as secret
                    opts=kept,
                )
            )
        nodes = pulumi.ResourceOptions(parent=self, depends_on=needed)
        self.redis = NodeSet(Component.REDIS.value, redis_nodes(stack, settings), opts=nodes)
        self.sentinel = NodeSet(Component.SENTINEL.value, sentinel_nodes(stack, settings), opts=nodes)
        Service(
            "sentinel",
            metadata=workloads.metadata(scope, Component.SENTINEL, Component.SENTINEL.value),
            spec=workloads.service_spec(
                workloads.selector(scope, Component.SENTINEL), {"sentinel": Port.SENTINEL.value}
            ),
            opts=child,
        )
        self.sentinel_address = f"{host(Component.SENTINEL.value, scope.namespace)}:{Port.SENTINEL.value}"
        self.register_outputs({"sentinelAddress": self.sentinel_address})
