"""Every stack before a real API server: admitted, with pods that the restricted Pod Security level lets in."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from infra import stack_files
from infra.policy.workload import pod_templates
from infra.render import render
from tests.e2e.cluster import kubectl, require_cluster, scope_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

STACKS = sorted(path.suffixes[0][1:] for path in stack_files.ROOT.glob("Pulumi.*.yaml"))
EVERYTHING = ("monitoring.enabled=true", "tls.enabled=true")


@pytest.fixture(params=STACKS)
def admitted(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A namespace as the stack declares it, with its service accounts, and the stack's other objects."""
    require_cluster()
    namespace = f"cache-e2e-{secrets.token_hex(3)}"
    rendered = render(request.param, overrides=[*scope_of(request.param, namespace), *EVERYTHING])
    manifests = list(rendered.manifests.values())
    first = [m for m in manifests if m["kind"] in {"Namespace", "PriorityClass", "ServiceAccount"}]
    try:
        for manifest in first:
            kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(manifest))
        yield namespace, [manifest for manifest in manifests if manifest not in first]
    finally:
        kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=120)
        kubectl("delete", "priorityclass", namespace, "--ignore-not-found")


def dry_run(manifest: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "apply", "--server-side", "--dry-run=server", "--filename", "-"]
    return subprocess.run(command, input=json.dumps(manifest), capture_output=True, text=True, check=False, timeout=60)


def test_the_api_server_admits_every_object_without_a_warning(admitted: tuple[str, list[dict[str, Any]]]) -> None:
    _, manifests = admitted
    for manifest in manifests:
        done = dry_run(manifest)
        assert (done.returncode, done.stderr) == (0, ""), manifest["metadata"]["name"]


def test_the_restricted_level_admits_every_pod_and_refuses_one_that_may_do_more(
    admitted: tuple[str, list[dict[str, Any]]],
) -> None:
    namespace, manifests = admitted
    templates = list(pod_templates(tuple(manifests)))
    assert templates
    for number, template in enumerate(templates):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": namespace, "labels": template.labels},
            # The claim is the StatefulSet's to add.
            "spec": {**template.spec, "volumes": [*template.spec["volumes"], {"name": "data", "emptyDir": {}}]},
        }
        done = dry_run(pod)
        assert (done.returncode, done.stderr) == (0, "")
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        refused = dry_run(pod)
        assert refused.returncode != 0
        assert "violates PodSecurity" in refused.stderr
