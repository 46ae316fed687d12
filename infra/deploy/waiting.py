"""Waits for pods, and says in one line each why those that are not ready are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl, await_so
from infra.topology import FILES_DIR

Say = Callable[[str], None]

POLL: Final = 2.0
_SLACK: Final = 30.0  # for kubectl itself, beyond the time that it is told to wait
_REVISION: Final = "controller-revision-hash"  # a label that the StatefulSet's controller sets
_HOPELESS: Final = {
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError",
}  # fmt: skip
_POLL_SENTINELS: Final = f". {FILES_DIR}/ask.sh && poll_sentinels"


def await_rollout(kubectl: Kubectl, workload: str, seconds: float) -> None:
    """Wait until all pods of ``kind/name`` are those of its newest template, and ready.

    Raises:
        JobError: if they are not within ``seconds``; the text says of each pod why.
    """
    try:
        kubectl.run("rollout", "status", workload, f"--timeout={seconds:g}s", seconds=seconds + _SLACK)
    except JobError as error:
        pods = kubectl.pods_of(kubectl.get(*workload.split("/")))
        told = "".join(f"\n  {line}" for line in not_ready(pods))
        raise JobError(f"{workload} is not ready after {seconds:g} s{told or f': {error}'}") from error


def unblock(kubectl: Kubectl, stateful_set: str, say: Say) -> None:
    """Delete the pods that a StatefulSet would wait for although its newest template has mended them.

    Its controller replaces pods one by one, each when the one before is ready. If none could start, as with an image
    that is not there, the first new one waits in vain for the old ones: a set does not begin with its last node alone.

    Raises:
        JobError: if the controller does not take notice of the template in time.
    """
    await_so(lambda: _observed(kubectl.get("statefulset", stateful_set)), f"{stateful_set} was noticed", _SLACK)
    found = kubectl.get("statefulset", stateful_set)
    for pod in never_started(kubectl.pods_of(found), found.get("status", {}).get("updateRevision", "")):
        say(f"{pod} never started, and is made anew from the template as it is now")
        kubectl.run("delete", "pod", pod, "--wait=false")


def _observed(stateful_set: Mapping[str, Any]) -> bool:
    generation = stateful_set["metadata"].get("generation", 0)
    return bool(stateful_set.get("status", {}).get("observedGeneration", 0) >= generation)


def never_started(pods: Iterable[Mapping[str, Any]], revision: str) -> list[str]:
    """Return the pods of an older revision of which a container waits for what it has never had, such as an image."""
    names = []
    for pod in pods:
        states = pod["status"].get("containerStatuses", ())
        hopeless = any(c.get("state", {}).get("waiting", {}).get("reason") in _HOPELESS for c in states)
        if hopeless and pod["metadata"].get("labels", {}).get(_REVISION) not in {revision, None}:
            names.append(pod["metadata"]["name"])
    return names


def not_ready(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each pod that is not ready: what the kubelet or the scheduler says of it. Pure."""
    lines = []
    for pod in pods:
        status = pod["status"]
        conditions = {c["type"]: c for c in status.get("conditions", ())}
        if conditions.get("Ready", {}).get("status") == "True":
            continue
        reasons = [*_containers(status), *_conditions(conditions)]
        lines.append(f"{pod['metadata']['name']}: {reasons[0] if reasons else status.get('phase', 'unknown')}")
    return lines


def _containers(status: Mapping[str, Any]) -> list[str]:
    said = []
    for container in status.get("containerStatuses", ()):
        state, name = container.get("state", {}), container["name"]
        if waiting := state.get("waiting"):
            ended = container.get("lastState", {}).get("terminated", {})
            before = f", it ended with code {ended['exitCode']}" if ended else ""
            said.append(f"{name}: {waiting.get('reason')}{before} {waiting.get('message', '')}".strip())
        elif not container.get("ready"):
            said.append(f"{name} runs and is not ready (kubectl logs {name} tells more)")
    return said


def _conditions(conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    wrong = (conditions[kind] for kind in ("PodScheduled", "Initialized") if kind in conditions)
    return [f"{c.get('reason')}: {c.get('message')}" for c in wrong if c["status"] != "True"]


def await_master(kubectl: Kubectl, sentinel: str, seconds: float) -> str:
    """Wait until most Sentinels name one master of this set, and return its host.

    Raises:
        JobError: if they do not within ``seconds``; the text says what they say.
    """
    end = time.monotonic() + seconds
    while True:
        said = kubectl.run("exec", sentinel, "--container", "sentinel", "--", "sh", "-c", _POLL_SENTINELS).strip()
        verdict, _, host = said.partition(" ")
        if verdict == "majority":
            return host
        if time.monotonic() > end:
            raise JobError(f"the Sentinels name no master after {seconds:g} s: {said}")
        time.sleep(POLL)


def run_now(kubectl: Kubectl, cron_job: str, name: str, seconds: float) -> str:
    """Run a CronJob now, as a Job of that name, and return the last line of its log.

    Raises:
        JobError: if it fails, or has not ended within ``seconds``.
    """
    kubectl.run("create", "job", name, f"--from=cronjob/{cron_job}")
    end = time.monotonic() + seconds
    while not (ended := _ended(kubectl, name)):
        if time.monotonic() > end:
            raise JobError(f"job {name} has not ended after {seconds:g} s; it goes on: kubectl logs -f job/{name}")
        time.sleep(POLL)
    last = (kubectl.run("logs", f"job/{name}", "--tail", "1").strip() or "it logged nothing").splitlines()[-1]
    if ended == "Failed":
        raise JobError(f"job {name} failed: {last} (kubectl logs job/{name} tells more)")
    return last


def _ended(kubectl: Kubectl, job: str) -> str:
    status = kubectl.get("job", job).get("status", {})
    kinds = [c["type"] for c in status.get("conditions", ()) if c["status"] == "True"]
    return next((kind for kind in kinds if kind in {"Complete", "Failed"}), "")
