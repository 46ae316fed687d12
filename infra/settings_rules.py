"""Rules between settings: combinations that are each allowed alone and together lose data or availability.

Every function is pure and yields one line per contradiction. ``contradictions`` is all of them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cacheclient.options import LockOptions
from cacheclient.strict import RefusedError
from infra import alert_limits
from infra.quantities import MIB, millicores, size_bytes
from infra.redis_conf import MAXMEMORY_SHARE, maxmemory_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.settings_pods import Container
    from infra.settings_schema import Settings

# A snapshot or an AOF rewrite forks, and each page written meanwhile exists twice. Measured on 1 GiB of entries under a
# steady write load: 105 to 292 MiB, so 30 % is reserved. Client buffers and the server itself take the rest.
FORK_HEADROOM: Final = 0.30
SERVER_BYTES: Final = 32 * MIB
# While the AOF is rewritten the old base, its increments and the new base are on the volume; a snapshot comes on top.
STORAGE_PER_MAXMEMORY: Final = 3
# The API at rest takes 108 MiB, its parent process included. L1 is bounded by the encoded size of its values; as
# objects they take about twice.
API_BYTES: Final = 128 * MIB
L1_OVERHEAD: Final = 2


def contradictions(settings: Settings) -> Iterator[str]:
    """Yield one line, path first, per rule that the settings break; a rule on a refused value says nothing."""
    for rule in RULES:
        try:
            yield from rule(settings)
        except RefusedError:
            continue


def containers(settings: Settings) -> dict[str, Container]:
    """Return the container settings by the name of their group."""
    return {
        "redis": settings.redis,
        "sentinel": settings.sentinel,
        "exporter": settings.exporter,
        "backup": settings.backup,
        "api": settings.api,
        "warmup": settings.warmup,
    }


def quorum(settings: Settings) -> Iterator[str]:
    """Require a majority as quorum, or two halves of a partition may both declare the master down."""
    sentinel, redis = settings.sentinel, settings.redis
    half = sentinel.replicas // 2
    if not half < sentinel.quorum <= sentinel.replicas:
        yield (
            f"sentinel.quorum: {sentinel.quorum} of {sentinel.replicas} Sentinels is not allowed; more than half of "
            f"sentinel.replicas and not more than all: {half + 1} to {sentinel.replicas}"
        )
    if sentinel.replicas % 2 == 0:
        yield f"sentinel.replicas: {sentinel.replicas} is not allowed; odd: an even number survives no more losses"
    if redis.min_replicas_to_write >= redis.replicas:
        yield (
            f"redis.minReplicasToWrite: {redis.min_replicas_to_write} is not allowed; less than redis.replicas "
            f"({redis.replicas}), which counts the master: 0 to {redis.replicas - 1}"
        )


def timing(settings: Settings) -> Iterator[str]:
    """Order the time-outs: a cut-off master stops accepting writes before its successor begins."""
    sentinel, redis = settings.sentinel, settings.redis
    if sentinel.failover_timeout_seconds <= sentinel.down_after_seconds:
        yield (
            f"sentinel.failoverTimeoutSeconds: {sentinel.failover_timeout_seconds} is not allowed; more than "
            f"sentinel.downAfterSeconds ({sentinel.down_after_seconds}), or each attempt is abandoned before it can end"
        )
    if redis.min_replicas_to_write and redis.min_replicas_max_lag_seconds >= sentinel.down_after_seconds:
        yield (
            f"redis.minReplicasMaxLagSeconds: {redis.min_replicas_max_lag_seconds} is not allowed; less than "
            f"sentinel.downAfterSeconds ({sentinel.down_after_seconds}), or two masters accept writes at once"
        )


def memory(settings: Settings) -> Iterator[str]:
    """Require that data, a fork's copies, the backlog and the server fit, or the kernel kills the container."""
    redis = settings.redis
    try:
        data = maxmemory_bytes(size_bytes(redis.memory))
    except ValueError as error:
        yield f"redis.memory: {redis.memory} is not allowed; {error}"
        return
    need = int(data * (1 + FORK_HEADROOM)) + size_bytes(redis.repl_backlog) + SERVER_BYTES
    if need > size_bytes(redis.memory):
        yield (
            f"redis.memory: {redis.memory} is not allowed; with it, {-(-need // MIB)}Mi are needed: maxmemory "
            f"{data // MIB}Mi, {FORK_HEADROOM:.0%} of that for forks, redis.replBacklog {redis.repl_backlog}, "
            f"{SERVER_BYTES // MIB}Mi for the server"
        )


def storage(settings: Settings) -> Iterator[str]:
    """Require room for the worst moment of a rewrite: on a full volume Redis refuses every write."""
    redis = settings.redis
    need = int(STORAGE_PER_MAXMEMORY * MAXMEMORY_SHARE * size_bytes(redis.memory))
    if size_bytes(redis.storage) < need:
        yield (
            f"redis.storage: {redis.storage} is not allowed; at least {-(-need // MIB)}Mi, {STORAGE_PER_MAXMEMORY} "
            "times maxmemory: an AOF rewrite keeps the old and the new file beside a snapshot"
        )


def client(settings: Settings) -> Iterator[str]:
    """Require that L1 does not outlive L2, whose entries it shows."""
    wanted = settings.client
    if wanted.l1_ttl_seconds > wanted.l2_ttl_seconds:
        yield (
            f"client.l1TtlSeconds: {wanted.l1_ttl_seconds} is not allowed; at most client.l2TtlSeconds "
            f"({wanted.l2_ttl_seconds}): an entry never lives longer in L1 than in L2"
        )


def api(settings: Settings) -> Iterator[str]:
    """Require what the API needs: an image, somebody who may use it, and room for L1 beside the process."""
    wanted = settings.api
    if bool(wanted.jwt_config_map) != bool(wanted.jwt_audience and wanted.jwt_issuer):
        yield (
            f"api.jwtConfigMap: {wanted.jwt_config_map!r} is not allowed with api.jwtAudience {wanted.jwt_audience!r} "
            f"and api.jwtIssuer {wanted.jwt_issuer!r}; all three, or none"
        )
    if not wanted.enabled:
        return
    if wanted.warms and not settings.warmup.enabled:
        yield "api.warms: True is not allowed without warmup.enabled, whose plan file it uses"
    if not wanted.image:
        yield f"api.image: '' is not allowed with api.enabled; {_NEEDED['image']}"
    need = API_BYTES + int(L1_OVERHEAD * size_bytes(settings.client.l1_memory))
    if size_bytes(wanted.memory) < need:
        yield (
            f"api.memory: {wanted.memory} is not allowed; at least {-(-need // MIB)}Mi with client.l1Memory "
            f"{settings.client.l1_memory}: {API_BYTES // MIB}Mi for the process, and L1 as Python objects"
        )


def warmup(settings: Settings) -> Iterator[str]:
    """Require what the warm-up jobs need: an image, and leases that outlast what they may not have heard yet."""
    if not settings.warmup.enabled:
        return
    if not settings.warmup.image:
        yield f"warmup.image: '' is not allowed with warmup.enabled; {_NEEDED['image']}"
    lease, staleness = LockOptions().lease, settings.client.max_staleness_seconds
    if staleness >= lease:
        yield (
            f"client.maxStalenessSeconds: {staleness} is not allowed with warmup.enabled; less than {lease:g}: a "
            "warm-up has to hear of an invalidation before its tombstone expires"
        )


def backup(settings: Settings) -> Iterator[str]:
    """Require what the backup jobs need to do their work: a place, an image, and room for the largest data set."""
    wanted = settings.backup
    if bool(wanted.encryption_secret) != bool(wanted.encryption_key_id):
        yield (
            f"backup.encryptionKeyId: {wanted.encryption_key_id!r} is not allowed with backup.encryptionSecret "
            f"{wanted.encryption_secret!r}; both, or neither: the key's name in the Secret"
        )
    if not wanted.enabled:
        return
    for name, value in (("bucket", wanted.bucket), ("image", wanted.image)):
        if not value:
            yield f"backup.{name}: '' is not allowed with backup.enabled; {_NEEDED[name]}"
    data = int(MAXMEMORY_SHARE * size_bytes(settings.redis.memory))
    for key, size, factor, why in (
        ("scratch", wanted.scratch, 2, "a snapshot and its packed copy lie there together"),
        ("drillMemory", wanted.drill_memory, 1 + FORK_HEADROOM, "the drill loads a whole backup"),
    ):
        if size_bytes(size) < data * factor:
            yield (
                f"backup.{key}: {size} is not allowed; at least {-(-int(data * factor) // MIB)}Mi with redis.memory "
                f"{settings.redis.memory}: {why}"
            )


_NEEDED: Final = {
    "bucket": "the name of the bucket for the backups; it must exist",
    "image": "an image that the Dockerfile built, such as registry.example.com/cachestack:0.1.0@sha256:...",
}


def cpu(settings: Settings) -> Iterator[str]:
    """Refuse a request above its limit, as Kubernetes would later, pod by pod."""
    for name, container in containers(settings).items():
        with suppress(RefusedError):
            if millicores(container.cpu_request) > millicores(container.cpu_limit):
                limit = f"{name}.cpuLimit ({container.cpu_limit})"
                yield f"{name}.cpuRequest: {container.cpu_request} is not allowed; at most {limit}"


def priority(settings: Settings) -> Iterator[str]:
    """Require a name for a PriorityClass that is to be declared, and not one that Kubernetes keeps for itself."""
    name, value = settings.priority.class_name, settings.priority.value
    if value and (not name or name.startswith("system-")):
        yield (
            f"priority.className: {name!r} is not allowed; priority.value ({value}) declares a class, which needs a "
            "name that does not begin with system-"
        )


def application(settings: Settings) -> Iterator[str]:
    """Require that an application which is to be rolled can be found."""
    given = settings.application
    if bool(given.deployment) != bool(given.namespace):
        yield (
            f"application.deployment: {given.deployment!r} is not allowed with application.namespace "
            f"{given.namespace!r}; both, or neither: the Deployment that is rolled, and where it is"
        )
    for name, value in (("image", given.image), ("container", given.container)):
        if value and not given.deployment:
            yield f"application.{name}: {value!r} is not allowed without application.deployment, which runs it"


def addresses(settings: Settings) -> Iterator[str]:
    """Refuse addresses that are none, which no pattern finds: 300.0.0.0/8, 10.0.0.1/8, a port of 70000."""
    for key, cidrs in (
        ("backup.objectStoreCidrs", settings.backup.object_store_cidrs),
        ("warmup.sourceCidrs", settings.warmup.source_cidrs),
    ):
        for cidr in cidrs:
            try:
                ip_network(cidr)
            except ValueError as error:
                yield f"{key}: {cidr!r} is not allowed; an address range such as 10.0.0.0/8: {error}"
    try:
        urlsplit(settings.backup.endpoint).port  # noqa: B018  reading it checks it
    except ValueError as error:
        yield f"backup.endpoint: {settings.backup.endpoint!r} is not allowed; {error}"


_CRON_FIELDS: Final = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


def schedules(settings: Settings) -> Iterator[str]:
    """Refuse a time that never comes, as the API server would later."""
    backups, warmups = settings.backup, settings.warmup
    for key, schedule in (
        ("backup.schedule", backups.schedule),
        ("backup.drillSchedule", backups.drill_schedule),
        ("warmup.fullSchedule", warmups.full_schedule),
        ("warmup.hotSchedule", warmups.hot_schedule),
    ):
        for (name, (least, most)), text in zip(_CRON_FIELDS.items(), schedule.split(), strict=True):
            values = re.sub(r"/[0-9]+", "", text)  # a step may be longer than the field
            if not re.fullmatch(_CRON_FIELD, text) or any(
                not least <= int(number) <= most for number in re.findall("[0-9]+", values)
            ):
                yield f"{key}: {schedule!r} is not allowed; {text!r} is no {name} ({least} to {most})"


_CRON_FIELD: Final = r"(?x) ITEM(,ITEM)*".replace("ITEM", r"(\*|[0-9A-Z]+(-[0-9A-Z]+)?)(/[1-9][0-9]*)?")


RULES: Final = (
    quorum, timing, memory, storage, backup, client, api, warmup, cpu, priority, addresses, schedules, application,
    alert_limits.faults,
)  # fmt: skip
