"""Backups of a set with TLS into an object store in the cluster, and their restore into another environment.

The store's image is named by CACHESTACK_E2E_STORE, that of the jobs by backup.image in CACHESTACK_E2E_SET.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import pytest

from tests.e2e.cluster import (
    Cluster,
    brought_up,
    eventually,
    image_of,
    kubectl,
    require_cluster,
    settle,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

HERE = Path(__file__).parent
BUCKET = "backups"
KEYS = 20_000
RESTORE_SECONDS = 300.0
JOB_SECONDS = 300
Record = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Store:
    """An S3 server in the cluster, with an empty bucket."""

    namespace: str
    secret: str

    def settings(self) -> list[str]:
        """Return what a stack file says of backups in it; their times are kept away from the test's."""
        given = {
            "enabled": "true",
            "bucket": BUCKET,
            "endpoint": f"http://store.{self.namespace}.svc:8333",
            "region": "us-east-1",
            "secretName": "backup-store",
            "encryptionSecret": "backup-keys",
            "encryptionKeyId": "first",
            "schedule": "0 0 29 2 *",
            "drillSchedule": "0 0 29 2 *",
            "cpuRequest": "50m",
        }
        return [f"backup.{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The server, ready."""
    require_cluster()
    image = os.environ.get("CACHESTACK_E2E_STORE")
    if not image:
        pytest.skip("no object store here: CACHESTACK_E2E_STORE names no image (see docs/deployment.md)")
    if not image_of("backup"):
        pytest.skip("no image of the jobs here: CACHESTACK_E2E_SET has no backup.image (see docs/deployment.md)")
    found = Store(f"store-e2e-{secrets.token_hex(3)}", secrets.token_hex(16))
    try:
        text = Template((HERE / "store.yaml").read_text(encoding="utf-8"))
        made = text.substitute(namespace=found.namespace, secret=found.secret, image=image)
        kubectl("create", "--filename", "-", stdin=made)
        pod = ["--namespace", found.namespace, "pod/store"]
        kubectl("wait", "--for=condition=Ready", "--timeout=120s", *pod, seconds=130)
        inside = ["exec", "--namespace", found.namespace, "store", "--", "sh", "-c"]
        create = f"echo s3.bucket.create -name {BUCKET} | weed shell; echo s3.bucket.list | weed shell"
        eventually(lambda: f"  {BUCKET}\t" in kubectl(*inside, create), "the bucket is there")
        yield found
    finally:
        kubectl("delete", "namespace", found.namespace, "--ignore-not-found", seconds=120)


@pytest.fixture(scope="module")
def sets(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """Two environments that speak TLS only, dev and staging, with the same keys and bucket; both empty."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    with ExitStack() as up:
        found = []
        for stack in ("dev", "staging"):
            folder = tmp_path_factory.mktemp(stack)
            cluster = up.enter_context(brought_up(stack, folder, "tls.enabled=true", *store.settings()))
            account = {"access-key-id": "AKIATEST", "secret-access-key": store.secret}
            for name, files in {"backup-store": account, "backup-keys": {"first": key}}.items():
                cluster.bring_secret(name, files)
            found.append(cluster)
        yield found[0], found[1]


def run_job(cluster: Cluster, name: str, cron_job: str) -> tuple[str, float]:
    """Run a CronJob now, as a person does; return its log and how long it took, in seconds."""
    began = time.monotonic()
    cluster.kubectl("create", "job", name, f"--from=cronjob/{cron_job}")
    ended = partial(cluster.kubectl, "get", "job", name, "--output")
    eventually(lambda: ended("jsonpath={.status.succeeded}{.status.failed}") != "", f"job {name} ends", JOB_SECONDS)
    took, log = time.monotonic() - began, cluster.kubectl("logs", f"job/{name}")
    assert ended("jsonpath={.status.succeeded}") == "1", log
    return log, took


def restore(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """Run the command from this machine, which has no credentials of the store; return what it prints."""
    command = [sys.executable, "-m", "infra.jobs", "restore", "--namespace", cluster.namespace, "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_a_backup_of_one_environment_is_drilled_and_restored_into_another(
    sets: tuple[Cluster, Cluster], record: Record
) -> None:
    old, new = sets
    old.client(f'fill "$(find_master)" {KEYS}')
    held = old.client(f'digest "$(find_master)" {KEYS}')
    assert held.startswith(f"{KEYS} keys ")

    log, took = run_job(old, "first", "cache-backup")
    assert "a replica" in log
    assert "warning" not in log
    record(f"backup of {KEYS:,} keys, from the Job's creation to its end", "", f"{took:.0f} s")
    log, took = run_job(old, "drilled", "cache-backup-drill")
    assert "as its manifest says" in log
    record("  restore drill of that backup", "as many keys", f"{took:.0f} s, as many")
    old.client(f'redis "$(find_master)" DEL key:{KEYS}')

    assert restore(new, "--stack", "dev")["executed"] is False
    assert new.client(f'digest "$(find_master)" {KEYS}').startswith("0 keys ")
    done = restore(new, "--stack", "dev", "--execute")
    settle(new)
    record("  restore into another namespace and stack", f"<= {RESTORE_SECONDS:g} s", f"{done['seconds']:.0f} s")
    for pod in ("redis-0", "redis-1", "redis-2"):
        assert new.client(f"digest {pod} {KEYS}") == held, pod
    record("  keys, values and times of expiry on each pod", "the same", "the same")
    assert new.client('redis "$(find_master)" SET after restore') == "OK"
    assert done["seconds"] <= RESTORE_SECONDS

    refused = subprocess.run(
        [sys.executable, "-m", "infra.jobs", "restore", "--namespace", new.namespace, "--stack", "dev", "--execute"],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (refused.returncode, "--force replaces them" in refused.stderr) == (5, True), refused.stderr
    again = restore(new, "--stack", "dev", "--execute", "--force")
    settle(new)
    record("  restore over data, its safety backup included", f"<= {RESTORE_SECONDS:g} s", f"{again['seconds']:.0f} s")
    assert "/staging/" in again["safety_backup"]
    assert new.client('redis "$(find_master)" EXISTS after') == "0"
    assert new.client(f'digest "$(find_master)" {KEYS}') == held
    assert again["seconds"] <= RESTORE_SECONDS
