"""A stack in a namespace of its own on a real cluster, through kubectl, and a client pod that writes all the time.

``CACHESTACK_E2E_SET`` holds settings for a cluster with other images than the stack files name, separated by spaces:
``redis.image=redis:7.0 sentinel.image=redis:7.0``. Images named there may have been loaded on the nodes, so they are
not pulled anew.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from cacheclient.contract import SENTINEL_AUTH_FILE, Component, Env, Label, set_name
from infra import certificates, credentials, render, stack_files
from tests.drill.traffic import PATIENT

HERE = Path(__file__).parent
PRESENT = "IfNotPresent"
SCRIPTS = ("client.sh", "caller.py", "opening.py", "reader.py", "shop.py")


def require_cluster() -> None:
    """Skip the test where there is no cluster."""
    for name, found in {"KUBECONFIG": os.environ.get("KUBECONFIG"), "kubectl": shutil.which("kubectl")}.items():
        if not found:
            pytest.skip(f"needs a Kubernetes cluster: no {name}")


def settings_of_this_cluster() -> list[str]:
    """Return the settings of ``CACHESTACK_E2E_SET``."""
    given = os.environ.get("CACHESTACK_E2E_SET", "").split()
    groups = [setting.partition(".image=")[0] for setting in given if ".image=" in setting]
    return [*given, *(f"{group}.pullPolicy={PRESENT}" for group in groups)]


def image_of(group: str) -> str:
    """Return the image that ``CACHESTACK_E2E_SET`` names for a group of settings, or nothing."""
    given = dict(setting.partition("=")[::2] for setting in settings_of_this_cluster())
    return given.get(f"{group}.image", "")


def scope_of(stack: str, namespace: str) -> list[str]:
    """Return the settings that keep a stack to a namespace; its PriorityClass would be one for the whole cluster."""
    own_class = "priority" in stack_files.read(stack) and stack_files.read(stack)["priority"]
    return [f"namespace={namespace}", *([f"priority.className={namespace}"] if own_class else [])]


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
    """Run kubectl and return what it prints; fail the test with what it says if it fails."""
    command = ["kubectl", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """A namespace of a real cluster, with one stack."""

    stack: str
    namespace: str
    overrides: tuple[str, ...]
    folder: Path

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 60) -> str:
        return kubectl("--namespace", self.namespace, *arguments, stdin=stdin, seconds=seconds)

    def render(self, *overrides: str) -> render.Rendered:
        """Write the stack's manifests, with further overrides, into the folder."""
        rendered = render.render(self.stack, overrides=(*self.overrides, *overrides))
        render.write(rendered, self.folder)
        return rendered

    def apply(self) -> None:
        self.kubectl("apply", "--server-side", "--filename", str(self.folder))

    def bring_secret(self, name: str, files: Mapping[str, str]) -> None:
        """Have a Secret with exactly these files."""
        data = {file: base64.b64encode(text.encode()).decode() for file, text in files.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        self.kubectl("apply", "--server-side", "--filename", "-", stdin=json.dumps(secret))

    def client(self, script: str) -> str:
        """Run a shell script in the client pod, with the functions of client.sh."""
        run = ["exec", "client", "--", "sh", "-uc", f". /scripts/client.sh\n{script}"]
        return self.kubectl(*run, seconds=180).strip()

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


def client_pod(cluster: Cluster, rendered: render.Rendered) -> dict[str, Any]:
    """Return an application's pod, with the passwords and certificates that it needs."""
    host, _, sentinel_port = rendered.outputs["sentinelAddress"].rpartition(":")
    stateful_set = rendered.manifests["08-statefulset-redis.yaml"]
    values = {
        "set": set_name(cluster.stack),
        "secret": rendered.outputs["secretName"],
        "host": host,
        "sentinel_port": sentinel_port,
        "port": rendered.outputs["redisPort"],
        "image": stateful_set["spec"]["template"]["spec"]["containers"][0]["image"],
    }
    pod: dict[str, Any] = yaml.safe_load(
        Template((HERE / "client.yaml").read_text(encoding="utf-8")).substitute(values)
    )
    if tls := rendered.outputs["tlsSecretName"]:
        pod["spec"]["volumes"].append({"name": "tls", "secret": {"secretName": tls, "defaultMode": 0o440}})
        (container,) = pod["spec"]["containers"]
        container["volumeMounts"].append({"name": "tls", "mountPath": "/tls", "readOnly": True})
        container["env"].append(
            {"name": "TLS", "value": "--tls --cacert /tls/ca.crt --cert /tls/tls.crt --key /tls/tls.key"}
        )
    return pod


def start_client(cluster: Cluster, rendered: render.Rendered, node: str = "") -> None:
    """Start the client's pod anew, on ``node`` if one is given."""
    pod = client_pod(cluster, rendered)
    if node:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    bring_scripts(cluster)
    start_pod(cluster, pod)


def bring_scripts(cluster: Cluster) -> None:
    """Have the ConfigMap that the pods of the tests mount."""
    data = {name: (HERE / name).read_text(encoding="utf-8") for name in SCRIPTS}
    scripts = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client"}, "data": data}
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(scripts))


def python_pod(cluster: Cluster, rendered: render.Rendered, name: str, *command: str) -> dict[str, Any]:
    """Return an application's pod that has cacheclient and its settings, in the image of the jobs."""
    outputs, pod = rendered.outputs, client_pod(cluster, rendered)
    environment = PATIENT | {
        Env.URL: f"{outputs['urlScheme']}://{outputs['username']}@{outputs['sentinelAddress']}/{outputs['setName']}",
        Env.NAMESPACE: name,
        Env.PASSWORD_FILE: f"/secrets/{outputs['passwordKey']}",
        Env.SENTINEL_PASSWORD_FILE: f"/secrets/{SENTINEL_AUTH_FILE}",
    }
    pod["metadata"]["name"] = name
    (container,) = pod["spec"]["containers"]
    container |= {
        "name": name,
        "image": image_of("backup"),
        "command": list(command),
        "env": [{"name": str(variable), "value": value} for variable, value in environment.items()],
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
    }
    return pod


def project_image() -> str:
    """Return the image that the Dockerfile builds; skip the test where there is none."""
    if not (image := image_of("backup")):
        pytest.skip("needs the image that the Dockerfile builds: CACHESTACK_E2E_SET has no backup.image")
    return image


def enabled(*groups: str) -> list[str]:
    """Return the settings that turn these parts of a stack on, in the project's image."""
    given = {"enabled": "true", "image": project_image(), "pullPolicy": PRESENT, "cpuRequest": "50m"}
    return [f"{group}.{name}={value}" for group in groups for name, value in given.items()]


def crash(cluster: Cluster, pod: str) -> None:
    """End a pod's processes at once, as a crash does.

    The first process of a container is out of reach of its own signals: the kernel ends it at its limit of CPU time.
    """
    script = (
        "import os, resource\n"
        "others = {int(pid) for pid in os.listdir('/proc') if pid.isdigit()} - {1, os.getpid()}\n"
        "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))\n"
        "for pid in others: os.kill(pid, 9)\n"
    )
    command = ["kubectl", "--namespace", cluster.namespace, "exec", pod, "--", "python", "-c", script]
    subprocess.run(command, capture_output=True, timeout=60, check=False)  # it may be gone before it has answered


def start_pod(cluster: Cluster, pod: dict[str, Any]) -> None:
    """Start a pod in place of the one of that name, and wait until it is ready."""
    name = pod["metadata"]["name"]
    cluster.kubectl("delete", "pod", name, "--ignore-not-found", "--force", "--grace-period=0")
    cluster.kubectl("create", "--filename", "-", stdin=yaml.safe_dump(pod))
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s", seconds=100)


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


def with_settings(stack: str, folder: Path, *overrides: str) -> Cluster:
    """Return a stack with the settings of this cluster, for a namespace of its own that is not there yet."""
    namespace = f"cache-e2e-{secrets.token_hex(3)}"
    # The client is an application in the set's own namespace.
    given = [*scope_of(stack, namespace), f"network.clientNamespaces=[{namespace}]"]
    given += ["api.enabled=false", "warmup.enabled=false", *settings_of_this_cluster(), *overrides]
    monitored = "servicemonitors.monitoring.coreos.com" in kubectl("get", "crd", "--output", "name")
    given.append(f"monitoring.enabled={str(monitored).lower()}")
    return Cluster(stack, namespace, tuple(given), folder)


@contextmanager
def brought_up(
    stack: str, folder: Path, *overrides: str, node: str = "", files: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Cluster]:
    """Bring a stack up in a namespace of its own, with passwords, certificates and a client; remove it afterwards.

    ``files`` are further Secrets by name: those that are a person's to make.
    """
    require_cluster()
    cluster = with_settings(stack, folder, *overrides)
    namespace = cluster.namespace
    try:
        rendered = cluster.render()
        for file in sorted(folder.glob("00-*.yaml")):
            cluster.kubectl("apply", "--server-side", "--filename", str(file))
        for secret in secrets_of(cluster, rendered):
            cluster.kubectl("create", "--filename", "-", stdin=json.dumps(secret))
        for name, content in (files or {}).items():
            cluster.bring_secret(name, content)
        cluster.apply()
        start_client(cluster, rendered, node)
        settle(cluster)
        yield cluster
    finally:
        kubectl("delete", "namespace", namespace, "--ignore-not-found", seconds=180)
        kubectl("delete", "priorityclass", namespace, "--ignore-not-found")


def secrets_of(cluster: Cluster, rendered: render.Rendered) -> Iterator[dict[str, Any]]:
    """Yield the Secrets that a stack's pods wait for, made as a person would make them."""
    outputs = rendered.outputs
    yield credentials.secret_manifest(outputs["secretName"], cluster.namespace, credentials.generate())
    if outputs["tlsSecretName"]:
        hosts = [outputs["sentinelAddress"], *outputs["sentinelAddresses"]]
        addresses = [address.rpartition(":")[0] for address in hosts]
        names = [*addresses, *(f"redis-{n}.{cluster.namespace}.svc" for n in range(3)), "localhost", "127.0.0.1"]
        yield certificates.secret_manifest(outputs["tlsSecretName"], cluster.namespace, certificates.generate(names))


def node_of(cluster: Cluster, pod: str) -> str:
    """Return the node that a pod runs on."""
    return cluster.kubectl("get", "pod", pod, "--output", "jsonpath={.spec.nodeName}")


def node_command(action: str, node: str) -> None:
    """Do something to a node of this cluster, as CACHESTACK_E2E_NODE says; skip the test where it says nothing.

    It is a command with the places ``{action}`` (kill, start, cut, heal), ``{node}`` and ``{number}``, the digits at
    the end of the node's name.
    """
    command = node_commands().format(action=action, node=node, number=node.lstrip("abcdefghijklmnopqrstuvwxyz-."))
    subprocess.run(shlex.split(command), check=True, capture_output=True, timeout=120)


def node_commands() -> str:
    """Return the command template of CACHESTACK_E2E_NODE; skip the test where it is not set."""
    template = os.environ.get("CACHESTACK_E2E_NODE")
    if not template:
        pytest.skip("nodes cannot be killed or cut off here: CACHESTACK_E2E_NODE is not set (see docs/deployment.md)")
    return template


def lost(cluster: Cluster, pod: str) -> list[float]:
    """Return of each lost write how long before the longest gap it was acknowledged, in seconds."""
    missing = {line.split()[1] for line in cluster.client(f"lost_at {pod}").splitlines()}
    lines = [line.split() for line in cluster.client("cat /scratch/acknowledged").splitlines()]
    times = [float(seen) for _, seen in lines]
    last = max(pairwise(times), key=lambda pair: pair[1] - pair[0])[0]
    return [last - float(seen) for number, seen in lines if number in missing]


@contextmanager
def fewest_ready(cluster: Cluster) -> Iterator[list[int]]:
    """Look at the number of ready Redis pods all the time."""
    seen, stop = [3], threading.Event()

    def watch() -> None:
        while not stop.wait(0.3):
            ready = cluster.kubectl("get", "statefulset", "redis", "--output", "jsonpath={.status.readyReplicas}")
            seen.append(int(ready or 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
