"""The dev stack on a real cluster: it comes up, serves clients through Sentinel, and keeps their data.

Needs KUBECONFIG and kubectl; see ``tests/e2e/cluster.py`` for a cluster with other images.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from cacheclient.contract import Component, Port
from tests.e2e.cluster import Cluster, brought_up, eventually, longest_gap, sentinels, settle, writing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# The promise for a planned handover (a rollout, a drain, the deletion of the master's pod), and the time-out of the
# client's calls: a call that was under way is noticed only then.
WRITE_GAP_SECONDS = 5.0 + 2.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack, applied and ready, with a client pod; removed afterwards."""
    with brought_up("dev", tmp_path_factory.mktemp("manifests")) as found:
        yield found


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
