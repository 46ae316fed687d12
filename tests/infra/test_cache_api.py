"""The cache API in the cluster: what its pods are told is what the stack says, and the command is one that serves."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from cacheclient import AsyncCache, CacheOptions, L1Options, L2Options, SyncOptions
from cacheclient.api.settings import administrators
from cacheclient.contract import Component, Env, Job, Port, RedisUser
from cacheclient.environment import environment
from infra import clients, stack_files
from infra.render import render
from infra.settings import parse
from tests.conftest import PATIENCE, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infra.render import Rendered

    RenderOnce = Callable[[str], Rendered]

API = {"enabled": True, "image": "registry.example.com/cachestack:0.1.0"}
CLIENT = {"namespace": "shop", "version": 4, "l1MaxEntries": 77, "l1TtlSeconds": 11, "l2TtlSeconds": 99,
          "l1Memory": "32Mi", "maxStalenessSeconds": 3}  # fmt: skip


@functools.cache
def rendering(values: str) -> Rendered:
    return render("dev", values=json.loads(values))


def objects(**values: Any) -> dict[str, dict[str, Any]]:
    """The objects of the API, by kind."""
    rendered = rendering(json.dumps({"api": API, **values}))
    return {m["kind"]: m for m in rendered.manifests.values() if m["metadata"]["name"] == "cache-api"}


def pod_of(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = found["Deployment"]["spec"]["template"]["spec"]
    return spec


def variables(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    (container,) = pod_of(found)["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_the_environment_of_the_pods_is_the_cache_that_the_stack_describes() -> None:
    found = variables(objects(client=CLIENT))
    told = environment(found)
    wanted = CacheOptions(
        l1=L1Options(max_entries=77, max_bytes=32 * 2**20, ttl=11),
        l2=L2Options(ttl=99),
        sync=SyncOptions(max_staleness=3),
    )
    assert CacheOptions.from_env(found) == told["options"] == wanted
    assert (told["namespace"], told["version"]) == ("shop", 4)
    assert told["url"] == (
        "redis+sentinel://app@sentinel-0.cache-dev.svc:26379,sentinel-1.cache-dev.svc:26379,"
        "sentinel-2.cache-dev.svc:26379/cache-dev"
    )
    assert {told["password_file"], told["sentinel_password_file"]} == {
        f"/etc/cachestack/secrets/{name}" for name in ("app", "sentinel-auth")
    }


@pytest.mark.parametrize("stack", ["staging", "prod"])
def test_the_environment_of_every_stack_is_what_its_file_says(render_once: RenderOnce, stack: str) -> None:
    (deployment,) = [m for m in render_once(stack).manifests.values() if m["kind"] == "Deployment"]
    found = variables({"Deployment": deployment})
    settings = parse(stack, stack_files.read(stack))
    assert CacheOptions.from_env(found) == clients.options(settings.client)
    assert found[Env.NAMESPACE] == settings.client.namespace
    assert render_once(stack).outputs["clientEnvironment"].items() <= found.items()
    assert render_once(stack).outputs["apiAddress"] == f"http://cache-api.{settings.namespace}.svc:8080"


def test_every_file_that_the_environment_names_is_mounted() -> None:
    tls = {"enabled": True, "clientAuth": True}
    jwt = {
        "jwtConfigMap": "issuer",
        "jwtAudience": "cache",
        "jwtIssuer": "https://id.example",
        "jwtScope": "cache:admin",
    }
    for found in (objects(), objects(tls=tls), objects(tls=tls, api=API | jwt)):
        pod = pod_of(found)
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert len(mounts) == len(volumes)
        files = {value for name, value in variables(found).items() if name.endswith("_FILE")}
        for path in files:
            folder, _, file = path.rpartition("/")
            volume = mounts.get(path) or mounts[folder]
            items = volume.get("secret", {}).get("items")
            assert items is None or file in {item["path"] for item in items}, path
        assert all(m.get("readOnly") for m in container["volumeMounts"] if m["name"] != "tmp")
    assert files == {
        "/etc/cachestack/secrets/app", "/etc/cachestack/secrets/sentinel-auth", "/etc/cachestack/tls/ca.crt",
        "/etc/cachestack/tls/tls.crt", "/etc/cachestack/tls/tls.key", "/etc/cachestack/admin",
        "/etc/cachestack/jwt/jwks.json",
    }  # fmt: skip
    assert variables(objects(tls=tls))[Env.URL].startswith("rediss+sentinel://app@")
    assert Env.JWT_SCOPE in variables(objects(tls=tls, api=API | jwt))


def test_it_mounts_no_password_but_that_of_the_user_app() -> None:
    volumes = {volume["name"]: volume for volume in pod_of(objects())["volumes"]}
    keys = {item["key"] for item in volumes["secrets"]["secret"]["items"]}
    assert keys == {RedisUser.APP, "sentinel-auth"}
    assert volumes["admin"]["secret"] == {"secretName": "cache-api-admin", "defaultMode": 0o440}
    assert "admin" not in {v["name"] for v in pod_of(objects(api=API | {"adminSecret": ""}))["volumes"]}


def test_a_pod_is_ready_before_another_goes_and_drains_before_it_stops() -> None:
    found = objects()
    spec, pod = found["Deployment"]["spec"], pod_of(found)
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (container,) = pod["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert pod["terminationGracePeriodSeconds"] == 45
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert [port["port"] for port in found["Service"]["spec"]["ports"]] == [Port.API]
    assert found["Service"]["spec"]["type"] == "ClusterIP"


def test_prometheus_scrapes_it_under_the_job_that_the_alerts_select() -> None:
    found = objects(monitoring={"enabled": True})
    (endpoint,) = found["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["port"] == "http"  # /metrics is the default path
    assert endpoint["relabelings"][0]["replacement"] == Job.API


def test_without_the_switch_there_is_nothing_of_it() -> None:
    rendered = render("dev")
    assert Component.API not in {m["metadata"]["name"] for m in rendered.manifests.values()}
    assert rendered.outputs["apiAddress"] == ""


def test_another_version_of_the_certificate_rolls_the_pods() -> None:
    def template(version: str) -> Any:
        return objects(tls={"enabled": True, "version": version})["Deployment"]["spec"]["template"]["metadata"]

    assert template("1") != template("2")


def test_where_it_warms_it_has_the_plan_file_and_reaches_the_sources() -> None:
    warmup = {"enabled": True, "image": "registry.example.com/cachestack:0.1.0", "dataClaim": "profiles"}
    found = objects(warmup=warmup, api=API | {"warms": True})
    (container,) = pod_of(found)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(found)["volumes"]}
    assert variables(found)[Env.PLAN_FILE] == "/etc/cachestack/warm/warm.toml"
    assert volumes[mounts["/etc/cachestack/warm"]]["secret"]["secretName"] == "cache-warm"
    assert volumes[mounts["/data"]]["persistentVolumeClaim"] == {"claimName": "profiles", "readOnly": True}
    for warms, rules in ((True, 2), (False, 1)):
        rendered = rendering(json.dumps({"warmup": warmup, "api": API | {"warms": warms}}))
        (policy,) = [
            m
            for m in rendered.manifests.values()
            if m["metadata"]["name"] == "cache-api" and m["kind"] == "NetworkPolicy"
        ]
        assert len(policy["spec"]["egress"]) == rules
    assert Env.PLAN_FILE not in variables(objects(warmup=warmup))


def test_applications_get_the_same_environment_from_the_outputs(shared_server: Server, tmp_path: Path) -> None:
    told = dict(render("dev", values={"client": CLIENT}).outputs["clientEnvironment"])
    (tmp_path / "app").write_text("secret")
    told |= {Env.PASSWORD_FILE: str(tmp_path / "app"), Env.URL: shared_server.url}
    del told[Env.SENTINEL_PASSWORD_FILE]
    cache: AsyncCache[Any] = AsyncCache.from_env(told)
    assert (cache.space.prefix, cache.options.l1.max_entries) == ("shop:v4:", 77)


def test_the_command_of_the_pods_serves_what_their_probes_ask(shared_server: Server, tmp_path: Path) -> None:
    (container,) = pod_of(objects())["containers"]
    port, folder = free_port(), tmp_path / "admin"
    folder.mkdir()
    (folder / "alice").write_text("a-token-of-sixteen-or-more")
    command = [sys.executable, *container["command"][1:]]
    command[command.index("--port") + 1] = str(port)
    told = {entry["name"]: entry["value"] for entry in container["env"]}
    told |= {Env.URL: shared_server.url, Env.ADMIN_TOKEN_FILE: str(folder)}
    told = {n: v for n, v in told.items() if n not in {Env.PASSWORD_FILE, Env.SENTINEL_PASSWORD_FILE}}
    assert administrators(told).admit("Bearer a-token-of-sixteen-or-more") == "token:alice"
    process = subprocess.Popen(command, env={**os.environ, **told}, stdout=subprocess.DEVNULL)
    try:
        probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
        wanted, deadline = {*probes.values(), "/metrics"}, time.monotonic() + 3 * PATIENCE
        while wanted:
            assert process.poll() is None, f"it ended with code {process.returncode}"
            assert time.monotonic() < deadline, f"not served: {wanted}"
            with contextlib.suppress(httpx2.HTTPError):
                wanted = {path for path in wanted if httpx2.get(f"http://127.0.0.1:{port}{path}").status_code != 200}
            time.sleep(0.02)
    finally:
        process.terminate()
        process.wait(PATIENCE)
