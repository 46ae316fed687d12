"""The CronJobs of the backups: one every six hours, and a restore drill every week. The specs are pure.

They run ``python -m infra.jobs`` from the project's own image. A restore (``infra.jobs.cluster_set``) makes its Jobs
from the template here, so that it needs no credentials of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import pulumi
from pulumi_kubernetes.batch.v1 import CronJob
from pulumi_kubernetes.core.v1 import ServiceAccount

from cacheclient.contract import SENTINEL_AUTH_FILE, BackupEnv, Component, Port, RedisUser, ScriptEnv, TlsFile
from infra import workloads
from infra.cron_jobs import cron_job_spec
from infra.quantities import size_bytes
from infra.redis_pods import SECRET_DIR, TLS_DIR, scope_of
from infra.topology import redis_hosts, sentinel_hosts

if TYPE_CHECKING:
    from pulumi_kubernetes.core.v1 import ContainerArgsDict, PodSpecArgsDict, VolumeArgsDict, VolumeMountArgsDict

    from infra.settings import Settings

SCRATCH_DIR: Final = "/scratch"
STORE_DIR: Final = "/etc/cachestack/object-store"
KEY_DIR: Final = "/etc/cachestack/backup-keys"
ACTIVE_DEADLINE: Final = 1200  # seconds: a Job that runs for longer hangs


def environment(stack: str, settings: Settings) -> dict[str, str]:
    """Return what the jobs read: where the set is, where backups lie, how they are sealed and kept."""
    backup, scope = settings.backup, scope_of(stack, settings)
    where: dict[str, str] = {
        ScriptEnv.SET: scope.instance,
        ScriptEnv.REDIS_HOSTS: " ".join(redis_hosts(settings)),
        ScriptEnv.REDIS_PORT: str(Port.REDIS.value),
        ScriptEnv.SENTINEL_HOSTS: " ".join(sentinel_hosts(settings)),
        ScriptEnv.SENTINEL_PORT: str(Port.SENTINEL.value),
        ScriptEnv.SECRET_DIR: SECRET_DIR,
        BackupEnv.STACK: stack,
        BackupEnv.BUCKET: backup.bucket,
        BackupEnv.PREFIX: backup.prefix,
        BackupEnv.ENDPOINT: backup.endpoint,
        BackupEnv.REGION: backup.region,
        BackupEnv.COMPRESSION: backup.compression,
        BackupEnv.KEEP_DAYS: str(backup.keep_days),
        BackupEnv.KEEP_LAST: str(backup.keep_last),
        BackupEnv.SCRATCH_DIR: SCRATCH_DIR,
        "TMPDIR": SCRATCH_DIR,
    }
    if settings.tls.enabled:
        where[ScriptEnv.TLS_DIR] = TLS_DIR
    if backup.secret_name:
        where[BackupEnv.CREDENTIALS_DIR] = STORE_DIR
    if backup.encryption_secret:
        where |= {BackupEnv.KEY_DIR: KEY_DIR, BackupEnv.KEY_ID: backup.encryption_key_id}
    return {str(name): value for name, value in where.items() if value}


def job_container(stack: str, settings: Settings, *arguments: str, memory: str) -> ContainerArgsDict:
    """Return the container of a job; ``arguments`` are those of ``python -m infra.jobs``."""
    wanted = msgspec.structs.replace(settings.backup, memory=memory)
    made = workloads.container("job", wanted, command=["python", "-m", "infra.jobs"])
    made["args"] = list(arguments)
    made["env"] = workloads.environment(environment(stack, settings))
    made["resources"] = workloads.resources(wanted, size_bytes(wanted.scratch))
    made["volume_mounts"] = _mounts(settings)
    return made


def _mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    backup = settings.backup
    mounts: list[VolumeMountArgsDict] = [
        {"name": "scratch", "mount_path": SCRATCH_DIR},
        {"name": "secrets", "mount_path": SECRET_DIR, "read_only": True},
    ]
    if settings.tls.enabled:
        mounts.append({"name": "tls", "mount_path": TLS_DIR, "read_only": True})
    if backup.secret_name:
        mounts.append({"name": "object-store", "mount_path": STORE_DIR, "read_only": True})
    if backup.encryption_secret:
        mounts.append({"name": "keys", "mount_path": KEY_DIR, "read_only": True})
    return mounts


def _pod(settings: Settings, container: ContainerArgsDict) -> PodSpecArgsDict:
    backup = settings.backup
    volumes: list[VolumeArgsDict] = [
        workloads.scratch_volume("scratch", backup.scratch),
        workloads.secret_volume("secrets", settings.secret_name, [RedisUser.BACKUP.value, SENTINEL_AUTH_FILE]),
    ]
    if settings.tls.enabled:
        volumes.append(workloads.secret_volume("tls", settings.tls.secret_name, list(TlsFile)))
    if backup.secret_name:
        keys = ["access-key-id", "secret-access-key"]
        volumes.append(workloads.secret_volume("object-store", backup.secret_name, keys))
    if backup.encryption_secret:
        secret = {"secret_name": backup.encryption_secret, "default_mode": workloads.SECRET_MODE}
        volumes.append({"name": "keys", "secret": secret})  # type: ignore[typeddict-item]  # every key: old ones decrypt
    return {
        "service_account_name": Component.BACKUP.value,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": workloads.pod_security(),
        "restart_policy": "Never",
        "containers": [container],
        "volumes": volumes,
    }


class Backups(pulumi.ComponentResource):
    """Service account and CronJobs of one environment's backups."""

    def __init__(self, name: str, stack: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:backup:Backups", name, None, opts)
        scope, backup, child = scope_of(stack, settings), settings.backup, pulumi.ResourceOptions(parent=self)
        account = ServiceAccount(
            Component.BACKUP.value,
            metadata=workloads.metadata(scope, Component.BACKUP, Component.BACKUP),
            automount_service_account_token=False,
            opts=child,
        )
        labels = workloads.pod_labels(scope, Component.BACKUP)
        for job, schedule, memory, arguments in (
            (Component.BACKUP.value, backup.schedule, backup.memory, ("backup", "--kind", "scheduled")),
            (f"{Component.BACKUP}-drill", backup.drill_schedule, backup.drill_memory, ("drill",)),
        ):
            pod = _pod(settings, job_container(stack, settings, *arguments, memory=memory))
            CronJob(
                job,
                metadata=workloads.metadata(scope, Component.BACKUP, job),
                spec=cron_job_spec(labels, schedule, ACTIVE_DEADLINE, pod),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[account]),
            )
        self.register_outputs({})
