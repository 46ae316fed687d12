"""Where a master can hand over: the local environment, and a stack's set through kubectl."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cacheclient.contract import Component, Script
from infra.handover import HandoverError
from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl
from infra.local import programs
from infra.local.control import Environment
from infra.topology import FILES_DIR, pod_names

if TYPE_CHECKING:
    from infra.settings import Settings

_BUDGET: Final = 45.0  # seconds; the hook itself keeps to 25, and its calls take their time where nobody answers


class LocalHandover:
    """The set of ``make up``."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def nodes(self) -> Sequence[str]:
        """Return the names of its Redis nodes."""
        return tuple(self._environment.redis_nodes)

    def shell(self, node: str, script: str) -> str:
        """Run a script in the node's environment."""
        done = self._run(node, "/bin/sh", "-c", script, str(Path(programs.script(Script.ASK)).parent))
        return done.stdout if done.returncode == 0 else ""

    def stop_hook(self, node: str) -> str:
        """Run the hook of the node."""
        done = self._run(node, "/bin/sh", programs.script(Script.REDIS_STOP))
        if done.returncode:
            raise HandoverError(_last(done.stderr))
        return done.stderr

    def _run(self, node: str, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = self._environment.state.processes[node].environment
        try:
            return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=_BUDGET, check=False)
        except subprocess.TimeoutExpired as error:
            raise HandoverError(f"{node} has not answered for {_BUDGET:g} s") from error


class KubectlHandover:
    """The set of a stack, in the context that it names: what runs, runs in its pods."""

    def __init__(self, settings: Settings) -> None:
        self._pods = pod_names(Component.REDIS, settings.redis.replicas)
        self._kubectl = Kubectl(settings.namespace, settings.context)

    def nodes(self) -> Sequence[str]:
        """Return the names of the pods."""
        return self._pods

    def shell(self, node: str, script: str) -> str:
        """Run a script in the pod."""
        try:
            return self._exec(node, "sh", "-c", script, FILES_DIR)
        except JobError:
            return ""

    def stop_hook(self, node: str) -> str:
        """Run the hook of the pod."""
        try:
            return self._exec(node, "sh", f"{FILES_DIR}/{Script.REDIS_STOP}")
        except JobError as error:
            raise HandoverError(_last(str(error))) from error

    def _exec(self, pod: str, *argv: str) -> str:
        return self._kubectl.run("exec", pod, "--container", "redis", "--", *argv)


def _last(said: str) -> str:
    """Return the last line that a script logged, without time and name."""
    return said.strip().rpartition("\n")[2].partition(": ")[2] or said.strip()
