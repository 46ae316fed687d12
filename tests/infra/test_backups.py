"""The CronJobs of the backups: when they run, with what, and whom they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cacheclient.contract import BackupEnv, Component, Label, RedisUser
from infra.jobs import options
from infra.jobs.cli import parser
from infra.network import store_port
from infra.render import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.render import Rendered

BACKUP = {
    "enabled": True,
    "image": "registry.example.com/cachestack:0.1.0",
    "bucket": "backups",
    "endpoint": "http://store.example:8333",
    "secretName": "store",
    "encryptionSecret": "keys",
    "encryptionKeyId": "2026",
    "scratch": "1Gi",
}


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    return list(render("dev", values={"backup": BACKUP}).manifests.values())


def cron_jobs(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "CronJob"}


def pod_of(cron_job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = cron_job["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_backups_run_every_six_hours_and_a_drill_every_week_never_twice_at_once(
    manifests: list[dict[str, Any]],
) -> None:
    jobs = cron_jobs(manifests)
    assert jobs["cache-backup"]["schedule"] == "0 */6 * * *"
    assert jobs["cache-backup-drill"]["schedule"] == "30 3 * * 0"
    for job in jobs.values():
        assert (job["timeZone"], job["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
        assert job["startingDeadlineSeconds"] == 1800
        assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 1200
        assert pod_of(job)["automountServiceAccountToken"] is False


def test_the_commands_of_the_cron_jobs_are_commands_that_exist(manifests: list[dict[str, Any]]) -> None:
    for job in cron_jobs(manifests).values():
        (container,) = pod_of(job)["containers"]
        assert container["command"] == ["python", "-m", "infra.jobs"]
        assert callable(parser().parse_args(container["args"]).run)


def test_the_jobs_understand_the_environment_they_are_given(manifests: list[dict[str, Any]]) -> None:
    (container,) = pod_of(cron_jobs(manifests)["cache-backup"])["containers"]
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    read = options.read(parser().parse_args(container["args"]), environment)
    assert (read.folder.path, read.location.bucket) == ("cachestack/dev/", "backups")
    assert (read.keys.active, read.rule, read.compress) == ("2026", (7, 42), True)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    folders = {BackupEnv.SCRATCH_DIR, BackupEnv.CREDENTIALS_DIR, BackupEnv.KEY_DIR}
    assert {environment[name] for name in folders} <= mounted
    assert environment["CACHE_SECRET_DIR"] in mounted


def test_the_jobs_get_one_redis_password_and_room_for_a_snapshot(manifests: list[dict[str, Any]]) -> None:
    pod = pod_of(cron_jobs(manifests)["cache-backup"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {item["key"] for item in volumes["secrets"]["secret"]["items"]} == {RedisUser.BACKUP, "sentinel-auth"}
    assert volumes["scratch"]["emptyDir"] == {"sizeLimit": "1Gi"}
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["ephemeral-storage"] == "1536Mi"
    (drill,) = pod_of(cron_jobs(manifests)["cache-backup-drill"])["containers"]
    assert drill["resources"]["limits"]["memory"] == drill["resources"]["requests"]["memory"] == "2Gi"


def test_the_jobs_reach_both_sets_and_the_store_and_nobody_reaches_them(manifests: list[dict[str, Any]]) -> None:
    (policy,) = [
        m["spec"]
        for m in manifests
        if m["kind"] == "NetworkPolicy"
        and m["spec"]["podSelector"]["matchLabels"].get(Label.COMPONENT) == Component.BACKUP
    ]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    own, store = policy["egress"]
    assert [port["port"] for port in own["ports"]] == [6379, 26379]
    assert [peer["ipBlock"]["cidr"] for peer in store["to"]] == ["0.0.0.0/0"]
    assert [port["port"] for port in store["ports"]] == [8333]


@pytest.mark.parametrize(
    ("endpoint", "port"), [("", 443), ("https://a.example", 443), ("http://a", 80), ("http://a:9000", 9000)]
)
def test_the_port_of_the_store_is_that_of_its_endpoint(endpoint: str, port: int) -> None:
    assert store_port(endpoint) == port


def test_exporters_look_for_the_times_of_backups_only_where_there_are_any(
    manifests: list[dict[str, Any]], render_once: Callable[[str], Rendered]
) -> None:
    def watched(found: list[dict[str, Any]]) -> bool:
        (redis,) = [m for m in found if m["kind"] == "StatefulSet" and m["metadata"]["name"] == "redis"]
        (command,) = [c["command"] for c in redis["spec"]["template"]["spec"]["containers"] if c["name"] == "exporter"]
        return "db0=meta:backup:last_success_ts,db0=meta:backup:drill_success_ts" in command

    assert watched(manifests)
    assert not watched(list(render_once("dev").manifests.values()))


def test_every_node_mounts_the_mark_of_a_restore_if_there_is_one(manifests: list[dict[str, Any]]) -> None:
    for name in ("redis", "sentinel"):
        (found,) = [m for m in manifests if m["kind"] == "StatefulSet" and m["metadata"]["name"] == name]
        volumes = found["spec"]["template"]["spec"]["volumes"]
        assert {"name": "restore", "configMap": {"name": "cache-restore", "optional": True}} in volumes
