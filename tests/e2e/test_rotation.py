"""New passwords for the dev stack on a real cluster while a client writes: no call fails, the old ones are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cacheclient.contract import Component, Port
from infra import rotation, settings, stack_files
from infra.kubectl_rotation import KubectlTarget
from tests.e2e.cluster import Cluster, brought_up, eventually, kubectl, settle, writing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack, applied and ready, with a client pod; removed afterwards."""
    with brought_up("dev", tmp_path_factory.mktemp("manifests")) as found:
        yield found


class Informed(KubectlTarget):
    """Waits for the one client there is, instead of for a time."""

    def __init__(self, cluster: Cluster) -> None:
        given = stack_files.read(cluster.stack)
        context = kubectl("config", "current-context").strip()
        for assignment in (*cluster.overrides, f"context={context}"):
            stack_files.override(given, assignment)
        super().__init__(settings.parse(cluster.stack, given), grace=0)
        self._cluster = cluster

    def await_clients(self) -> None:
        new = self.read()
        for name in ("app", "sentinel-auth"):
            eventually(lambda name=name: self._cluster.client(f"cat /secrets/{name}") == new[name], name, 300)  # type: ignore[misc]


def test_passwords_change_under_traffic_and_the_old_ones_are_refused(cluster: Cluster) -> None:
    target = Informed(cluster)
    before, said = target.read(), list[str]()
    with writing(cluster):
        rotation.run(target, said.append)
        assert cluster.client("cat /scratch/failed 2>/dev/null || true") == ""
    after = target.read()
    assert after.keys() == before.keys()
    assert not [name for name in rotation.NAMES if after[name] == before[name]]
    login = 'timeout 2 redis-cli -h "$(find_master)" -p "$PORT" --user app PING 2>&1 || true'
    assert cluster.client(f"export REDISCLI_AUTH={after['app']}; {login}") == "PONG"
    assert "WRONGPASS" in cluster.client(f"export REDISCLI_AUTH={before['app']}; {login}")
    for pod in target.nodes():
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:{Port.EXPORTER.value}/proxy/metrics"
        assert "\nredis_up 1\n" in kubectl("get", "--raw", path), pod
    old = cluster.master()
    with writing(cluster):
        cluster.kubectl("delete", "pod", old, seconds=90)
        eventually(lambda: cluster.master() not in {old, ""}, "another pod is master")
    assert cluster.client('lost_at "$(find_master)"') == ""
    settle(cluster)
    assert set(cluster.pods(Component.REDIS)) == {"redis-0", "redis-1", "redis-2"}
