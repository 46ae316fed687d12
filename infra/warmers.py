"""The CronJobs of the warm-ups: everything once a night, the most used every few hours. The specs are pure.

They run ``cachestack warm`` from the project's own image, as clients of the cache, with the plan file of a Secret and
what it refers to: further files of that Secret, and those of a volume. Each goes on where one was that was killed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import pulumi
from pulumi_kubernetes.batch.v1 import CronJob
from pulumi_kubernetes.core.v1 import ServiceAccount

from cacheclient.contract import Component, Env
from infra import clients, workloads
from infra.cron_jobs import cron_job_spec
from infra.redis_pods import scope_of

if TYPE_CHECKING:
    from pulumi_kubernetes.core.v1 import ContainerArgsDict, PodSpecArgsDict, VolumeArgsDict, VolumeMountArgsDict

    from infra.settings import Settings

PLAN_DIR: Final = "/etc/cachestack/warm"
PLAN_KEY: Final = "warm.toml"
DATA_DIR: Final = "/data"
GRACE: Final = 60  # seconds beyond the plan's own deadline, and to stop in
# Seconds that a Job waits for another warm-up of its plan: the lock of one that was killed outlives it by 30.
WAIT: Final = 45
# A warm-up has no readers, so no L1; and it waits for Redis longer than a request may.
_L2_TIMEOUT: Final = 2.0


def environment(stack: str, settings: Settings) -> dict[str, str]:
    """Return the variables of the jobs: a client's, and where the plan file is."""
    options = clients.options(settings.client)
    patient = dataclasses.replace(
        options,
        l1=dataclasses.replace(options.l1, max_entries=0),
        l2=dataclasses.replace(options.l2, timeout=_L2_TIMEOUT),
    )
    return clients.environment(stack, settings) | patient.to_env() | plan_variables()


def plan_variables() -> dict[str, str]:
    """Return the variable that says where the plan file is."""
    return {Env.PLAN_FILE.value: f"{PLAN_DIR}/{PLAN_KEY}"}


def container(stack: str, settings: Settings, plan: str) -> ContainerArgsDict:
    """Return the container that carries out ``plan``."""
    made = workloads.container("warmer", settings.warmup, command=["python", "-m", "cacheclient"])
    made["args"] = ["warm", plan, "--resume", "--wait", str(WAIT)]
    made["env"] = workloads.environment(environment(stack, settings))
    made["volume_mounts"] = _mounts(settings)
    return made


def plan_mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    """Return where the plan file is read, and what it refers to."""
    found: list[VolumeMountArgsDict] = [{"name": "plan", "mount_path": PLAN_DIR, "read_only": True}]
    if settings.warmup.data_claim:
        found.append({"name": "data", "mount_path": DATA_DIR, "read_only": True})
    return found


def plan_volumes(settings: Settings) -> list[VolumeArgsDict]:
    """Return the volumes of ``plan_mounts``."""
    wanted = settings.warmup
    secret = {"secret_name": wanted.secret_name, "default_mode": workloads.SECRET_MODE}
    found: list[VolumeArgsDict] = [{"name": "plan", "secret": secret}]  # type: ignore[typeddict-item]  # every key: the plan says which
    if wanted.data_claim:
        found.append({"name": "data", "persistent_volume_claim": {"claim_name": wanted.data_claim, "read_only": True}})
    return found


def _mounts(settings: Settings) -> list[VolumeMountArgsDict]:
    scratch: VolumeMountArgsDict = {"name": "tmp", "mount_path": "/tmp"}  # noqa: S108
    return [*clients.mounts(settings), scratch, *plan_mounts(settings)]


def _volumes(settings: Settings) -> list[VolumeArgsDict]:
    return [*clients.volumes(settings), workloads.memory_volume("tmp", "16Mi"), *plan_volumes(settings)]


def _pod(settings: Settings, made: ContainerArgsDict) -> PodSpecArgsDict:
    return {
        "service_account_name": Component.WARMER.value,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": workloads.pod_security(),
        "termination_grace_period_seconds": GRACE,
        "restart_policy": "Never",
        "containers": [made],
        "volumes": _volumes(settings),
    }


class Warmers(pulumi.ComponentResource):
    """Service account and CronJobs of one environment's warm-ups."""

    def __init__(self, name: str, stack: str, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:warmup:Warmers", name, None, opts)
        scope, wanted = scope_of(stack, settings), settings.warmup
        account = ServiceAccount(
            Component.WARMER.value,
            metadata=workloads.metadata(scope, Component.WARMER, Component.WARMER),
            automount_service_account_token=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        labels = workloads.pod_labels(scope, Component.WARMER)
        for plan, schedule, deadline in (
            ("full", wanted.full_schedule, wanted.full_deadline_seconds),
            ("hot", wanted.hot_schedule, wanted.hot_deadline_seconds),
        ):
            job, pod = f"{Component.WARMER}-{plan}", _pod(settings, container(stack, settings, plan))
            CronJob(
                job,
                metadata=workloads.metadata(scope, Component.WARMER, job),
                spec=cron_job_spec(labels, schedule, deadline + WAIT + GRACE, pod),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[account]),
            )
        self.register_outputs({})
