"""The set of a Kubernetes namespace as the target of a restore, through kubectl.

What needs the bucket runs in the cluster, as Jobs made from the template of the backup CronJob: image, credentials,
encryption keys and network policies are those of the backups, and the operator's machine needs none of them. Only the
operator's own rights are used: scale the two StatefulSets, create Jobs and one ConfigMap, read logs, exec. No service
account has any.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from cacheclient.contract import RESTORE_MARK, Component, Label
from infra.jobs.errors import JobError, RefusedError
from infra.jobs.fetching import Verdict
from infra.jobs.kubectl import Kubectl, await_so
from infra.jobs.manifest import Manifest
from infra.jobs.progress import say
from infra.jobs.redis_set import count_keys, parse_info
from infra.jobs.restoring import Survey
from infra.topology import CLAIM, DATA_DIR, FILES_DIR, RESTORE_CONFIG_MAP, pod_names

JOB_SECONDS: Final = 1200.0
STOP_SECONDS: Final = 180.0
READY_SECONDS: Final = 300.0
_KEYS: Final = f'. {FILES_DIR}/ask.sh && ask_redis "$LOCAL_ADDRESS" INFO keyspace'
_REPLICAS: Final = "replicas-of-"  # keys of the ConfigMap: what the StatefulSets had before the restore


class ClusterSet:
    """Restores the set of one namespace, by default from its own backups; ``stack`` names another one's.

    Raises:
        RefusedError: if the namespace has no backup CronJob.
    """

    def __init__(self, kubectl: Kubectl, stack: str = "") -> None:
        self._kubectl = kubectl
        self._source = ("--stack", stack) if stack else ()
        self.name = f"namespace {kubectl.namespace}"
        cron_job = kubectl.find("cronjob", Component.BACKUP)
        if cron_job is None:
            raise RefusedError(f"{self.name} has no CronJob {Component.BACKUP}: set backup.enabled in its stack file")
        self._template: dict[str, Any] = cron_job["spec"]["jobTemplate"]

    def survey(self) -> Survey:
        """Ask every pod that runs how many keys it has."""
        keys = {}
        for name, pod in self._pods(Component.REDIS).items():
            if pod["status"].get("phase") == "Running":
                try:
                    said = self._kubectl.run("exec", name, "--container", "redis", "--", "sh", "-c", _KEYS)
                except JobError as error:
                    say(f"{name} does not answer: {error}")
                    continue
                keys[name] = count_keys(parse_info(said.replace("\r", "")))
        return Survey(keys, resumable=self._kubectl.find("configmap", RESTORE_CONFIG_MAP) is not None)

    def backups(self) -> Sequence[Manifest]:
        """List the backups there are."""
        return msgspec.convert(self._job("list", *self._source)["backups"], list[Manifest])

    def verify(self, backup: Manifest) -> Verdict:
        """Fetch a backup in the cluster and check it there."""
        said = self._job("verify", "--backup", backup.object_key, *self._source)
        return Verdict(backup, str(said["fault"]))

    def back_up(self) -> str:
        """Take a safety backup and return its object key."""
        return str(self._job("backup", "--kind", "safety", "--allow-master")["backup"]["object_key"])

    def stop(self, restore_id: str) -> None:
        """Scale the Sentinels, then the nodes, to nothing; how many there were is kept in the restore's ConfigMap."""
        del restore_id
        if self._kubectl.find("configmap", RESTORE_CONFIG_MAP) is None:
            self._kubectl.create(self._remembered())
        for component in (Component.SENTINEL, Component.REDIS):
            self._scale(component, 0)
            await_so(lambda c=component: not self._pods(c), f"no pod of {component} is left", STOP_SECONDS)  # type: ignore[misc]

    def _remembered(self) -> dict[str, Any]:
        replicas = {}
        for component in (Component.REDIS, Component.SENTINEL):
            count = self._kubectl.get("statefulset", component)["spec"]["replicas"]
            if count == 0:
                raise RefusedError(f"StatefulSet {component} is scaled to 0: scale it to what its stack says first")
            replicas[f"{_REPLICAS}{component}"] = str(count)
        labels = self._template["spec"]["template"]["metadata"]["labels"]
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": RESTORE_CONFIG_MAP, "labels": labels},
            "data": replicas,
        }

    def write(self, backup: Manifest, restore_id: str) -> None:
        """Have a Job put the backup on the first node's volume, which no pod uses now."""
        (first,) = pod_names(Component.REDIS, 1)
        arguments = ("--data-dir", DATA_DIR, "--restore-id", restore_id, "--backup", backup.object_key, "--execute")
        self._job("restore", *arguments, *self._source, claim=f"{CLAIM}-{first}")

    def start(self, restore_id: str) -> None:
        """Mark the restore, then scale up: the first node, the others, the Sentinels."""
        (first,) = pod_names(Component.REDIS, 1)
        mark = f"{restore_id} {first}.{self._kubectl.namespace}.svc\n"
        self._kubectl.run(
            "patch",
            "configmap",
            RESTORE_CONFIG_MAP,
            "--type",
            "merge",
            "--patch",
            json.dumps({"data": {RESTORE_MARK: mark}}),
        )
        counts = self._kubectl.get("configmap", RESTORE_CONFIG_MAP)["data"]
        nodes, sentinels = (int(counts[f"{_REPLICAS}{c}"]) for c in (Component.REDIS, Component.SENTINEL))
        for component, count in ((Component.REDIS, 1), (Component.REDIS, nodes), (Component.SENTINEL, sentinels)):
            self._scale(component, count)
            await_so(
                lambda c=component, n=count: self._ready(c) == n,  # type: ignore[misc]
                f"{count} ready pods of {component}",
                READY_SECONDS,
            )

    def finish(self, backup: Manifest) -> int:
        """Take the mark away, tell the alerts of the newest backup, and return the keys that the first node has."""
        del backup
        (first,) = pod_names(Component.REDIS, 1)
        self._kubectl.run("delete", "configmap", RESTORE_CONFIG_MAP, "--ignore-not-found")
        said = self._kubectl.run("exec", first, "--container", "redis", "--", "sh", "-c", _KEYS)
        self._job("list", "--publish")
        return count_keys(parse_info(said.replace("\r", "")))

    def _scale(self, component: Component, count: int) -> None:
        say(f"{component}: {count} pods wanted")
        self._kubectl.run("scale", f"statefulset/{component}", f"--replicas={count}")

    def _pods(self, component: Component) -> dict[str, dict[str, Any]]:
        listed = self._kubectl.get("pods", "--selector", f"{Label.COMPONENT}={component}")["items"]
        return {pod["metadata"]["name"]: pod for pod in listed}

    def _ready(self, component: Component) -> int:
        conditions = [pod["status"].get("conditions", []) for pod in self._pods(component).values()]
        return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in found) for found in conditions)

    def _job(self, *arguments: str, claim: str = "") -> dict[str, Any]:
        """Run one of our commands as a Job and return the JSON that it prints."""
        manifest = job_manifest(self._template, arguments, claim)
        name = manifest["metadata"]["name"]
        self._kubectl.create(manifest)
        say(f"job {name}: {' '.join(arguments)}")
        await_so(lambda: self._ended(name), f"job {name} has ended", JOB_SECONDS)
        log = self._kubectl.run("logs", f"job/{name}", "--tail", "-1")
        said = last_json(log)
        if said is None or said.get("error"):
            last = (log.strip().splitlines() or ["it logged nothing"])[-1]
            raise JobError(
                f"job {name}: {said['error'] if said else last} (the job stays for an hour: kubectl logs job/{name})"
            )
        self._kubectl.run("delete", "job", name, "--wait=false")
        return said

    def _ended(self, name: str) -> bool:
        status = self._kubectl.get("job", name)["status"]
        return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in status.get("conditions", []))


def job_manifest(template: dict[str, Any], arguments: Sequence[str], claim: str) -> dict[str, Any]:
    """Return a Job like those of the CronJob, with another command and, if ``claim`` is given, a volume. Pure."""
    job = copy.deepcopy(template)
    labels = job["spec"]["template"]["metadata"]["labels"]
    job |= {"apiVersion": "batch/v1", "kind": "Job"}
    job["metadata"] = {"name": f"cache-restore-{arguments[0]}-{secrets.token_hex(3)}", "labels": labels}
    job["spec"] |= {"backoffLimit": 0, "activeDeadlineSeconds": int(JOB_SECONDS), "ttlSecondsAfterFinished": 3600}
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["args"] = [*arguments, "--json"]
    if claim:
        pod["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        container["volumeMounts"].append({"name": "data", "mountPath": DATA_DIR})
    return job


def last_json(log: str) -> dict[str, Any] | None:
    """Return the object that a command with ``--json`` printed as its last such line, or None. Pure."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                said: dict[str, Any] = json.loads(line)
            except json.JSONDecodeError:
                continue
            return said
    return None
