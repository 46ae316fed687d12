"""Warm-ups on a real cluster, from a real PostgreSQL: by a Job, after a crash of its pod, at an application's start.

The image of PostgreSQL is named by CACHESTACK_E2E_POSTGRES, that of the jobs by backup.image in CACHESTACK_E2E_SET.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from string import Template
from typing import Any

import pytest

from cacheclient.contract import WARMED_AT, Component, Env, Port
from infra.warmers import PLAN_DIR, PLAN_KEY
from tests.drill.traffic import PATIENT
from tests.e2e.cluster import HERE, Cluster, brought_up, crash, enabled, eventually, python_pod, require_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Record = Callable[[str, str, str], None]
USERS, HOT, CRITICAL = 3_000, 500, 250  # as in database.sql and warm.toml
CRITICAL_SECONDS = 5  # 250 keys, 50 a second
DEADLINE, PATIENT_DEADLINE = 3, 100
STUCK = """\
[[sources]]
kind = "sql"
name = "stuck"
plans = ["critical"]
dsn_file = "/etc/cachestack/warm/dsn"
query = "select 'a' as key, '1' as value from pg_sleep(300)"
"""
GRANIAN = ("granian", "--interface", "asgi", "--no-ws", "--factory", "opening:app", "--host", "0.0.0.0")  # noqa: S104


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack with its warm-ups, and a PostgreSQL with users."""
    require_cluster()
    image, password = os.environ.get("CACHESTACK_E2E_POSTGRES"), secrets.token_hex(16)
    if not image:
        pytest.skip("no PostgreSQL here: CACHESTACK_E2E_POSTGRES names no image (see docs/deployment.md)")
    files = {
        PLAN_KEY: (HERE / "warm.toml").read_text(encoding="utf-8"),
        "stuck.toml": STUCK,
        "dsn": f"postgresql://postgres:{password}@database/postgres",
    }
    folder = tmp_path_factory.mktemp("manifests")
    settings = [*enabled("warmup"), "client.namespace=shop"]
    with brought_up("dev", folder, *settings, files={"cache-warm": files}) as found:
        text = Template((HERE / "database.yaml").read_text(encoding="utf-8"))
        found.kubectl("create", "--filename", "-", stdin=text.substitute(image=image, password=password))
        found.kubectl("wait", "--for=condition=Ready", "pod/database", "--timeout=90s", seconds=100)
        sql = (HERE / "database.sql").read_text(encoding="utf-8")
        found.kubectl("exec", "--stdin", "database", "--", "psql", "--quiet", "--set=ON_ERROR_STOP=1", stdin=sql)
        yield found


def create_job(cluster: Cluster, plan: str) -> str:
    name = f"warm-{plan}"
    cluster.kubectl("create", "job", name, f"--from=cronjob/{Component.WARMER}-{plan}")
    return name


def await_job(cluster: Cluster, name: str, seconds: float = 120) -> None:
    ended = ["get", "job", name, "--output", "jsonpath={.status.conditions[?(@.status=='True')].type}"]
    eventually(lambda: any(word in cluster.kubectl(*ended) for word in ("Complete", "Failed")), f"{name} ends", seconds)
    assert "Complete" in cluster.kubectl(*ended), cluster.kubectl("logs", f"job/{name}", "--all-pods=true", "--prefix")


def pods_of(cluster: Cluster, job: str) -> list[str]:
    """Return the pods of a Job, the oldest first."""
    by_age = ["--sort-by=.metadata.creationTimestamp", "--output", "name"]
    return cluster.kubectl("get", "pods", "--selector", f"batch.kubernetes.io/job-name={job}", *by_age).split()


def entries(cluster: Cluster, pattern: str) -> int:
    """Return how many keys Redis holds that match."""
    scan = f"""CALL_SECONDS=30 redis "$(find_master)" --scan --pattern '{pattern}' | wc -l"""
    return int(cluster.client(scan))


def test_a_job_fills_the_cache_from_the_database_and_its_success_is_a_metric(cluster: Cluster, record: Record) -> None:
    began = time.time()
    job = create_job(cluster, "hot")
    await_job(cluster, job)
    log = cluster.kubectl("logs", f"job/{job}")
    assert f"hot: done: {HOT} written, 0 skipped, 0 failed of {HOT} read" in log
    assert entries(cluster, "shop:v1:top:*") == HOT
    took = re.search(r"read in ([0-9.]+) s", log)
    assert took
    record(f"warm-up Job: {HOT} users from PostgreSQL", "", f"{took[1]} s of its {time.time() - began:.0f} s")

    def told() -> bool:
        """Whether an exporter gives the time of this success, by which the alerts judge."""
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/redis-0:{Port.EXPORTER.value}/proxy/metrics"
        line = rf'^redis_key_value{{[^}}]*key="{WARMED_AT["hot"]}"[^}}]*}} (\S+)$'
        found = re.search(line, cluster.kubectl("get", "--raw", path), re.MULTILINE)
        return found is not None and began - 1 <= float(found[1]) <= time.time() + 1

    eventually(told, "the exporter tells of it", 30)


def test_a_job_whose_pod_crashes_goes_on_where_it_was(cluster: Cluster, record: Record) -> None:
    job = create_job(cluster, "full")
    eventually(lambda: len(pods_of(cluster, job)) == 1, "its pod is there")
    (first,) = pods_of(cluster, job)
    line = re.compile(r"^\d{4}-\d\d-\d\dT[\d:]+Z everybody: ([\d,]+) read, ", re.MULTILINE)
    seen: list[int] = []

    def progress() -> bool:
        if cluster.prints("Running", "get", first, "--output", "jsonpath={.status.phase}"):
            seen.extend(int(said.replace(",", "")) for said in line.findall(cluster.kubectl("logs", first)))
        return bool(seen)

    eventually(progress, "its log says how far it is", 60)
    crash(cluster, first.partition("/")[2])
    crashed = time.monotonic()
    await_job(cluster, job)
    killed, second = pods_of(cluster, job)  # no attempt was lost while the lock of the first one stood
    took, log = time.monotonic() - crashed, cluster.kubectl("logs", second)
    assert killed == first
    assert cluster.kubectl("get", first, "--output", "jsonpath={..terminated.exitCode}") == "137"
    assert "everybody: done: " in log
    assert ", resumed" in log
    places = [int(n) for n in re.findall(r"users after (\d+)", cluster.kubectl("logs", "database"))]
    assert places[0] == 0
    assert seen[-1] - 1_000 < places[-1] < USERS
    assert entries(cluster, "shop:v1:user:*") == USERS
    row = f"warm-up of {USERS:,} users, its pod killed after {seen[-1]:,}"
    record(row, "goes on there", f"at {places[-1]:,}; done {took:.0f} s later")


def opening(cluster: Cluster, name: str, plan_file: str, deadline: int) -> None:
    """Start an application that warms up before it is ready."""
    pod = python_pod(cluster, cluster.render(), name, *GRANIAN, "--port", "8080")
    (container,) = pod["spec"]["containers"]
    given = {"PYTHONPATH": "/scripts", Env.PLAN_FILE: f"{PLAN_DIR}/{plan_file}", "DEADLINE": str(deadline)}
    own = [variable for variable in container["env"] if variable["name"] not in PATIENT]
    container["env"] = [*own, *({"name": str(variable), "value": value} for variable, value in given.items())]
    container["readinessProbe"] = {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1}
    container["volumeMounts"].append({"name": "plan", "mountPath": PLAN_DIR, "readOnly": True})
    pod["spec"]["volumes"].append({"name": "plan", "secret": {"secretName": "cache-warm", "defaultMode": 0o440}})
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(pod))


def ready_after(cluster: Cluster, name: str) -> float:
    """Return how long after its start a pod was ready, in whole seconds; fail if it was not held back meanwhile."""
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s", seconds=130)
    status: dict[str, Any] = json.loads(cluster.kubectl("get", "pod", name, "--output", "json"))["status"]
    (ready,) = [c["lastTransitionTime"] for c in status["conditions"] if c["type"] == "Ready"]
    probes = ["get", "events", "--field-selector", f"involvedObject.name={name}"]
    assert "HTTP probe failed with statuscode: 503" in cluster.kubectl(*probes)
    began = status["containerStatuses"][0]["state"]["running"]["startedAt"]
    return (datetime.fromisoformat(ready) - datetime.fromisoformat(began)).total_seconds()


def test_an_application_is_ready_when_it_is_warm_or_its_time_is_up(cluster: Cluster, record: Record) -> None:
    opening(cluster, "warmed", PLAN_KEY, PATIENT_DEADLINE)
    opening(cluster, "stuck", "stuck.toml", DEADLINE)
    warm = ready_after(cluster, "warmed")
    assert entries(cluster, "warmed:v1:user:*") == CRITICAL, cluster.kubectl("logs", "warmed")
    assert CRITICAL_SECONDS - 1 <= warm < PATIENT_DEADLINE
    late = ready_after(cluster, "stuck")
    assert f"serving cold: critical was not warm within {DEADLINE} s" in cluster.kubectl("logs", "stuck")
    assert late >= DEADLINE - 1
    record(f"application: ready with its {CRITICAL} critical users warm", f">= {CRITICAL_SECONDS} s", f"{warm:.0f} s")
    record(f"  its database hangs, deadline {DEADLINE} s: ready all the same", "", f"{late:.0f} s after its start")
