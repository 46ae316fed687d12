"""Finds out what holds before a deployment, by asking alone: nothing here changes anything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from infra import stack_files
from infra.deploy.preflight import Facts
from infra.deploy.steps import Manifests, Way
from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl
from infra.settings import Settings

_ASKED_AT_ONCE: Final = 6
_CALL: Final = 60.0
T = TypeVar("T")


def look(stack: str, settings: Settings, manifests: Manifests, way: Way, documents: str) -> Facts:
    """Return the facts; ``documents`` are the manifests as YAML, which the API server is asked to try.

    Raises:
        JobError: if kubectl fails in a way that is no answer.
    """
    tools = tuple(tool for tool in dict.fromkeys(("kubectl", way.value)) if shutil.which(tool) is None)
    if tools:
        return Facts(missing_tools=tools)
    kubectl = Kubectl(settings.namespace, settings.context)
    try:
        kubectl.run("get", "--raw", "/readyz")
    except JobError as error:
        return Facts(unreachable=str(error).rpartition("\n")[2], contexts=_contexts())
    has_namespace = kubectl.find("namespace", settings.namespace) is not None
    return Facts(
        has_namespace=has_namespace,
        denied=_denied(kubectl, {_resource(manifest) for manifest in manifests.values()}),
        resources=_told(lambda: frozenset(kubectl.run("api-resources", "--output", "name").split())),
        storage_classes=_told(lambda: _classes(kubectl.get("storageclass")["items"])),
        nodes=_told(lambda: _ready(kubectl.get("nodes")["items"])),
        secrets=secrets(kubectl) if has_namespace else {},
        # Pulumi's objects have another field manager, and `pulumi up` previews by itself.
        refused=_refused(kubectl, documents) if has_namespace and way is Way.KUBECTL else (),
        stack_exists=way is Way.KUBECTL or knows_stack(stack),
    )


def secrets(kubectl: Kubectl) -> dict[str, frozenset[str]]:
    """Return the names of the files of every Secret in the namespace, by its name."""
    template = '{{range .items}}{{.metadata.name}}{{range $name, $_ := .data}} {{$name}}{{end}}{{"\\n"}}{{end}}'
    lines = kubectl.run("get", "secrets", "--output", f"go-template={template}").splitlines()
    return {name: frozenset(files) for name, *files in map(str.split, lines)}


def knows_stack(stack: str) -> bool:
    """Whether the Pulumi backend that is logged in to has this stack."""
    argv = ["pulumi", "stack", "--stack", stack, "--non-interactive", "--show-name"]
    done = subprocess.run(argv, cwd=stack_files.ROOT, capture_output=True, timeout=_CALL, check=False)
    return done.returncode == 0


def _contexts() -> tuple[str, ...]:
    argv = ["kubectl", "config", "get-contexts", "--output", "name"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_CALL, check=False)
    return tuple(done.stdout.split())


def _told(ask: Callable[[], T]) -> T | None:
    """Return the answer, or None where this user may not ask."""
    try:
        return ask()
    except JobError:
        return None


def _resource(manifest: Any) -> str:
    group, _, _ = manifest["apiVersion"].rpartition("/")
    return f"{manifest['kind'].lower()}{'.' if group else ''}{group}"


def _denied(kubectl: Kubectl, resources: Iterable[str]) -> tuple[str, ...]:
    def denied(resource: str) -> bool:
        try:
            kubectl.run("auth", "can-i", "create", resource, "--quiet")
        except JobError as error:
            return "have a resource type" not in str(error)  # one that the cluster does not know is another fault
        return False

    ordered = sorted(resources)
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return tuple(name for name, no in zip(ordered, pool.map(denied, ordered), strict=True) if no)


def _classes(items: Iterable[dict[str, Any]]) -> dict[str, bool]:
    default = "storageclass.kubernetes.io/is-default-class"
    return {i["metadata"]["name"]: i["metadata"].get("annotations", {}).get(default) == "true" for i in items}


def _ready(items: Iterable[dict[str, Any]]) -> int:
    def ready(node: dict[str, Any]) -> bool:
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not node["spec"].get("unschedulable")

    return sum(map(ready, items))


def _refused(kubectl: Kubectl, documents: str) -> tuple[str, ...]:
    try:
        kubectl.run("apply", "--server-side", "--dry-run=server", "--filename", "-", stdin=documents)
    except JobError as error:
        return tuple(str(error).partition(": ")[2].splitlines())  # without the command itself
    return ()


def as_documents(manifests: Manifests) -> str:
    """Return objects as kubectl reads them from standard input."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests.values())})
