"""kubectl as a subprocess: the operator's own access to the cluster, and nothing beyond it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from infra.jobs.errors import JobError, UsageError

CALL_SECONDS: Final = 60.0
_POLL: Final = 0.5


class Kubectl:
    """kubectl in one namespace. Every call raises JobError with kubectl's own words if it fails."""

    def __init__(self, namespace: str, context: str = "") -> None:
        self.namespace = namespace
        self._command = ["kubectl", "--namespace", namespace, *(["--context", context] if context else [])]

    def run(self, *arguments: str, stdin: str | None = None, seconds: float | None = None) -> str:
        """Run kubectl, for ``seconds`` at most (CALL_SECONDS), and return what it prints."""
        seconds = CALL_SECONDS if seconds is None else seconds
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            raise UsageError("kubectl was not found: what is done in a cluster goes through it") from None
        except subprocess.TimeoutExpired:
            raise JobError(f"kubectl {arguments[0]} did not answer within {seconds:g} s") from None
        if done.returncode != 0:
            raise JobError(f"kubectl {' '.join(arguments[:3])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def get(self, kind: str, *arguments: str) -> dict[str, Any]:
        """Return an object, or a list of objects, as plain data."""
        found: dict[str, Any] = json.loads(self.run("get", kind, *arguments, "--output", "json"))
        return found

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None if there is none of that name."""
        text = self.run("get", kind, name, "--ignore-not-found", "--output", "json")
        return json.loads(text) if text.strip() else None

    def pods_of(self, workload: Mapping[str, Any], *arguments: str) -> list[dict[str, Any]]:
        """Return the pods that a workload selects; ``arguments`` narrow that down."""
        labels = ",".join(f"{name}={value}" for name, value in workload["spec"]["selector"]["matchLabels"].items())
        found: list[dict[str, Any]] = self.get("pods", "--selector", labels, *arguments)["items"]
        return found

    def create(self, manifest: dict[str, Any]) -> None:
        """Create an object."""
        self.run("create", "--filename", "-", stdin=json.dumps(manifest))


def await_so(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until ``condition`` holds.

    Raises:
        JobError: if it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise JobError(f"after {seconds:g} s still not so: {what}")
        time.sleep(_POLL)
