"""The two ways into the cluster: kubectl applies what is rendered, or the Pulumi CLI runs the program."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final, Protocol

from infra import stack_files
from infra.deploy import looking, steps
from infra.deploy.steps import Manifest, Manifests, Name
from infra.deploy.waiting import Say
from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl

APPLY_SECONDS: Final = 300.0
_LAST_LINES: Final = 12


class Applying(Protocol):
    """Brings a step's objects into the cluster."""

    def namespace(self) -> None:
        """Have the namespace, and what belongs to the whole cluster."""

    def redis(self) -> None:
        """Have the objects of the set."""

    def others(self, step: Name) -> None:
        """Have the objects of a later step."""


class ByKubectl:
    """Applies the rendered manifests on the server's side, which is what ``make render`` and kubectl do."""

    def __init__(self, kubectl: Kubectl, manifests: Manifests, say: Say) -> None:
        self._kubectl, self._manifests, self._say = kubectl, manifests, say

    def namespace(self) -> None:
        """Apply the namespace and the PriorityClass."""
        self._apply(Name.NAMESPACE)

    def redis(self) -> None:
        """Apply the objects of the set: policies before pods, by their order."""
        self._apply(Name.REDIS)

    def others(self, step: Name) -> None:
        """Apply the objects of a later step."""
        self._apply(step)

    def _apply(self, step: Name) -> None:
        objects = steps.of(self._manifests, step)
        if not objects:
            return
        text = looking.as_documents(objects)
        said = self._kubectl.run("apply", "--server-side", "--filename", "-", stdin=text, seconds=APPLY_SECONDS)
        self._say(f"{len(said.splitlines())} objects applied")


class ByPulumi:
    """Runs ``pulumi up``: all objects are in one program, so later steps only make sure that theirs are there."""

    def __init__(self, stack: str, kubectl: Kubectl, manifests: Manifests, say: Say) -> None:
        self._stack, self._kubectl, self._manifests, self._say = stack, kubectl, manifests, say

    def namespace(self) -> None:
        """Bring up the namespace alone: Secrets of yours have to be in it before pods wait for them."""
        if self._kubectl.find("namespace", self._kubectl.namespace) is None:
            targets = ("**kubernetes:core/v1:Namespace::namespace", "**pulumi:providers:kubernetes::cluster")
            self._up(*(word for target in targets for word in ("--target", target)))

    def redis(self) -> None:
        """Bring everything up; the engine waits for the pods."""
        self._up()

    def others(self, step: Name) -> None:
        """Make sure that the objects of a step are there.

        Raises:
            JobError: naming those that are not.
        """
        wanted = steps.of(self._manifests, step).values()
        missing = [_named(manifest) for manifest in wanted if not self._has(manifest)]
        if missing:
            raise JobError(f"not there after pulumi up: {', '.join(missing)}")
        self._say(f"{len(wanted)} objects are there")

    def _has(self, manifest: Manifest) -> bool:
        group, _, _ = manifest["apiVersion"].rpartition("/")
        kind = f"{manifest['kind'].lower()}{'.' if group else ''}{group}"
        return self._kubectl.find(kind, manifest["metadata"]["name"]) is not None

    def _up(self, *arguments: str) -> None:
        argv = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--color", "never"]
        _stream([*argv, "--stack", self._stack, *arguments], self._say)


def _named(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _stream(argv: Sequence[str], say: Say) -> None:
    """Run a program that takes minutes, and say each line that it prints.

    Raises:
        JobError: with its last lines, if it fails.
    """
    lines: list[str] = []
    with subprocess.Popen(
        argv, cwd=stack_files.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        for line in running.stdout or ():
            if text := line.rstrip():
                lines.append(text)
                say(text)
    if running.returncode:
        last = "\n  ".join(lines[-_LAST_LINES:])
        raise JobError(f"{' '.join(argv[:2])} ended with code {running.returncode}:\n  {last}")
