"""The cache API on a real cluster: behind its Service, with the tokens of its Secret, while its pods come and go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cacheclient.contract import Component, Label, Port
from infra.topology import host
from tests.e2e.cluster import (
    Cluster,
    brought_up,
    crash,
    enabled,
    eventually,
    python_pod,
    start_pod,
)
from tests.infra.reach import End, reaches

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

Record = Callable[[str, str, str], None]
API, CALLER = Component.API.value, "caller"
OLD, NEW = "the-token-of-ann-" + "a" * 16, "the-token-of-bob-" + "b" * 16
INVALIDATE = ("POST", "/cache/invalidate")
BODY = json.dumps({"key": "a", "scope": "all_pods"})
ANSWERED_SECONDS = 5.0  # however often a client has to ask again


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack with its API, and a pod that asks it."""
    settings = [*enabled("api"), "api.requestsPerMinute=0", f"client.namespace={CALLER}"]
    folder = tmp_path_factory.mktemp("manifests")
    with brought_up("dev", folder, *settings, files={"cache-api-admin": {"ann": OLD}}) as found:
        rollout(found)
        pod = python_pod(found, found.render(), CALLER, "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done")
        where = {"name": "API", "value": f"{host(API, found.namespace)}:{Port.API.value}"}
        pod["spec"]["containers"][0]["env"].append(where)
        start_pod(found, pod)
        yield found


def rollout(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", f"deployment/{API}", "--timeout=120s", seconds=130)


def ask(cluster: Cluster, *request: str, pod: str = "") -> tuple[int, str]:
    """Ask once, through the Service or a pod by its address: ``METHOD PATH [TOKEN] [BODY]``."""
    past = ["env", f"API={pod}:{Port.API.value}"] if pod else []
    said = json.loads(cluster.kubectl("exec", CALLER, "--", *past, "python", "/scripts/caller.py", *request))
    return said[0], said[1]


def ready_pods(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Return the pods that are ready and not on their way out."""
    return {
        name: pod
        for name, pod in cluster.pods(Component.API).items()
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    }


def started(cluster: Cluster) -> set[tuple[str, str]]:
    """Return each pod with the start of its container."""
    pods = ready_pods(cluster)
    return {(n, pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]) for n, pod in pods.items()}


def test_two_pods_answer_through_the_service_and_only_a_token_of_the_secret_may_change_anything(
    cluster: Cluster,
) -> None:
    eventually(lambda: len(ready_pods(cluster)) == 2, "both pods are ready")
    nodes = cluster.kubectl("get", "nodes", "--output", "name").split()
    assert len({pod["spec"]["nodeName"] for pod in ready_pods(cluster).values()}) == min(2, len(nodes))
    behind = cluster.kubectl(
        "get", "endpointslices", "--selector", f"kubernetes.io/service-name={API}", "--output", "json"
    )
    addresses = {a for s in json.loads(behind)["items"] for e in s["endpoints"] for a in e["addresses"]}
    assert addresses == {pod["status"]["podIP"] for pod in ready_pods(cluster).values()}

    assert ask(cluster, "GET", "/readyz") == (200, '{"ok":true,"redis":true}')
    status, said = ask(cluster, "GET", "/cache/stats")
    assert (status, "hit_rate" in said) == (200, True), said
    for token in ("", "the-token-of-nobody-" + "n" * 16):
        status, said = ask(cluster, *INVALIDATE, token, BODY)
        assert (status, json.loads(said)["code"]) == (401, "unauthorized")
    status, said = ask(cluster, *INVALIDATE, OLD, BODY)
    assert (status, json.loads(said)["acknowledged"]) == (200, True)
    told = "".join(cluster.kubectl("logs", pod) for pod in ready_pods(cluster))
    assert '"who": "token:ann", "action": "invalidate"' in told
    assert OLD not in told


def test_a_second_token_is_taken_and_the_first_one_refused_without_a_restart(cluster: Cluster) -> None:
    def bring(**tokens: str) -> None:
        """Change the Secret. A kubelet looks at it once a minute, and at once when it looks at the pod anyway."""
        cluster.bring_secret("cache-api-admin", tokens)
        for pod in ready_pods(cluster):
            cluster.kubectl("annotate", "pod", pod, "--overwrite", f"tests/secret={time.time_ns()}")

    def statuses(token: str) -> set[int]:
        """Return what the pods say to it."""
        where = [pod["status"]["podIP"] for pod in ready_pods(cluster).values()]
        return {ask(cluster, *INVALIDATE, token, BODY, pod=address)[0] for address in where}

    before = started(cluster)
    bring(ann=OLD, bob=NEW)
    eventually(lambda: statuses(NEW) == {200}, "the new token is taken", 120)
    assert statuses(OLD) == {200}
    bring(bob=NEW)
    eventually(lambda: statuses(OLD) == {401}, "the old one is refused", 120)
    assert statuses(NEW) == {200}
    bring(ann=OLD)
    eventually(lambda: statuses(OLD) == {200}, "the first token is taken again", 120)
    assert started(cluster) == before


def test_a_release_that_never_gets_ready_takes_nothing_out_of_the_service(cluster: Cluster) -> None:
    before = started(cluster)
    cluster.kubectl("set", "env", f"deployment/{API}", "CACHE_URL=redis+sentinel://nowhere.invalid:26379/none")
    try:
        eventually(lambda: len(cluster.pods(Component.API)) == 3, "a pod of the release")
        (fresh,) = set(cluster.pods(Component.API)) - {name for name, _ in before}
        probes = ["get", "events", "--field-selector", f"involvedObject.name={fresh}"]
        eventually(lambda: cluster.prints("Startup probe failed", *probes), "its probe fails")
        assert started(cluster) == before
        assert {ask(cluster, "GET", "/readyz")[0] for _ in range(8)} == {200}
    finally:
        cluster.kubectl("rollout", "undo", f"deployment/{API}")
        rollout(cluster)


@contextmanager
def asking(cluster: Cluster) -> Iterator[Callable[[], dict[str, Any]]]:
    """Have the caller ask all the time; give what it has counted so far."""
    log = "/scratch/asked"
    start = f"python /scripts/caller.py {OLD} >{log} 2>{log}.errors & echo $!"
    pid = cluster.kubectl("exec", CALLER, "--", "sh", "-c", start).strip()

    def counted() -> dict[str, Any]:
        lines = cluster.kubectl("exec", CALLER, "--", "sh", "-c", f"tail -n 1 {log}; cut -c 1-200 {log}.errors")
        first, _, errors = lines.partition("\n")
        return {"answered": 0, **json.loads(first or "{}"), "errors": errors}

    try:
        eventually(lambda: counted()["answered"] > 20, "the caller is answered")
        yield counted
        before = counted()["answered"]
        eventually(lambda: counted()["answered"] > before + 50, "the caller is answered again")
    finally:
        cluster.kubectl("exec", CALLER, "--", "sh", "-c", f"kill {pid} || true")


def test_pods_come_and_go_and_no_answered_request_is_lost(cluster: Cluster, record: Record) -> None:
    """Whoever was answered is right: the entry is gone from the cache, and the audit log knows who did it."""
    with asking(cluster) as counted:
        cluster.kubectl("rollout", "restart", f"deployment/{API}")
        rollout(cluster)
        eventually(lambda: len(cluster.pods(Component.API)) == 2, "the old pods are gone")
        first = next(iter(ready_pods(cluster)))
        cluster.kubectl("delete", "pod", first, seconds=90)
        rollout(cluster)
        planned = counted()
        second = next(iter(ready_pods(cluster)))
        crash(cluster, second)
        restarts = ["get", "pod", second, "--output", "jsonpath={.status.containerStatuses[0].restartCount}"]
        eventually(lambda: cluster.kubectl(*restarts) != "0", "its container is made anew")
        eventually(lambda: len(ready_pods(cluster)) == 2, "both pods are ready")
    seen = counted()
    sent = [f"key {seen['run']}:{number}" for number in range(seen["answered"])]
    stream = cluster.client(
        f"""CALL_SECONDS=30 redis "$(find_master)" --raw XREVRANGE {CALLER}:audit + - | grep '^key '"""
    )
    lost = set(sent) - set(stream.splitlines())

    wrong, crashed = seen["remembered"] + len(lost), seen["failed"] - planned["failed"]
    record("API: rollout, pod deleted, under requests", "0 failed", f"{planned['failed']} of {planned['answered']:,}")
    record("  a pod crashes: until a request is answered", "<= 5 s", f"{seen['longest']:.1f} s, {crashed} sent again")
    record("  answered, and not done or not in the audit log", "0", f"{wrong} of {seen['answered']:,}")
    assert planned["failed"] == 0, planned["errors"]
    assert seen["longest"] <= ANSWERED_SECONDS
    assert (seen["remembered"], lost) == (0, set())


def test_the_policies_let_the_api_reach_the_set_and_nothing_else(cluster: Cluster, record: Record) -> None:
    """By the policies as the API server has them and the labels of the pods as they run; and by trying, if enforced."""
    policies = json.loads(cluster.kubectl("get", "networkpolicies", "--output", "json"))["items"]
    pods = json.loads(cluster.kubectl("get", "pods", "--output", "json"))["items"]
    ends = [End(pod["metadata"]["name"], cluster.namespace, pod["metadata"].get("labels", {})) for pod in pods]
    api = next(end for end in ends if end.labels.get(Label.COMPONENT) == API)
    others = [*ends, *(End(address, address=address) for address in ("203.0.113.7", "169.254.169.254"))]
    ports = (*(port.value for port in Port), 443, 5432)
    open_to = {(end.labels.get(Label.COMPONENT), n) for end in others for n in ports if reaches(policies, api, end, n)}
    assert open_to == {(Component.REDIS, Port.REDIS), (Component.SENTINEL, Port.SENTINEL)}
    assert reaches(policies, End(CALLER, cluster.namespace), api, Port.API.value)
    assert not reaches(policies, End("stranger", "elsewhere"), api, Port.API.value)

    redis = next(pod["status"]["podIP"] for pod in pods if pod["metadata"]["name"] == "redis-0")

    def connects(port: int) -> bool:
        tried = f"python -c \"import socket; socket.create_connection(('{redis}', {port}), 2)\" 2>/dev/null"
        return cluster.prints("connected", "exec", api.name, "--", "sh", "-c", f"{tried} && echo connected || true")

    assert connects(Port.REDIS)
    how = "not enforced by this cluster" if connects(Port.EXPORTER) else "and by trying"
    record("API: may reach", "Redis, Sentinel", f"Redis, Sentinel, by its policies; {how}")
