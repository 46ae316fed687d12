"""The Pulumi program: configuration in, one environment out.

The configuration is read here, once, and becomes frozen settings before the first resource is registered; components
take settings and never read configuration. No resource is declared inside an ``apply``, so a preview shows them all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec
import pulumi
from pulumi.runtime.config import CONFIG, get_config_env
from pulumi_kubernetes import Provider
from pulumi_kubernetes.core.v1 import Namespace
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from cacheclient import strict
from cacheclient.contract import APP_NAME, DASHBOARD_UIDS, Label, Port, RedisUser, set_name
from infra import cache_api, clients, stack_files
from infra.backups import Backups
from infra.monitoring import Monitoring
from infra.network import Policies
from infra.redis_ha import RedisHA
from infra.redis_pods import scope_of
from infra.settings import Settings, parse
from infra.topology import sentinel_hosts
from infra.warmers import Warmers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.workloads import Scope

_POD_SECURITY: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def deploy() -> None:
    """Declare the environment of the current stack.

    Raises:
        pulumi.RunError: if the configuration is unusable, with every fault in it; nothing has been registered then.
    """
    stack = pulumi.get_stack()
    try:
        settings = parse(stack, decode(stack_files.own_keys(_configuration(), source=f"stack {stack}")))
    except ValueError as error:
        raise pulumi.RunError(str(error)) from error
    scope = scope_of(stack, settings)
    # Explicit, so that no ambient kubeconfig decides where this lands. A Secret changes in place: its name is fixed,
    # because applications refer to it. So do the dashboards; the ConfigMaps that pods mount are named by their content.
    provider = Provider(
        "cluster",
        context=settings.context,
        namespace=settings.namespace,
        cluster_identifier=settings.context,
        enable_secret_mutable=True,
        enable_config_map_mutable=True,
    )
    needed: list[pulumi.Resource] = [_namespace(settings, provider)] if settings.manage_namespace else []
    if settings.priority.value:
        needed.append(_priority_class(scope, settings, provider))
    opts = pulumi.ResourceOptions(providers=[provider], depends_on=needed)
    # All this before the pods, so that none is ever open, unseen or without backups, and so that a refused destroy has
    # not removed it already: the engine first deletes what nothing depends on. For the same reason protection covers
    # the whole set, not only its volumes: the service would be stopped before the volumes' turn came to refuse.
    first: list[pulumi.Resource] = []
    if settings.network.policies:
        first.append(Policies("policies", scope, settings, opts=opts))
    if settings.monitoring.enabled:
        first.append(Monitoring("monitoring", scope, settings, opts=opts))
    if settings.backup.enabled:
        first.append(Backups("backups", stack, settings, opts=opts))
    guarded = pulumi.ResourceOptions(depends_on=first, protect=settings.protect)
    ha = RedisHA("redis-ha", stack, settings, opts=pulumi.ResourceOptions.merge(opts, guarded))
    # After the set, without which they have nothing to serve. Nothing depends on them, so the engine would delete them
    # first, and only then refuse to destroy the set: they are protected like it.
    after = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[ha], protect=settings.protect))
    if settings.api.enabled:
        cache_api.CacheApi("cache-api", stack, settings, opts=after)
    if settings.warmup.enabled:
        Warmers("warmers", stack, settings, opts=after)
    for name, value in exports(stack, settings, ha.sentinel_address).items():
        pulumi.export(name, value)


def decode(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return configuration values as the stack file holds them; the engine hands all of them over as texts.

    A text that cannot be decoded stays as it is: the settings refuse it with its path.
    """
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(Settings)}
    return {key: _decoded(value, kinds.get(key)) for key, value in texts.items()}


def _decoded(value: object, kind: object) -> object:
    structured = strict.group_type(kind) is not None or bool in get_args(kind)
    if not isinstance(value, str) or not structured:
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def exports(stack: str, settings: Settings, sentinel_address: str) -> dict[str, Any]:
    """Return what applications need to connect: names and addresses, never a password."""
    return {
        "setName": set_name(stack),
        "namespace": settings.namespace,
        "sentinelAddress": sentinel_address,
        "sentinelAddresses": [f"{host}:{Port.SENTINEL.value}" for host in sentinel_hosts(settings)],
        "redisPort": Port.REDIS.value,
        "secretName": settings.secret_name,
        "username": RedisUser.APP.value,
        "passwordKey": RedisUser.APP.value,
        "urlScheme": "rediss+sentinel" if settings.tls.enabled else "redis+sentinel",
        "tlsSecretName": settings.tls.secret_name if settings.tls.enabled else "",
        "dashboardUids": dict(DASHBOARD_UIDS),
        "clientEnvironment": clients.environment(stack, settings),
        "apiAddress": cache_api.address(settings) if settings.api.enabled else "",
    }


def _configuration() -> dict[str, Any]:
    # pulumi.Config can look a key up but not list the keys, and an unknown key must be refused.
    return CONFIG.get() or get_config_env()


def _priority_class(scope: Scope, settings: Settings, provider: Provider) -> PriorityClass:
    return PriorityClass(
        "priority",
        metadata={
            "name": settings.priority.class_name,
            "labels": {Label.PART_OF.value: APP_NAME, Label.INSTANCE.value: scope.instance},
        },
        value=settings.priority.value,
        description=f"The pods of the cache {scope.instance}.",
        opts=pulumi.ResourceOptions(provider=provider),
    )


def _namespace(settings: Settings, provider: Provider) -> Namespace:
    return Namespace(
        "namespace",
        metadata={"name": settings.namespace, "labels": {Label.PART_OF.value: APP_NAME, **_POD_SECURITY}},
        opts=pulumi.ResourceOptions(provider=provider, protect=settings.protect),
    )
