"""The CronJobs of the warm-ups: when they run, with what, and that what they run is a command that exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cacheclient import AsyncCache
from cacheclient.cli import main
from cacheclient.contract import WARMED_ON_TIME, Env, ExitCode
from cacheclient.environment import environment
from cacheclient.warming import Warmer
from infra.render import render

if TYPE_CHECKING:
    from infra.render import Rendered

WARM = {
    "enabled": True,
    "image": "registry.example.com/cachestack:0.1.0",
    "dataClaim": "exports",
}


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render("dev", values={"warmup": WARM, "client": {"namespace": "shop", "version": 4}})


@pytest.fixture(scope="module")
def jobs(rendered: Rendered) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m["spec"] for m in rendered.manifests.values() if m["kind"] == "CronJob"}


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def variables(job: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod_of(job)["containers"][0]["env"]}


def test_full_runs_at_two_and_hot_every_six_hours_never_twice_at_once(jobs: dict[str, dict[str, Any]]) -> None:
    assert {name: (job["schedule"], job["timeZone"], job["concurrencyPolicy"]) for name, job in jobs.items()} == {
        "cache-warmer-full": ("0 2 * * *", "Etc/UTC", "Forbid"),
        "cache-warmer-hot": ("0 */6 * * *", "Etc/UTC", "Forbid"),
    }
    deadlines = [job["jobTemplate"]["spec"]["activeDeadlineSeconds"] for job in jobs.values()]
    assert deadlines == [14_505, 1_905], "the deadline of the plan, the wait for another, and a minute"
    for job in jobs.values():
        assert pod_of(job)["automountServiceAccountToken"] is False
        assert pod_of(job)["restartPolicy"] == "Never"


@pytest.mark.parametrize("plan", ["full", "hot"])
def test_what_they_run_is_a_command_that_reads_the_mounted_plan(
    jobs: dict[str, dict[str, Any]], plan: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job = jobs[f"cache-warmer-{plan}"]
    (container,) = pod_of(job)["containers"]
    assert container["command"] == ["python", "-m", "cacheclient"]
    told = variables(job)
    for variable in (Env.PLAN_FILE, Env.NAMESPACE):
        monkeypatch.setenv(variable, told[variable])
    assert main([*container["args"], "--url", "memory://"]) == ExitCode.USAGE
    assert f"plan file {told[Env.PLAN_FILE]}: [Errno 2]" in capfd.readouterr().err
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert told[Env.PLAN_FILE] == f"{mounts['plan']}/warm.toml"
    assert mounts["data"] == "/data"
    assert {volume["name"] for volume in pod_of(job)["volumes"]} == set(mounts)


async def test_their_environment_is_the_cache_of_the_stack_and_one_that_can_be_warmed(
    jobs: dict[str, dict[str, Any]],
) -> None:
    told = variables(jobs["cache-warmer-full"])
    made = environment(told)
    assert (made["namespace"], made["version"]) == ("shop", 4)
    assert made["options"].l1.max_entries == 0
    cache = AsyncCache.from_url("memory://", namespace="shop", options=made["options"])
    Warmer(cache, [], follow=False)


def test_the_time_of_a_success_may_be_written_by_clients_and_is_read_by_the_exporters(rendered: Rendered) -> None:
    (acl,) = [m["data"]["users.acl"] for m in rendered.manifests.values() if "users.acl" in m.get("data", {})]
    users = {words[1]: words for words in (line.split() for line in acl.splitlines())}
    (redis,) = [
        m for m in rendered.manifests.values() if m["kind"] == "StatefulSet" and m["metadata"]["name"] == "redis"
    ]
    containers = {c["name"]: " ".join(c["command"]) for c in redis["spec"]["template"]["spec"]["containers"]}
    for key in WARMED_ON_TIME:
        assert f"~{key}" in users["app"]
        assert f"~{key}" in users["exporter"]
        assert f"db0={key}" in containers["exporter"]


def test_without_them_nothing_of_them_is_there() -> None:
    assert not [name for name in render("dev").manifests if "warm" in name]
