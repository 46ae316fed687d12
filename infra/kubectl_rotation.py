"""A set on Kubernetes whose passwords can be changed while it serves, through kubectl.

Passwords travel in standard input and in the Secret, never in an argument list.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from typing import TYPE_CHECKING, Final

from cacheclient.contract import APP_NAME, Component, Label, Port, Script
from infra import rotation
from infra.rotation import Files, RefusedError, RotationError
from infra.topology import FILES_DIR, pod_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.settings import Settings

CALL: Final = 60.0
# The kubelet looks at mounted Secrets once a minute, and its cache of them is as old as that again.
MOUNTED: Final = 300.0
POLL: Final = 2.0
_SCRIPTS: Final = {Component.REDIS: Script.REDIS_ROTATE, Component.SENTINEL: Script.SENTINEL_ROTATE}


class KubectlTarget:
    """The set of a stack, in the context that the stack names; ``grace`` seconds for clients to see a new Secret."""

    def __init__(self, settings: Settings, grace: float, kubectl: str = "kubectl") -> None:
        self._settings, self._grace = settings, grace
        self._kubectl = [kubectl, "--context", settings.context, "--namespace", settings.namespace]

    def read(self) -> Files:
        """Return the content of the Secret that the stack names.

        Raises:
            RefusedError: if the program declares it: the stack's own passwords would win again.
            RotationError: if there is none.
        """
        secret = json.loads(self._call("get", "secret", self._settings.secret_name, "--output", "json"))
        if secret["metadata"].get("labels", {}).get(Label.MANAGED_BY) == APP_NAME:
            raise RefusedError(
                f"Secret {self._settings.secret_name} is declared by the stack (passwords): the next `pulumi up` would "
                "undo new ones. Let the Secret stand for itself first, in this order:\n"
                "  pulumi up                    # the state learns that the Secret may stay\n"
                "  pulumi config rm passwords\n"
                "  pulumi up                    # the Secret leaves the stack and stays in the cluster\n"
                f"  {' '.join(self._kubectl)} label secret {self._settings.secret_name} {Label.MANAGED_BY}-"
            )
        return {name: base64.b64decode(text).decode() for name, text in secret.get("data", {}).items()}

    def write(self, files: Files) -> None:
        """Replace the content of the Secret, in one step."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._settings.secret_name},
            "type": "Opaque",
            "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
        }
        self._call("replace", "--filename", "-", stdin=json.dumps(secret))

    def nodes(self) -> Sequence[str]:
        """Return the names of the pods, Redis first."""
        redis = pod_names(Component.REDIS, self._settings.redis.replicas)
        return (*redis, *pod_names(Component.SENTINEL, self._settings.sentinel.replicas))

    def await_mounted(self, node: str) -> None:
        """Wait until the pod's mounted files are the Secret's, as its own script digests them."""
        component = _component(node)
        wanted = rotation.digest(self.read(), rotation.MOUNTED_BY[component])
        end = time.monotonic() + MOUNTED
        while self._script(node, "digest").strip() != wanted:
            if time.monotonic() > end:
                raise RotationError(f"{node} has not got the new Secret within {MOUNTED:g} s")
            time.sleep(POLL)

    def apply(self, node: str) -> str:
        """Run the pod's own script."""
        self._script(node)
        return "the passwords are those of the Secret now"

    def reload_exporters(self) -> None:
        """Make each exporter read its passwords again, and wait until it sees its server.

        redis_exporter reloads since 1.50. Earlier ones answer any path with their home page and status 200, so the
        answer's text is looked at: there the exporter's process is ended and the kubelet starts it anew.

        Raises:
            RotationError: if an exporter can be neither reloaded nor ended (its image has no shell), or does not see
                its server afterwards.
        """
        for node in self.nodes():
            if "<html" in self._call("create", "--raw", self._exporter(node, "-/reload"), "--filename", "-", stdin=""):
                self._restart_exporter(node)
            end = time.monotonic() + CALL
            while not self._sees_server(node):
                if time.monotonic() > end:
                    raise RotationError(f"{node}: its exporter does not see its server after a reload")
                time.sleep(POLL)

    def _restart_exporter(self, node: str) -> None:
        begun = self._exporter_begun(node)
        try:
            self._call("exec", node, "--container", "exporter", "--", "sh", "-c", "kill 1")
        except RotationError as error:
            raise RotationError(
                f"{node}: its exporter cannot reread passwords; set exporter.image to redis_exporter 1.50 or later, "
                f"apply the stack and run this command again ({error})"
            ) from error
        end = time.monotonic() + CALL
        while self._exporter_begun(node) in {begun, ""}:
            if time.monotonic() > end:
                raise RotationError(f"{node}: its exporter did not start again within {CALL:g} s")
            time.sleep(POLL)

    def _exporter_begun(self, node: str) -> str:
        path = '{.status.containerStatuses[?(@.name=="exporter")].state.running.startedAt}'
        return self._call("get", "pod", node, "--output", f"jsonpath={path}").strip()

    def _sees_server(self, node: str) -> bool:
        try:
            return "\nredis_up 1\n" in self._call("get", "--raw", self._exporter(node, "metrics"))
        except RotationError:
            return False  # it is starting

    def _exporter(self, node: str, path: str) -> str:
        return f"/api/v1/namespaces/{self._settings.namespace}/pods/{node}:{Port.EXPORTER}/proxy/{path}"

    def await_clients(self) -> None:
        """Wait for the kubelets of the clients' nodes."""
        time.sleep(self._grace)

    def _script(self, node: str, *arguments: str) -> str:
        component = _component(node)
        script = f"{FILES_DIR}/{_SCRIPTS[component].value}"
        return self._call("exec", node, "--container", component.value, "--", "sh", script, *arguments)

    def _call(self, *arguments: str, stdin: str | None = None) -> str:
        argv = [*self._kubectl, *arguments]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=CALL, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RotationError(f"kubectl {arguments[0]}: {error}") from error
        if done.returncode:
            raise RotationError(f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip().rpartition(chr(10))[2]}")
        return done.stdout


def _component(node: str) -> Component:
    return Component(node.rpartition("-")[0])
