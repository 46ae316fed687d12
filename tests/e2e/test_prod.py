"""The shape of production on a real cluster, with TLS: rollout, drain, loss of a node, a network cut, all pods at once.

Killing and cutting off nodes is done by the command in CACHESTACK_E2E_NODE; those tests are skipped without it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from cacheclient.contract import Component, Label, set_name
from tests.e2e.cluster import (
    Cluster,
    brought_up,
    eventually,
    fewest_ready,
    kubectl,
    longest_gap,
    lost,
    node_command,
    node_commands,
    node_of,
    settle,
    start_client,
    writing,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

HANDOVER_SECONDS = 5.0
LOSS_SECONDS = 45.0  # down-after 30 s, then an election
CALL_SECONDS = 2.0  # the client's time-out: a call that was under way is noticed only then
Record = Callable[[str, str, str], None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Production with TLS, applied and ready. Backups have a test of their own."""
    with brought_up(
        "prod", tmp_path_factory.mktemp("prod"), "tls.enabled=true", "backup.enabled=false", "api.enabled=false"
    ) as found:
        nodes = kubectl("get", "nodes", "--output", "name").split()
        if len(nodes) < 3:
            pytest.skip(f"the shape of production needs three nodes; there are {len(nodes)}")
        yield found


@pytest.fixture
def settled(cluster: Cluster) -> Cluster:
    """The set as it should be before each test."""
    settle(cluster)
    return cluster


def others(cluster: Cluster, master: str) -> bool:
    return cluster.master() not in {master, ""}


@contextmanager
def client_elsewhere(cluster: Cluster, master: str) -> Iterator[str]:
    """Have the client on another node than the master, and give the master's node."""
    node, nodes = node_of(cluster, master), kubectl("get", "nodes", "--output", "name").split()
    if node_of(cluster, "client") == node:
        start_client(cluster, cluster.render(), node=next(n for n in nodes if not n.endswith(node)).partition("/")[2])
    yield node


def test_without_tls_nobody_is_answered_and_without_a_password_nothing_is_allowed(settled: Cluster) -> None:
    master = settled.master()
    assert "OK" not in settled.client(f"TLS= redis {master} SET a b 2>&1 || true")
    assert settled.client(f"redis {master} SET a b") == "OK"
    assert "NOAUTH" in settled.client(f'timeout 2 redis-cli $TLS -h {master} -p "$PORT" GET a 2>&1 || true')
    assert "NOPERM" in settled.client(f"redis {master} FLUSHALL 2>&1 || true")


def test_a_rollout_takes_one_pod_at_a_time_and_loses_no_write(settled: Cluster, record: Record) -> None:
    before = {name: pod["metadata"]["uid"] for name, pod in settled.pods(Component.REDIS).items()}
    with writing(settled), fewest_ready(settled) as ready:
        settled.render("redis.maxClients=1999")
        settled.apply()
        settle(settled)
    after = {name: pod["metadata"]["uid"] for name, pod in settled.pods(Component.REDIS).items()}
    assert not set(after.values()) & set(before.values())
    missing, gap = lost(settled, settled.master()), longest_gap(settled)
    record("rollout: longest time without writes", f"<= {HANDOVER_SECONDS:g} s", f"{gap:.1f} s")
    record("  acknowledged writes lost", "0", f"{len(missing)}")
    record("  fewest ready Redis pods", "2", f"{min(ready)}")
    assert not missing
    assert gap <= HANDOVER_SECONDS + CALL_SECONDS
    assert min(ready) >= 2


def drain(node: str, instance: str) -> subprocess.CompletedProcess[str]:
    """Drain a node, of the pods of one set only: others use the cluster, too."""
    command = ["kubectl", "drain", node, "--pod-selector", f"{Label.INSTANCE}={instance}", "--timeout=40s"]
    command += ["--delete-emptydir-data", "--ignore-daemonsets"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_drain_hands_over_and_the_budget_holds_the_next_one(settled: Cluster, record: Record) -> None:
    old = settled.master()
    with client_elsewhere(settled, old) as node:
        second = next(node_of(settled, pod) for pod in settled.pods(Component.REDIS) if pod != old)
        try:
            with writing(settled):
                first = drain(node, set_name(settled.stack))
                assert first.returncode == 0, first.stderr
                eventually(partial(others, settled, old), "another pod is master")
                refused = drain(second, set_name(settled.stack))
        finally:
            for cordoned in (node, second):
                kubectl("uncordon", cordoned)
    assert refused.returncode != 0
    assert "disruption budget" in refused.stderr
    missing, gap = lost(settled, settled.master()), longest_gap(settled)
    record("drain of the master's node: without writes", f"<= {HANDOVER_SECONDS:g} s", f"{gap:.1f} s")
    record("  acknowledged writes lost", "0", f"{len(missing)}")
    record("  a second drain meanwhile", "refused", "refused")
    assert not missing
    assert gap <= HANDOVER_SECONDS + CALL_SECONDS


def test_the_loss_of_the_masters_node_is_survived(settled: Cluster, record: Record) -> None:
    node_commands()
    old = settled.master()
    with client_elsewhere(settled, old) as node:
        try:
            with writing(settled):
                node_command("kill", node)
                eventually(partial(others, settled, old), "another pod is master", 120)
        finally:
            node_command("start", node)
    missing, gap = lost(settled, settled.master()), longest_gap(settled)
    record("power loss of the master's node: without writes", f"<= {LOSS_SECONDS:g} s", f"{gap:.1f} s")
    record("  acknowledged writes lost", "none older than 1 s", f"{len(missing)}")
    began = time.monotonic()
    settle(settled)
    record("  complete again after power-on", "", f"{time.monotonic() - began:.0f} s")
    assert all(age <= 1.0 for age in missing)
    assert gap <= LOSS_SECONDS + CALL_SECONDS


def test_a_master_that_is_cut_off_refuses_writes_and_joins_again(settled: Cluster, record: Record) -> None:
    node_commands()
    old = settled.master()
    with client_elsewhere(settled, old) as node:
        try:
            with writing(settled):
                node_command("cut", node)
                eventually(partial(refuses_writes, settled, old), f"{old} refuses writes", 60)
                eventually(partial(others, settled, old), "another pod is master", 120)
        finally:
            node_command("heal", node)
    missing, gap = lost(settled, settled.master()), longest_gap(settled)
    record("master cut off: without writes", f"<= {LOSS_SECONDS:g} s", f"{gap:.1f} s")
    record("  acknowledged writes lost", "none older than 1 s", f"{len(missing)}")
    began = time.monotonic()
    settle(settled)
    record("  one set again after the heal", "", f"{time.monotonic() - began:.0f} s")
    eventually(lambda: settled.client(f"lost_at {old}") == "" or bool(missing), f"{old} has all the data")
    assert all(age <= 1.0 for age in missing)
    assert gap <= LOSS_SECONDS + CALL_SECONDS


def refuses_writes(cluster: Cluster, pod: str) -> bool:
    """Ask the server in the pod itself, past the network."""
    tls = "--tls --cacert $T/ca.crt --cert $T/tls.crt --key $T/tls.key"
    script = f"T=/etc/cachestack/tls; redis-cli --user app {tls} SET written:cut 1"
    script = f"export REDISCLI_AUTH=$(cat /etc/cachestack/secrets/app); {script}"
    answer: Any = cluster.kubectl("exec", pod, "--container", "redis", "--", "sh", "-c", script)
    return "NOREPLICAS" in answer


def test_all_pods_at_once_come_back_with_all_data(settled: Cluster, record: Record) -> None:
    with writing(settled):
        pass
    pods = [*settled.pods(Component.REDIS), *settled.pods(Component.SENTINEL)]
    for pod in settled.pods(Component.REDIS):
        eventually(lambda pod=pod: settled.client(f"lost_at {pod}") == "", f"{pod} has all writes")  # type: ignore[misc]
    began = time.monotonic()
    settled.kubectl("delete", "pod", *pods, "--force", "--grace-period=0")
    eventually(lambda: settled.client('redis "$(find_master)" SET back 1 2>/dev/null || true') == "OK", "writes", 180)
    record("all pods at once: until writes are acknowledged", "<= 60 s", f"{time.monotonic() - began:.0f} s")
    settle(settled)
    assert settled.client('lost_at "$(find_master)"') == ""
