"""What each step does. Each returns its result in one line, or raises JobError with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cacheclient.contract import Component
from infra import credentials
from infra.deploy import hit_rate, looking, preflight, steps
from infra.deploy.hit_rate import Counted
from infra.deploy.preflight import Fault
from infra.deploy.steps import Manifests, Name, Way
from infra.deploy.waiting import Say, await_master, await_rollout, run_now, unblock
from infra.deploy.ways import Applying, ByKubectl, ByPulumi
from infra.jobs.errors import JobError
from infra.jobs.kubectl import Kubectl
from infra.settings import Settings
from infra.topology import pod_names

_WORKLOADS: Final = {"Deployment", "StatefulSet", "DaemonSet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is deployed where; ``seconds`` is how long a single step waits for pods, lookups or a job."""

    stack: str
    settings: Settings
    manifests: Manifests
    way: Way
    seconds: float


class Actions:
    """The steps of one deployment; ``measured`` is the hit rate, once it was measured."""

    def __init__(self, deployment: Deployment, say: Say) -> None:
        settings = deployment.settings
        self._deployment, self._settings, self._say = deployment, settings, say
        self.measured: Counted | None = None
        self._kubectl = Kubectl(settings.namespace, settings.context)
        self._applications = Kubectl(settings.application.namespace, settings.context)
        manifests = deployment.manifests
        self._way: Applying = ByKubectl(self._kubectl, manifests, say)
        if deployment.way is Way.PULUMI:
            self._way = ByPulumi(deployment.stack, self._kubectl, manifests, say)

    def by_name(self) -> dict[Name, Callable[[], str]]:
        """Return the steps' functions."""
        return {
            Name.PREFLIGHT: self.preflight,
            Name.NAMESPACE: self.namespace,
            Name.SECRETS: self.secrets,
            Name.REDIS: self.redis,
            Name.READY: self.ready,
            Name.MONITORING: self.monitoring,
            Name.APPLICATION: self.application,
            Name.HIT_RATE: self.hit_rate,
            Name.PREWARM: self.prewarm,
        }

    def preflight(self) -> str:
        """Find everything that stands in the way, at once."""
        given = self._deployment
        named = (given.stack, given.settings, given.manifests)
        facts = looking.look(*named, given.way, looking.as_documents(given.manifests))
        found = preflight.faults(*named, given.way, facts)
        if not (facts.missing_tools or facts.unreachable):
            own = preflight.made(given.settings, given.manifests, given.way, facts.secrets)
            lacking = [fault for fault in preflight.lacking(*named, facts.secrets) if fault.secret != own]
            # In a namespace that is still to be made nobody can make them yet: the step secrets stops for them.
            found += lacking if facts.has_namespace else [replace(fault, fatal=False) for fault in lacking]
        return _judged(found, self._say)

    def namespace(self) -> str:
        """Have the namespace, so that Secrets can be in it before pods wait for them."""
        self._way.namespace()
        return self._settings.namespace

    def secrets(self) -> str:
        """Have all Secrets that pods mount; make that of the passwords, if nobody has."""
        given = self._deployment
        present, told = looking.secrets(self._kubectl), "all there"
        if own := preflight.made(given.settings, given.manifests, given.way, present):
            self._kubectl.create(credentials.secret_manifest(own, given.settings.namespace, credentials.generate()))
            present, told = looking.secrets(self._kubectl), f"all there; {own} was made, with new passwords"
        _judged(preflight.lacking(given.stack, given.settings, given.manifests, present), self._say)
        return told

    def redis(self) -> str:
        """Have the objects of the set."""
        self._way.redis()
        return f"{len(steps.of(self._deployment.manifests, Name.REDIS))} objects"

    def ready(self) -> str:
        """Wait for the set."""
        for component in (Component.REDIS, Component.SENTINEL):
            unblock(self._kubectl, component, self._say)
        for component in (Component.REDIS, Component.SENTINEL):  # a Sentinel is ready when it has a master to name
            await_rollout(self._kubectl, f"statefulset/{component}", self._deployment.seconds)
        (sentinel,) = pod_names(Component.SENTINEL, 1)
        return f"all pods; master {await_master(self._kubectl, sentinel, self._deployment.seconds)}"

    def monitoring(self) -> str:
        """Have monitors, rules and dashboards."""
        self._way.others(Name.MONITORING)
        return f"{len(steps.of(self._deployment.manifests, Name.MONITORING))} objects"

    def application(self) -> str:
        """Have our own workloads, then roll the application."""
        self._way.others(Name.APPLICATION)
        ours = steps.of(self._deployment.manifests, Name.APPLICATION).values()
        for manifest in (m for m in ours if m["kind"] in _WORKLOADS):
            await_rollout(
                self._kubectl, f"{manifest['kind'].lower()}/{manifest['metadata']['name']}", self._deployment.seconds
            )
        return self._roll() if self._settings.application.deployment else f"{len(ours)} objects"

    def _roll(self) -> str:
        given = self._settings.application
        workload = f"deployment/{given.deployment}"
        if given.image:
            containers = self._applications.get(*workload.split("/"))["spec"]["template"]["spec"]["containers"]
            name = _container(given.deployment, given.container, [c["name"] for c in containers])
            self._applications.run("set", "image", workload, f"{name}={given.image}")
        try:
            await_rollout(self._applications, workload, self._deployment.seconds)
        except JobError as error:
            undo = f"kubectl --context {self._settings.context} -n {given.namespace} rollout undo {workload}"
            raise JobError(f"{error}\n  the pods of before still serve; back to them alone: {undo}") from error
        return f"{given.deployment} runs {given.image or 'what it ran before'}"

    def hit_rate(self) -> str:
        """Measure what the application's caches find."""
        given = self._settings.application
        try:
            seen = hit_rate.await_rate(self._applications, given, self._deployment.seconds, self._say)
        except hit_rate.TooFewHitsError as error:
            self.measured = error.seen
            raise
        self.measured = seen
        return f"{seen.rate:.1%} of {seen.lookups:,} lookups; {given.hit_rate:.0%} are wanted"

    def prewarm(self) -> str:
        """Fill the cache now, not at the next time of its schedule."""
        name = f"{steps.WARMER}-{secrets.token_hex(3)}"
        return f"{name}: {run_now(self._kubectl, steps.WARMER, name, self._deployment.seconds)}"


def _container(deployment: str, wanted: str, present: list[str]) -> str:
    """Return the container whose image is rolled.

    Raises:
        JobError: if there is none of that name, or several and none is named.
    """
    if (wanted or len(present) == 1) and (not wanted or wanted in present):
        return wanted or present[0]
    what = f"no container {wanted}" if wanted else "several containers"
    raise JobError(f"{deployment} has {what}; set application.container to one of {', '.join(present)}")


def _judged(found: list[Fault], say: Say) -> str:
    """Say what can be gone on with.

    Raises:
        JobError: with every fault that cannot, and its remedy.
    """
    for fault in found:
        if not fault.fatal:
            say(f"warning: {fault.what}: {fault.fix}")
    fatal = [fault for fault in found if fault.fatal]
    if fatal:
        raise JobError("".join(f"\n  {fault.what}\n    fix: {fault.fix}" for fault in fatal).lstrip("\n "))
    warned = len(found)
    return f"nothing stands in the way{f'; {warned} warnings' if warned else ''}"
