"""``cachestack deploy`` on a real cluster: from nothing to a measured hit rate, and what really fails on the way."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cacheclient.contract import Component
from infra.warmers import PLAN_DIR, PLAN_KEY
from tests.e2e.cluster import (
    Cluster,
    bring_scripts,
    enabled,
    eventually,
    image_of,
    kubectl,
    python_pod,
    require_cluster,
    with_settings,
)
from tests.e2e.shop import HOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Record = Callable[[str, str, str], None]
PORT = 8080
GRANIAN = ("granian", "--interface", "asgi", "--no-ws", "--factory", "shop:app", "--host", "0.0.0.0", "--port")  # noqa: S104


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The dev stack with the settings of this cluster; nothing of it is there yet."""
    require_cluster()
    given = enabled("api", "warmup")
    context = kubectl("config", "current-context").strip()
    found = with_settings("dev", tmp_path, f"context={context}", "client.namespace=shop", *given)
    try:
        yield found
    finally:
        kubectl("delete", "namespace", found.namespace, "--ignore-not-found", seconds=180)


def run(command: list[str]) -> tuple[int, dict[str, Any]]:
    """Run a ``cachestack`` command; return its exit code and the JSON that it prints."""
    assert command[0] == "cachestack"
    argv = [sys.executable, "-m", "cacheclient", *command[1:]]
    done = subprocess.run([*argv, "--json"], capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def deploy(cluster: Cluster, *arguments: str, **application: str) -> tuple[int, dict[str, Any]]:
    given = [*cluster.overrides, *(f"application.{name}={value}" for name, value in application.items())]
    overrides = [word for setting in given for word in ("--set", setting)]
    return run(["cachestack", "deploy", cluster.stack, "--with", "kubectl", *overrides, *arguments])


def failed(report: dict[str, Any]) -> tuple[str, str]:
    last = report["steps"][-1]
    assert last["state"] == "failed", last
    return last["step"], last["said"]


def bring_secrets(cluster: Cluster) -> None:
    """Make the Secrets that are a person's to make: a token, and what the application's cache is filled with."""
    values = "".join(json.dumps({"key": f"hot:{n}", "value": f"value of hot:{n}"}) + "\n" for n in range(HOT))
    source = {"kind": "files", "name": "hot", "priority": 1, "plans": ["hot"], "path": f"{PLAN_DIR}/hot.jsonl"}
    plan = "[[sources]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in source.items())
    for name, files in {
        "cache-api-admin": {"ann": "a" * 32},
        "cache-warm": {PLAN_KEY: plan, "hot.jsonl": values},
    }.items():
        cluster.bring_secret(name, files)


def shop(cluster: Cluster, misses: float) -> dict[str, Any]:
    """Return the application's Deployment."""
    pod = python_pod(cluster, cluster.render(), "shop", *GRANIAN, str(PORT))
    (container,) = pod["spec"]["containers"]
    container["env"] += [{"name": "PYTHONPATH", "value": "/scripts"}, {"name": "MISSES", "value": str(misses)}]
    container["readinessProbe"] = {"httpGet": {"path": "/cache/stats", "port": PORT}, "periodSeconds": 1}
    labels = {"app": "shop"}
    template = {"metadata": {"labels": labels}, "spec": pod["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": spec}


def test_an_environment_is_deployed_by_one_command_that_says_where_it_stops(cluster: Cluster, record: Record) -> None:
    code, report = deploy(cluster, "--dry-run")
    assert (code, report["ok"]) == (0, True), report
    assert kubectl("get", "namespace", cluster.namespace, "--ignore-not-found") == ""

    code, report = deploy(cluster)
    step, said = failed(report)
    assert (code, step) == (1, "secrets")
    assert "there is no Secret cache-api-admin in" in said
    assert "--from-file=warm.toml" in said
    bring_secrets(cluster)

    code, report = run([*shlex.split(report["resume"]), "--set", "redis.image=redis:0.0.1", "--timeout", "20"])
    step, said = failed(report)
    assert (code, step) == (1, "ready")
    assert "redis-0: redis: " in said
    assert "redis:0.0.1" in said  # the kubelet's own words

    began = time.monotonic()
    code, report = deploy(cluster)
    assert code == 0, report
    record("deploy of dev, its API and a pre-warm, after a wrong image", "", f"{time.monotonic() - began:.0f} s")
    warmed = report["steps"][-1]
    assert (warmed["step"], warmed["state"]) == ("prewarm", "done")
    assert f"{HOT} written" in warmed["said"]
    assert {pod["status"]["phase"] for pod in cluster.pods(Component.REDIS).values()} == {"Running"}
    passwords = cluster.kubectl("get", "secret", "redis-auth", "--output", "jsonpath={.data}")

    bring_scripts(cluster)
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(shop(cluster, misses=0.5)))
    image = f"docker.io/library/{image_of('backup')}"  # another name of the same image: pods of the new one are made
    target = {"namespace": cluster.namespace, "deployment": "shop", "image": image}
    code, report = deploy(cluster, "--timeout", "60", **target)
    assert code == 1
    step, said = failed(report)
    assert step == "hit-rate"
    assert "80% are wanted (application.hitRate)" in said
    rate = float(said.partition("the hit rate was ")[2].partition("%")[0])
    assert 40 < rate < 60
    record("  an application that misses half of its lookups", "stops at hit-rate", f"{rate:.1f} % told")
    running = cluster.kubectl("get", "deployment", "shop", "--output", "jsonpath={..image}")
    assert running == image

    cluster.kubectl("set", "env", "deployment/shop", "MISSES=0")
    code, report = run(shlex.split(report["resume"]))
    assert code == 0, report
    assert next(step["step"] for step in report["steps"] if step["state"] == "done") == "hit-rate"
    seen = report["measured"]
    assert seen["hit_rate"] >= 0.8
    assert seen["lookups"] >= 1000
    record("  mended, and gone on with", ">= 80 %", f"{seen['hit_rate']:.1%} of {seen['lookups']:,} lookups")
    assert cluster.kubectl("get", "secret", "redis-auth", "--output", "jsonpath={.data}") == passwords


def test_an_application_that_does_not_come_up_is_told_and_what_ran_before_serves(cluster: Cluster) -> None:
    bare = ("--set", "api.enabled=false", "--set", "warmup.enabled=false")
    assert deploy(cluster, *bare)[0] == 0
    bring_scripts(cluster)
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(shop(cluster, misses=0)))
    ready = ["get", "deployment", "shop", "--output", "jsonpath={.status.readyReplicas}"]
    eventually(lambda: cluster.kubectl(*ready) == "2", "the application is ready")
    target = {"namespace": cluster.namespace, "deployment": "shop", "image": "shop:0.0.1"}
    code, report = deploy(cluster, *bare, "--from", "application", "--timeout", "20", **target)
    step, said = failed(report)
    assert (code, step) == (1, "application")
    assert "shop: " in said
    assert "shop:0.0.1" in said
    undo = next(line.partition("back to them alone: ")[2] for line in said.splitlines() if "rollout undo" in line)
    assert int(cluster.kubectl(*ready)) >= 1
    subprocess.run(shlex.split(undo), check=True, capture_output=True, timeout=60)
    cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=60s", seconds=70)
    assert image_of("backup") in cluster.kubectl("get", "deployment", "shop", "--output", "jsonpath={..image}")
