"""``cachestack deploy`` as users have it, with a kubectl that says what a test wants."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from cacheclient.cli import main
from infra.jobs import kubectl
from tests.deploy.conftest import OVERRIDES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deploy.conftest import Cluster

    Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(cluster: Cluster, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command and gives its exit code, output and errors."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")

    def command(*arguments: str) -> tuple[int, str, str]:
        cluster.ready()
        capfd.readouterr()
        code = main(["deploy", *arguments])
        return code, *capfd.readouterr()

    return command


def test_a_deployment_ends_with_one_line_and_each_step_has_one(run: Run) -> None:
    code, out, err = run("dev", "--with", "kubectl")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == [
        "preflight", "namespace", "secrets", "redis", "ready", "monitoring", "application", "hit-rate", "prewarm",
    ]  # fmt: skip
    assert lines[-2].startswith("clients     redis+sentinel://app@sentinel-0.cache-dev.svc:26379,")
    assert lines[-2].endswith("passwords in Secret redis-auth; from no namespace yet: network.clientNamespaces")
    assert lines[-1].startswith("dev is deployed, by kubectl in ")
    assert "\x1b" not in out + err


def test_a_dry_run_looks_and_changes_nothing(run: Run, cluster: Cluster) -> None:
    code, out, _ = run("dev", "--with", "kubectl", "--dry-run")
    assert code == 0
    assert out.endswith("Nothing was changed.\n")
    assert "redis       planned  apply 27 objects of the set" in out
    changing = ("apply --server-side --filename", "create", "set", "delete", "patch", "rollout", "exec")
    assert not [call for call in cluster.asked() if call.startswith(changing)]


def test_where_it_stopped_it_says_how_to_go_on(run: Run, cluster: Cluster) -> None:
    cluster.but("rollout status statefulset/redis *", "exit 1")
    code, out, _ = run("dev", "--with", "kubectl", "--set", "network.clientNamespaces=[a, b]", "--timeout", "1")
    assert code == 1
    assert out.splitlines()[-1] == (
        "  cachestack deploy dev --with kubectl --from redis --set 'network.clientNamespaces=[a, b]'"
    )  # not from ready: what was mended may be in the stack file


def test_a_hit_rate_that_is_too_low_stops_it_with_what_was_measured_and_how_to_go_on(
    run: Run, cluster: Cluster
) -> None:
    cluster.hits(1000, 1.0)
    cluster.hits(3000, 0.5, "stats.next")
    deploy = ("dev", "--with", "kubectl", *(word for given in OVERRIDES for word in ("--set", given)), "--timeout", "1")
    code, out, _ = run(*deploy)
    assert code == 1
    told, stopped, resume = out.splitlines()[-3:]
    reason = "the hit rate was 25.0% of the last 2,000 lookups; 80% are wanted (application.hitRate)"
    assert told == f"hit-rate    failed   {reason}"
    assert stopped == "Stopped at hit-rate. When it is mended, go on with"
    assert resume.startswith("  cachestack deploy dev --with kubectl --from hit-rate --set ")
    cluster.hits(1000, 1.0)
    code, out, _ = run(*deploy, "--json")
    assert (code, json.loads(out)["measured"]) == (1, {"hit_rate": 0.25, "lookups": 2000})
    cluster.hits(500, 0.0)
    cluster.hits(2000, 0.75, "stats.next")
    code, out, _ = run(*shlex.split(resume)[2:], "--timeout", "1")
    assert code == 0
    assert "hit rate 100.0% of 1,500 lookups; pre-warmed: " in out.splitlines()[-1]


def test_it_goes_on_as_it_was_called_and_a_dry_run_stays_one(
    run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.but("get --raw /readyz", "exit 1")
    found = shutil.which
    monkeypatch.setattr("shutil.which", lambda tool: None if tool == "cachestack" else found(tool))
    monkeypatch.setattr("sys.argv", [".venv/bin/cachestack", "deploy"])
    _, out, _ = run("dev", "--with", "kubectl", "--dry-run")
    assert out.splitlines()[-1] == "  .venv/bin/cachestack deploy dev --with kubectl --from preflight --dry-run"


def test_for_scripts_there_is_json_alone_on_stdout(run: Run, cluster: Cluster) -> None:
    cluster.but("get secrets *", "echo other")
    cluster.but("create --filename -", "echo forbidden >&2; exit 1")
    code, out, err = run("dev", "--with", "kubectl", "--json")
    said = json.loads(out)
    assert (code, said["ok"], said["steps"][-1]["step"], said["measured"]) == (1, False, "secrets", None)
    assert said["resume"] == "cachestack deploy dev --with kubectl --from secrets"
    assert said["client_environment"]["CACHE_NAMESPACE"] == "cache"
    assert "secrets" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothere"], "there is no Pulumi.nothere.yaml; allowed: dev, prod, staging"),
        (["dev", "--set", "redis.memroy=1Gi"], "redis.memroy: unknown key; did you mean memory?"),
        (["dev", "--set", "application.image=a:1"], "is not allowed without application.deployment"),
        (["dev", "--set", "application.namespace=apps"], "both, or neither: the Deployment that is rolled"),
        (
            ["dev", "--set", "application.hitRate=80"],
            "application.hitRate: 80 is not allowed; a share of lookups, 0 to",
        ),
        (["dev", "--with", "helm"], "'helm' is not one of 'kubectl', 'pulumi'"),
        (["dev", "--from", "redsi"], "'redsi' is not one of 'preflight', 'namespace', 'secrets', 'redis'"),
        (["dev", "--timeout", "0"], "Input should be greater than or equal to 1"),
        (["dev", "--with", "pulumi", "--set", "a=b"], "--set: Pulumi reads the stack file alone"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    run: Run, cluster: Cluster, arguments: list[str], reason: str
) -> None:
    code, out, err = run(*(arguments if "--with" in arguments else [*arguments, "--with", "kubectl"]))
    assert (code, out) == (2, "")
    assert reason in err
    assert cluster.asked() == []


def test_the_examples_of_the_production_file_are_told_as_such(run: Run) -> None:
    code, out, _ = run("prod", "--with", "kubectl", "--dry-run")
    assert code == 1
    assert "image registry.example.com/cachestack:0.1.0@sha256:000" in out
    assert "is the example's\n    fix: build the Dockerfile" in out


def test_a_cluster_that_does_not_answer_in_time_is_told(
    run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubectl, "CALL_SECONDS", 0.3)
    cluster.but("get --raw /readyz", "exec sleep 20")
    cluster.but("config get-contexts *", "echo local")
    code, out, _ = run("dev", "--with", "kubectl")
    assert code == 1
    assert "kubectl get did not answer within 0.3 s" in out
    assert "(your kubeconfig has: local)" in out
