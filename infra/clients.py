"""The cache clients that the program itself deploys: how they find the set, as whom, and with which options.

Applications are configured alike; ``clientEnvironment`` of the program's outputs is what they would set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cacheclient.contract import SENTINEL_AUTH_FILE, Env, Port, RedisUser, TlsFile
from cacheclient.options import CacheOptions, L1Options, L2Options, SyncOptions
from infra import workloads
from infra.quantities import size_bytes
from infra.redis_pods import SECRET_DIR, TLS_DIR, scope_of
from infra.topology import client_url, sentinel_hosts

if TYPE_CHECKING:
    from pulumi_kubernetes.core.v1 import VolumeArgsDict, VolumeMountArgsDict

    from infra.settings import Settings
    from infra.settings_schema import Client

PASSWORDS: Final = (RedisUser.APP.value, SENTINEL_AUTH_FILE)


def options(client: Client) -> CacheOptions:
    """Return the options of a client; what the stack does not say keeps the library's default."""
    return CacheOptions(
        l1=L1Options(
            max_entries=client.l1_max_entries, max_bytes=size_bytes(client.l1_memory), ttl=float(client.l1_ttl_seconds)
        ),
        l2=L2Options(ttl=float(client.l2_ttl_seconds)),
        sync=SyncOptions(max_staleness=float(client.max_staleness_seconds)),
    )


def url(stack: str, settings: Settings) -> str:
    """Return the URL by which a client finds the master."""
    hosts = (f"{host}:{Port.SENTINEL.value}" for host in sentinel_hosts(settings))
    return client_url(hosts, scope_of(stack, settings).instance, tls=settings.tls.enabled)


def environment(stack: str, settings: Settings) -> dict[str, str]:
    """Return the variables of a client (``contract.Env``)."""
    client, tls = settings.client, settings.tls
    files: dict[Env, str] = {
        Env.PASSWORD_FILE: f"{SECRET_DIR}/{RedisUser.APP.value}",
        Env.SENTINEL_PASSWORD_FILE: f"{SECRET_DIR}/{SENTINEL_AUTH_FILE}",
    }
    if tls.enabled:
        files[Env.CA_FILE] = f"{TLS_DIR}/{TlsFile.AUTHORITY.value}"
    if tls.enabled and tls.client_auth:
        files[Env.CERT_FILE] = f"{TLS_DIR}/{TlsFile.CERTIFICATE.value}"
        files[Env.KEY_FILE] = f"{TLS_DIR}/{TlsFile.KEY.value}"
    return {
        Env.URL.value: url(stack, settings),
        Env.NAMESPACE.value: client.namespace,
        Env.VERSION.value: str(client.version),
        **{name.value: path for name, path in files.items()},
        **options(client).to_env(),
    }


def volumes(settings: Settings) -> list[VolumeArgsDict]:
    """Return what a client reads: its passwords, and with TLS the authority and a certificate of its own."""
    found = [workloads.secret_volume("secrets", settings.secret_name, PASSWORDS)]
    if settings.tls.enabled:
        keys = list(TlsFile) if settings.tls.client_auth else [TlsFile.AUTHORITY]
        found.append(workloads.secret_volume("tls", settings.tls.secret_name, keys))
    return found


def mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    """Return where a client reads it."""
    found: list[VolumeMountArgsDict] = [{"name": "secrets", "mount_path": SECRET_DIR, "read_only": True}]
    if settings.tls.enabled:
        found.append({"name": "tls", "mount_path": TLS_DIR, "read_only": True})
    return found
