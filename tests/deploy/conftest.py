"""A kubectl and a pulumi that say what a test wants, and remember what they were asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacheclient.contract import EXPORTER_AUTH_FILE, PASSWORD_FILES
from infra import render, settings
from infra.deploy import hit_rate, running, steps, waiting
from infra.deploy.actions import Deployment
from infra.deploy.running import Report
from infra.deploy.steps import Name, Way

# Rules are lines "GLOB|SHELL"; the first whose glob takes the arguments is carried out. What none takes succeeds.
FAKE = """\
#!/bin/sh
[ "$1" != --namespace ] || shift 2
[ "$1" != --context ] || shift 2
printf '%s\\n' "$*" >>"$FAKE/calls.${0##*/}"
while IFS='|' read -r glob action <&3; do
  case "$*" in $glob) eval "$action"; exit ;; esac
done 3<"$FAKE/rules.${0##*/}"
"""
OTHERS = "echo cache-api-admin ann; echo cache-warm warm.toml"
# What a cluster says on which everything goes well.
SECRET = " ".join(("redis-auth", *PASSWORD_FILES, EXPORTER_AUTH_FILE))
WELL = {
    "api-resources *": "echo servicemonitors.monitoring.coreos.com prometheusrules.monitoring.coreos.com",
    "get storageclass *": "cat $FAKE/classes",
    "get nodes *": "cat $FAKE/nodes",
    "get namespace *": 'echo "{}"',
    "get secrets *": f"echo {SECRET}; {OTHERS}",
    "apply *": "echo a; echo b",
    "exec sentinel-0 *": "echo majority redis-0.cache-dev.svc",
    "get deployment *": "cat $FAKE/deployment",
    "get statefulset *": "cat $FAKE/deployment",
    "get pods *": "cat $FAKE/pods",
    "get --raw */proxy/cache/stats": "cat $FAKE/stats; cp $FAKE/stats.next $FAKE/stats",
    "get job *": """echo '{"status": {"conditions": [{"type": "Complete", "status": "True"}]}}'""",
    "logs *": "echo 1,000 entries warmed",
}
APPLICATION = {"namespace": "apps", "deployment": "shop", "image": "registry.acme.org/shop:2@sha256:" + "1" * 64}
OURS = "registry.acme.org/cachestack:1@sha256:" + "2" * 64
OVERRIDES = (
    "monitoring.enabled=true",
    *(f"{group}.{setting}" for group in ("api", "warmup") for setting in ("enabled=true", f"image={OURS}")),
    *(f"application.{name}={value}" for name, value in APPLICATION.items()),
)


class Cluster:
    """What the fake programs say and were asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rules = dict(WELL)
        self.pulumi: dict[str, str] = {}
        self.file("classes", {"items": [storage_class("standard", default=True)]})
        self.file("nodes", {"items": [node(), node(), node()]})
        self.file("deployment", deployment("app"))
        self.file("pods", {"items": [pod("shop-1")]})
        self.hits(500, 0.0), self.hits(2000, 0.75, "stats.next")  # 1,500 of the last 1,500

    def file(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    def hits(self, lookups: int, rate: float, name: str = "stats") -> None:
        self.file(name, {"combined": {"lookups": lookups, "hit_rate": rate}})

    def asked(self, program: str = "kubectl") -> list[str]:
        calls = self.folder / f"calls.{program}"
        return calls.read_text().splitlines() if calls.exists() else []

    def ready(self) -> None:
        """Write the rules down; those that a test adds come before the others."""
        for program, rules in (("kubectl", self.rules), ("pulumi", self.pulumi)):
            self.file(f"rules.{program}", "".join(f"{glob}|{action}\n" for glob, action in rules.items()))

    def but(self, glob: str, action: str) -> None:
        """Have kubectl do something else for some arguments."""
        self.rules = {glob: action} | {known: done for known, done in self.rules.items() if known != glob}


def node(*, ready: bool = True) -> dict[str, Any]:
    return {"spec": {}, "status": {"conditions": [{"type": "Ready", "status": str(ready)}]}}


def storage_class(name: str, *, default: bool = False) -> dict[str, Any]:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": notes}}


def deployment(*containers: str) -> dict[str, Any]:
    pods = {"spec": {"containers": [{"name": name} for name in containers]}}
    spec = {"selector": {"matchLabels": {"app": "shop"}}, "template": pods}
    return {"metadata": {}, "spec": spec, "status": {"updateRevision": "new"}}


def pod(name: str, *waiting_for: str, revision: str = "new") -> dict[str, Any]:
    ready = {"type": "Ready", "status": str(not waiting_for)}
    states = [
        {"name": "app", "state": {"waiting": {"reason": reason, "message": "no such image"}}} for reason in waiting_for
    ]
    labels = {"controller-revision-hash": revision}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"conditions": [ready], "containerStatuses": states},
    }


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster on which everything goes well, unless a test says otherwise."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("kubectl", "pulumi"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("FAKE", str(tmp_path))
    for module in (waiting, hit_rate):
        monkeypatch.setattr(module, "POLL", 0.01)
    return Cluster(tmp_path)


@pytest.fixture(scope="session")
def manifests() -> steps.Manifests:
    """The objects of the stack dev, with the API and the warm-ups."""
    return render.render("dev", overrides=OVERRIDES).manifests


Deploy = Callable[..., Report]


@pytest.fixture
def deploy(cluster: Cluster, manifests: steps.Manifests) -> Deploy:
    """Return a function that deploys dev."""

    def run(*overrides: str, way: Way = Way.KUBECTL, first: Name = Name.PREFLIGHT, seconds: float = 0.2) -> Report:
        cluster.ready()
        found = settings.load("dev", [*OVERRIDES, *overrides])
        given = Deployment(stack="dev", settings=found, manifests=manifests, way=way, seconds=seconds)
        return running.run(given, steps.plan(found, manifests, way, first), lambda _: None, print)

    return run
