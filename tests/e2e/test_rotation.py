"""New passwords for the dev stack on a real cluster, by the command itself, while clients write, read and log in."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cacheclient.contract import APP_NAME, PASSWORD_FILES, SENTINEL_AUTH_FILE, Component, Label, Port, RedisUser
from infra import rotation, settings
from infra.kubectl_rotation import KubectlTarget
from tests.e2e.cluster import (
    Cluster,
    brought_up,
    eventually,
    image_of,
    kubectl,
    python_pod,
    settle,
    start_pod,
    writing,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

Record = Callable[[str, str, str], None]
GRACE_SECONDS = 120.0  # the command's default: twice what a kubelet takes to bring a changed Secret


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The dev stack, applied and ready, with a client pod; removed afterwards."""
    with brought_up("dev", tmp_path_factory.mktemp("manifests")) as found:
        yield found


def overrides(cluster: Cluster) -> list[str]:
    """Return what makes the stack file that of this namespace and this cluster."""
    return [*cluster.overrides, f"context={kubectl('config', 'current-context').strip()}"]


def rotate(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    command = [sys.executable, "-m", "infra.credentials", "rotate", cluster.stack, *arguments]
    command += [word for setting in overrides(cluster) for word in ("--set", setting)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)


@contextmanager
def reading(cluster: Cluster) -> Iterator[dict[str, int]]:
    """Have a pod read through cacheclient and log in all the time; what it counted is there at the end."""
    seen: dict[str, int] = {}
    pod = python_pod(cluster, cluster.render(), "reader", "python", "/scripts/reader.py")
    pod["spec"]["containers"][0]["env"].append({"name": "CACHE_OPT_L1_MAX_ENTRIES", "value": "0"})
    start_pod(cluster, pod)
    eventually(lambda: counted(cluster).get("logins", 0) > 3, "the reader reads and logs in")
    yield seen
    before = counted(cluster)
    eventually(lambda: counted(cluster)["logins"] > before["logins"] + 3, "the reader still logs in")
    seen |= counted(cluster)
    cluster.kubectl("delete", "pod", "reader", "--force", "--grace-period=0")


def counted(cluster: Cluster) -> dict[str, int]:
    lines = [line for line in cluster.kubectl("logs", "reader", "--tail=1").splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def answers(cluster: Cluster, passwords: rotation.Files) -> dict[str, str]:
    """Ask every node for a PING as every user with these passwords; return what each of them said."""
    asked = [
        f"knock {passwords[user]} {pod} {Port.REDIS} {user}"
        for pod in cluster.pods(Component.REDIS)
        for user in RedisUser
    ]
    asked += [
        f"knock {passwords[SENTINEL_AUTH_FILE]} {pod} {Port.SENTINEL}" for pod in cluster.pods(Component.SENTINEL)
    ]
    return dict(line.partition(" ")[::2] for line in cluster.client("\n".join(asked)).splitlines())


def refused(cluster: Cluster, passwords: rotation.Files) -> list[str]:
    return [who for who, said in answers(cluster, passwords).items() if "WRONGPASS" in said]


def test_passwords_change_under_traffic_and_the_old_ones_are_refused(cluster: Cluster, record: Record) -> None:
    if not image_of("backup"):
        pytest.skip("the reader needs the image of the jobs: CACHESTACK_E2E_SET has no backup.image")
    target = KubectlTarget(settings.load(cluster.stack, overrides(cluster)), grace=0)
    before = target.read()
    planned = rotate(cluster, "--dry-run")
    assert (planned.returncode, planned.stdout.count("dry run: nothing changes on redis-0")) == (0, 3), planned.stderr
    assert target.read() == before

    with reading(cluster) as seen, writing(cluster):
        began = time.monotonic()
        kept = rotate(cluster, "--keep-old")
        assert kept.returncode == 0, kept.stderr
        assert refused(cluster, before) == []
        done = rotate(cluster, "--grace", f"{GRACE_SECONDS:g}")
        assert done.returncode == 0, done.stderr
        took = time.monotonic() - began
        assert cluster.client("cat /scratch/failed 2>/dev/null || true") == ""
    record("new passwords: reads through cacheclient that failed", "0", f"{seen['failed']} of {seen['read']:,}")
    record("  logins meanwhile that failed", "0", f"{seen['refused']} of {seen['logins']:,}")
    assert (seen["failed"], seen["refused"]) == (0, 0)

    after = target.read()
    assert after.keys() == before.keys()
    assert not [name for name in PASSWORD_FILES if after[name] == before[name]]
    everybody = sorted(answers(cluster, before))
    assert len(everybody) == 3 * len(RedisUser) + 3
    assert sorted(refused(cluster, before)) == everybody
    assert refused(cluster, after) == []
    record("  old passwords refused, of every user on every node", "all", f"{len(everybody)}, in {took:.0f} s")
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


def test_a_secret_that_the_stack_declares_is_left_alone_until_it_stands_for_itself(cluster: Cluster) -> None:
    """The steps at Pulumi are tested under its engine; here, that the refusal ends with the last printed one."""
    name = cluster.render().outputs["secretName"]
    cluster.kubectl("label", "secret", name, f"{Label.MANAGED_BY}={APP_NAME}")
    before = cluster.kubectl("get", "secret", name, "--output", "jsonpath={.data}")
    denied = rotate(cluster)
    assert denied.returncode == 2
    assert "is declared by the stack" in denied.stderr
    assert cluster.kubectl("get", "secret", name, "--output", "jsonpath={.data}") == before
    subprocess.run(shlex.split(denied.stderr.strip().splitlines()[-1]), check=True, capture_output=True, timeout=60)
    allowed = rotate(cluster, "--dry-run")
    assert allowed.returncode == 0, allowed.stderr
