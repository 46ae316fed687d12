"""The dev stack on a real cluster: it comes up, serves clients through Sentinel, and keeps their data.

Needs KUBECONFIG and kubectl. CACHESTACK_E2E_SET holds settings for a cluster with other images than the stack file
names, separated by spaces: ``redis.image=redis:7.0 sentinel.image=redis:7.0``. All happens in a namespace of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import pytest

from cacheclient.contract import Component, Label, Port, set_name
from infra import credentials, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STACK = "dev"
HERE = Path(__file__).parent
# The promise for a planned handover (a rollout, a drain, the deletion of the master's pod), and the time-out of the
# client's calls: a call that was under way is noticed only then.
WRITE_GAP_SECONDS = 5.0 + 2.0


@dataclass(frozen=True)
class Cluster:
    """A namespace of a real cluster, through kubectl."""

    namespace: str
    overrides: tuple[str, ...]
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout

    def render(self, *overrides: str) -> render.Rendered:
        """Write the stack's manifests, with further overrides, into the folder."""
        rendered = render.render(STACK, overrides=(*self.overrides, *overrides))
        render.write(rendered, self.folder)
        return rendered

    def apply(self) -> None:
        self.kubectl("apply", "--server-side", "--filename", str(self.folder))

    def client(self, script: str) -> str:
        """Run a shell script in the client pod, with the functions of client.sh."""
        return self.kubectl("exec", "client", "--", "sh", "-uc", f". /scripts/client.sh\n{script}").strip()

    def master(self) -> str:
        """The pod that the Sentinels name as master."""
        return self.client("find_master").partition(".")[0]

    def pods(self, component: Component) -> dict[str, dict[str, Any]]:
        listed = self.kubectl("get", "pods", "--selector", f"{Label.COMPONENT}={component}", "--output", "json")
        return {pod["metadata"]["name"]: pod for pod in json.loads(listed)["items"]}

    def prints(self, expected: str, *arguments: str) -> bool:
        return expected in self.kubectl(*arguments)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack, applied and ready, with a client pod; removed afterwards."""
    for name, found in {"KUBECONFIG": os.environ.get("KUBECONFIG"), "kubectl": shutil.which("kubectl")}.items():
        if not found:
            pytest.skip(f"needs a Kubernetes cluster: no {name}")
    namespace = f"cache-e2e-{secrets.token_hex(3)}"
    overrides = [f"namespace={namespace}", *os.environ.get("CACHESTACK_E2E_SET", "").split()]
    cluster = Cluster(namespace, tuple(overrides), tmp_path_factory.mktemp("manifests"))
    if "servicemonitors.monitoring.coreos.com" in cluster.kubectl("get", "crd", "--output", "name"):
        cluster = Cluster(namespace, (*cluster.overrides, "monitoring.enabled=true"), cluster.folder)
    try:
        rendered = cluster.render()
        cluster.apply()
        secret = credentials.secret_manifest(rendered.outputs["secretName"], namespace, credentials.generate())
        cluster.kubectl("create", "--filename", "-", stdin=json.dumps(secret))
        start_client(cluster, rendered)
        settle(cluster)
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=180)


def sentinels(cluster: Cluster) -> list[str]:
    return list(cluster.pods(Component.SENTINEL))


def settle(cluster: Cluster) -> None:
    """Wait until all pods are ready and every Sentinel knows all others, for only then a failover can succeed."""
    for component in (Component.SENTINEL, Component.REDIS):
        cluster.kubectl("rollout", "status", f"statefulset/{component}", "--timeout=240s", seconds=250)
    for host in sentinels(cluster):
        eventually(partial(knows_all, cluster, host), f"{host} knows two healthy replicas and two other Sentinels")


def knows_all(cluster: Cluster, host: str) -> bool:
    master = cluster.client(f'sentinel {host} SENTINEL master "$SET" | paste - -').splitlines()
    known = dict(line.split("\t") for line in master if "\t" in line)
    replicas = cluster.client(f'sentinel {host} SENTINEL replicas "$SET" | paste - -')
    healthy = replicas.count("flags\tslave\n") == replicas.count("master-link-status\tok\n") == 2
    return healthy and (known.get("num-other-sentinels"), known.get("flags")) == ("2", "master")


def start_client(cluster: Cluster, rendered: render.Rendered) -> None:
    host, _, sentinel_port = rendered.outputs["sentinelAddress"].rpartition(":")
    stateful_set = rendered.manifests["08-statefulset-redis.yaml"]
    values = {
        "set": set_name(STACK),
        "secret": rendered.outputs["secretName"],
        "host": host,
        "sentinel_port": sentinel_port,
        "port": rendered.outputs["redisPort"],
        "image": stateful_set["spec"]["template"]["spec"]["containers"][0]["image"],
    }
    cluster.kubectl("create", "configmap", "client", f"--from-file={HERE / 'client.sh'}")
    pod = Template((HERE / "client.yaml").read_text(encoding="utf-8")).substitute(values)
    cluster.kubectl("create", "--filename", "-", stdin=pod)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=90s", seconds=100)


@contextmanager
def writing(cluster: Cluster) -> Iterator[None]:
    """Have the client write all the time; at the end all that was acknowledged must be there."""
    cluster.client("touch /scratch/start")
    eventually(lambda: cluster.client("ls /scratch/start || true") == "", "the client starts")
    eventually(lambda: acknowledged(cluster) > 20, "the client writes")
    try:
        yield
    finally:
        before = acknowledged(cluster)
        eventually(lambda: acknowledged(cluster) > before + 20, "the client writes again")
        cluster.client("touch /scratch/stop")
        eventually(lambda: cluster.client("ls /scratch/done || true") != "", "the writer stops")


def acknowledged(cluster: Cluster) -> int:
    return int(cluster.client("cat /scratch/acknowledged 2>/dev/null | wc -l"))


def longest_gap(cluster: Cluster) -> float:
    times = [float(line.split()[1]) for line in cluster.client("cat /scratch/acknowledged").splitlines()]
    return max(later - earlier for earlier, later in pairwise(times))


def test_every_sentinel_names_the_same_master_and_can_replace_it(cluster: Cluster) -> None:
    named = {cluster.client(f'sentinel {host} SENTINEL get-master-addr-by-name "$SET"') for host in sentinels(cluster)}
    assert len(named) == 1
    assert cluster.master() in cluster.pods(Component.REDIS)
    for host in sentinels(cluster):
        assert cluster.client(f'sentinel {host} SENTINEL ckquorum "$SET"').startswith("OK 3 usable Sentinels")


def test_the_pods_are_spread_over_the_nodes(cluster: Cluster) -> None:
    nodes = cluster.kubectl("get", "nodes", "--output", "name").splitlines()
    for component in (Component.REDIS, Component.SENTINEL):
        used = {pod["spec"]["nodeName"] for pod in cluster.pods(component).values()}
        assert len(used) == min(3, len(nodes))


def test_a_write_through_sentinel_reaches_every_pod(cluster: Cluster) -> None:
    assert cluster.client('redis "$(find_master)" SET reached everywhere') == "OK"
    for pod in cluster.pods(Component.REDIS):
        get = ["exec", "client", "--", "sh", "-uc", '. /scripts/client.sh; redis "$@"', "sh", pod, "GET", "reached"]
        eventually(partial(cluster.prints, "everywhere", *get), f"{pod} has the write")


def test_an_application_may_not_administrate(cluster: Cluster) -> None:
    for command in ("FLUSHALL", "CONFIG GET maxmemory", "SHUTDOWN", "REPLICAOF NO ONE", "PUBLISH __sentinel__:hello x"):
        assert "NOPERM" in cluster.client(f'redis "$(find_master)" {command} 2>&1')


def test_the_exporters_see_their_servers(cluster: Cluster) -> None:
    for pod in [*cluster.pods(Component.REDIS), *cluster.pods(Component.SENTINEL)]:
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:{Port.EXPORTER.value}/proxy/metrics"
        eventually(partial(cluster.prints, "\nredis_up 1\n", "get", "--raw", path), f"redis_up 1 at {pod}")


def test_applying_the_same_manifests_again_changes_nothing(cluster: Cluster) -> None:
    cluster.render()
    cluster.apply()
    settle(cluster)
    # Exit code 0 means no difference.
    cluster.kubectl("diff", "--server-side", "--filename", str(cluster.folder))


def test_deleting_the_masters_pod_hands_over_without_losing_a_write(cluster: Cluster) -> None:
    old = cluster.master()
    uid = cluster.pods(Component.REDIS)[old]["metadata"]["uid"]
    with writing(cluster):
        cluster.kubectl("delete", "pod", old, seconds=90)
        eventually(lambda: cluster.master() not in {old, ""}, "another pod is master")
    assert cluster.client('lost_at "$(find_master)"') == ""
    assert longest_gap(cluster) <= WRITE_GAP_SECONDS
    settle(cluster)
    assert cluster.pods(Component.REDIS)[old]["metadata"]["uid"] != uid
    eventually(lambda: cluster.client(f"lost_at {old}") == "", f"{old} is back with all the data")
    assert cluster.master() != old


def test_a_changed_setting_rolls_the_pods_without_losing_a_write(cluster: Cluster) -> None:
    cluster.render("redis.maxClients=1999")
    before = {name: pod["metadata"]["uid"] for name, pod in cluster.pods(Component.REDIS).items()}
    with writing(cluster):
        cluster.apply()
        settle(cluster)
    after = {name: pod["metadata"]["uid"] for name, pod in cluster.pods(Component.REDIS).items()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    assert cluster.client('lost_at "$(find_master)"') == ""
    assert longest_gap(cluster) <= WRITE_GAP_SECONDS


def test_a_set_that_lost_all_its_pods_at_once_comes_back_with_its_data(cluster: Cluster) -> None:
    with writing(cluster):
        pass
    pods = cluster.pods(Component.REDIS)
    eventually(lambda: all(cluster.client(f"lost_at {pod}") == "" for pod in pods), "all pods have all writes")
    cluster.kubectl("delete", "pod", *pods, "--force", "--grace-period=0")
    settle(cluster)
    assert cluster.client('lost_at "$(find_master)"') == ""
