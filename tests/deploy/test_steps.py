"""A deployment step by step, with a kubectl and a pulumi that fail where a test wants it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from infra.deploy.hit_rate import Counted, between, counted
from infra.deploy.steps import WARMER, Name, Way, part_of
from infra.deploy.waiting import not_ready
from tests.deploy.conftest import APPLICATION, OTHERS, SECRET, deployment, node, pod, storage_class

if TYPE_CHECKING:
    from infra.deploy.steps import Manifests
    from tests.deploy.conftest import Cluster, Deploy

FAIL = "echo {} >&2; exit 1"


def states(report: object) -> dict[str, str]:
    return {done.step.value: done.state for done in report.steps}  # type: ignore[attr-defined]


def test_all_steps_are_done_in_their_order_and_the_hit_rate_is_told(cluster: Cluster, deploy: Deploy) -> None:
    report = deploy()
    assert [(done.step, done.state) for done in report.steps] == [(name, "done") for name in Name]
    assert report.measured == Counted(1500, 1500)
    asked = [call for call in cluster.asked() if not call.startswith(("get ", "auth ", "api-resources"))]
    assert [call.partition(" --")[0] for call in asked] == [
        "apply",  # dry run
        "apply",  # the namespace
        "apply",  # the set
        "rollout status statefulset/redis",
        "rollout status statefulset/sentinel",
        "exec sentinel-0",
        "apply",  # monitoring
        "apply",  # the API and the warm-ups
        "rollout status deployment/cache-api",
        f"set image deployment/shop app={APPLICATION['image']}",
        "rollout status deployment/shop",
        f"create job {report.steps[-1].said.partition(':')[0]}",
        f"logs job/{report.steps[-1].said.partition(':')[0]}",
    ]
    assert "1,000 entries warmed" in report.steps[-1].said


FAILURES = [
    (Name.PREFLIGHT, "get --raw /readyz", FAIL.format("refused"), "of context kind-cachestack does not answer: "),
    (Name.PREFLIGHT, "auth can-i create secret *", "exit 1", None),
    (Name.PREFLIGHT, "auth can-i create statefulset.apps *", "exit 1", "may not create statefulset.apps in cache-dev"),
    (Name.PREFLIGHT, "api-resources *", "echo pods", "the cluster does not know PrometheusRule"),
    (Name.PREFLIGHT, "get storageclass *", """echo '{"items": []}'""", "the cluster has no default StorageClass"),
    (
        Name.PREFLIGHT,
        "apply --server-side --dry-run=server *",
        FAIL.format("Error from server: spec: Forbidden"),
        "the API server refuses it: Error from server: spec: Forbidden",
    ),
    (
        Name.PREFLIGHT,
        "get secrets *",
        f"echo redis-auth app; {OTHERS}",
        "Secret redis-auth in cache-dev has no admin, backup",
    ),
    (Name.NAMESPACE, "apply --server-side --filename *", FAIL.format("namespaces is forbidden"), "is forbidden"),
    (Name.READY, "rollout status statefulset/redis *", "exit 1", "statefulset/redis is not ready after 0.2 s"),
    (Name.READY, "exec sentinel-0 *", "echo conflict nobody", "the Sentinels name no master after 0.2 s: conflict"),
    (Name.APPLICATION, "set image *", FAIL.format("not found"), "kubectl set image deployment/shop: not found"),
    (Name.APPLICATION, "rollout status deployment/shop *", "exit 1", "-n apps rollout undo deployment/shop"),
    (Name.HIT_RATE, "get --raw */proxy/cache/stats", FAIL.format("refused"), "no pod of shop tells its hit rate"),
    (Name.HIT_RATE, "get --raw */proxy/cache/stats", "echo '<html>'", "shop-1: no answer of /cache/stats: '<html>"),
    (
        Name.PREWARM,
        "get job *",
        """echo '{"status": {"conditions": [{"type": "Failed", "status": "True"}]}}'""",
        "failed: 1,000 entries warmed",
    ),
    (Name.PREWARM, "get job *", "echo '{}'", "has not ended after 0.2 s; it goes on"),
]


@pytest.mark.parametrize(("step", "glob", "action", "reason"), FAILURES)
def test_it_stops_at_the_first_step_that_fails_with_the_reason(
    cluster: Cluster, deploy: Deploy, step: Name, glob: str, action: str, reason: str | None
) -> None:
    cluster.but(glob, action)
    report = deploy(first=step)
    if reason is None:  # nothing of the kind is made: no right is needed
        assert report.failed is None
        return
    assert report.failed is not None
    assert (report.failed.step, report.steps[-1]) == (step, report.failed)
    assert reason in report.failed.said


def test_an_apply_that_fails_stops_its_own_step(cluster: Cluster, deploy: Deploy) -> None:
    for number, step in ((3, Name.REDIS), (4, Name.MONITORING), (5, Name.APPLICATION)):
        (cluster.folder / "calls.kubectl").unlink(missing_ok=True)
        count = 'grep -c "^apply" "$FAKE/calls.kubectl"'
        cluster.but("apply *", f'[ "$({count})" != {number} ] || {{ echo conflict >&2; exit 1; }}; echo done')
        failed = deploy().failed
        assert failed is not None
        assert (failed.step, "conflict" in failed.said) == (step, True)


def test_everything_that_stands_in_the_way_is_told_at_once_with_its_remedy(cluster: Cluster, deploy: Deploy) -> None:
    cluster.file("nodes", {"items": [node(), node(ready=False), {**node(), "spec": {"unschedulable": True}}]})
    cluster.file("classes", {"items": [storage_class("slow")]})
    cluster.but("api-resources *", "echo pods")
    failed = deploy("spread=hard", "storageClass=fast").failed
    assert failed is not None
    assert "spread is hard and needs 3 nodes; 1 are ready and take pods" in failed.said
    assert "there is no StorageClass fast\n    fix: set storageClass to one that exists (slow)" in failed.said
    assert "does not know ServiceMonitor\n    fix: install the Prometheus operator's definitions" in failed.said


def test_what_may_not_be_asked_is_no_fault(cluster: Cluster, deploy: Deploy) -> None:
    for glob in ("get nodes *", "get storageclass *", "api-resources *"):
        cluster.but(glob, FAIL.format("forbidden"))
    assert deploy("spread=hard").failed is None


def test_a_program_that_is_missing_is_named(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    failed = deploy(way=Way.PULUMI).failed
    assert failed is not None
    assert "kubectl is not on PATH" in failed.said
    assert "pulumi is not on PATH" in failed.said


def test_passwords_are_made_where_there_are_none_and_never_twice(cluster: Cluster, deploy: Deploy) -> None:
    cluster.but("get secrets *", f"[ ! -e $FAKE/created ] || echo {SECRET}; {OTHERS}")
    cluster.but("create --filename -", "cat >$FAKE/created")
    report = deploy()
    assert report.failed is None
    assert "redis-auth was made, with new passwords" in next(d.said for d in report.steps if d.step is Name.SECRETS)
    made = json.loads((cluster.folder / "created").read_text())
    assert (made["kind"], len(set(made["stringData"].values()))) == ("Secret", len(made["stringData"]))
    (cluster.folder / "created").write_text("as before")
    assert states(deploy(first=Name.SECRETS))["secrets"] == "done"
    assert (cluster.folder / "created").read_text() == "as before"
    assert not [call for call in cluster.asked() if made["stringData"]["app"] in call]


def test_a_secret_of_a_persons_is_waited_for_with_the_command_that_makes_it(cluster: Cluster, deploy: Deploy) -> None:
    cluster.but("get namespace *", "true")  # none: what is to be in it can only be warned of
    cluster.but("get secrets *", f"echo {SECRET}; echo cache-warm other.toml")
    report = deploy()
    assert report.steps[0].said == "nothing stands in the way; 2 warnings"
    failed = report.failed
    assert failed is not None
    assert failed.step is Name.SECRETS
    assert "there is no Secret cache-api-admin in cache-dev" in failed.said
    assert "Secret cache-warm in cache-dev has no warm.toml" in failed.said
    assert "-n cache-dev create secret generic cache-warm --from-file=warm.toml" in failed.said


def test_it_goes_on_with_the_step_it_is_told(cluster: Cluster, deploy: Deploy) -> None:
    report = deploy(first=Name.HIT_RATE)
    assert states(report) == {
        **{name.value: "left out" for name in Name if name not in {Name.HIT_RATE, Name.PREWARM}},
        "hit-rate": "done",
        "prewarm": "done",
    }
    assert not [call for call in cluster.asked() if call.startswith(("apply", "set", "rollout"))]


def test_what_a_stack_has_nothing_for_is_left_out_with_the_reason(deploy: Deploy) -> None:
    nothing = [f"application.{name}=''" for name in ("namespace", "deployment", "image")]
    told = {done.step: done.said for done in deploy("monitoring.enabled=false", *nothing).steps}
    assert told[Name.MONITORING] == "monitoring.enabled is false"
    assert told[Name.HIT_RATE] == "application.deployment is not set"


def test_pods_that_never_started_do_not_keep_their_successors_waiting(cluster: Cluster, deploy: Deploy) -> None:
    old = [pod("redis-0", "ImagePullBackOff", revision="old"), pod("redis-1", revision="old")]
    crashing = pod("redis-3", "CrashLoopBackOff", revision="old")  # it has run: it may hold data that others lack
    cluster.file("pods", {"items": [*old, pod("redis-2", "ErrImagePull"), crashing]})
    deploy(first=Name.READY)
    assert {call for call in cluster.asked() if call.startswith("delete")} == {"delete pod redis-0 --wait=false"}


@pytest.mark.parametrize(
    ("present", "wanted", "reason"),
    [
        (("app", "proxy"), "", "shop has several containers; set application.container to one of app, proxy"),
        (("app", "proxy"), "web", "shop has no container web; set application.container to one of app, proxy"),
    ],
)
def test_the_container_that_is_rolled_is_never_guessed(
    cluster: Cluster, deploy: Deploy, present: tuple[str, ...], wanted: str, reason: str
) -> None:
    cluster.file("deployment", deployment(*present))
    failed = deploy(*([f"application.container={wanted}"] if wanted else [])).failed
    assert failed is not None
    assert (failed.step, failed.said) == (Name.APPLICATION, reason)


def test_a_hit_rate_that_is_too_low_is_told_as_it_was_measured(cluster: Cluster, deploy: Deploy) -> None:
    cluster.hits(1000, 1.0)
    cluster.hits(3000, 0.5, "stats.next")
    report = deploy(first=Name.HIT_RATE)
    assert (failed := report.failed) is not None
    assert report.measured == Counted(2000, 500)
    assert report.steps[-1] == failed, "nothing is warmed"
    assert not [call for call in cluster.asked() if call.startswith("create job")]
    assert failed.said == "the hit rate was 25.0% of the last 2,000 lookups; 80% are wanted (application.hitRate)"


def test_without_traffic_nothing_is_judged(cluster: Cluster, deploy: Deploy) -> None:
    cluster.hits(500, 1.0, "stats.next")
    failed = deploy(first=Name.HIT_RATE).failed
    assert failed is not None
    assert failed.said.startswith("only 0 lookups were made in 0.2 s; 1,000 are needed to judge")


# by the Pulumi CLI


def test_pulumi_brings_everything_up_and_the_later_steps_look_for_theirs(cluster: Cluster, deploy: Deploy) -> None:
    cluster.but("get namespace *", "true")
    cluster.but("get secrets *", cluster.rules["get secrets *"])
    cluster.but("get * --ignore-not-found --output json", """echo '{"spec": {}}'""")
    cluster.but("get namespace *", "true")
    assert deploy(way=Way.PULUMI).failed is None
    assert [call.partition(" --color")[0] for call in cluster.asked("pulumi")][1:] == [
        "up --yes --skip-preview --non-interactive"
    ] * 2
    assert "--target **kubernetes:core/v1:Namespace::namespace" in cluster.asked("pulumi")[1]
    assert not [call for call in cluster.asked() if call.startswith(("apply", "create --filename"))]


def test_pulumis_own_words_are_the_reason_when_it_fails(cluster: Cluster, deploy: Deploy) -> None:
    cluster.pulumi = {"up *": "echo Updating; echo error: resource is protected; exit 255"}
    failed = deploy(way=Way.PULUMI).failed
    assert failed is not None
    assert failed.step is Name.REDIS
    assert failed.said.endswith("error: resource is protected")
    assert "code 255" in failed.said


def test_a_stack_that_pulumi_does_not_know_is_told_before_anything_is_done(cluster: Cluster, deploy: Deploy) -> None:
    cluster.pulumi = {"stack *": "exit 1"}
    failed = deploy(way=Way.PULUMI).failed
    assert failed is not None
    assert "does not know the stack dev\n    fix: pulumi stack init dev" in failed.said


def test_with_pulumi_no_passwords_are_made_that_its_state_would_not_know(cluster: Cluster, deploy: Deploy) -> None:
    cluster.but("get secrets *", OTHERS)
    failed = deploy(way=Way.PULUMI).failed
    assert failed is not None
    assert "there is no Secret redis-auth in cache-dev\n    fix: python -m infra.credentials dev | " in failed.said
    assert not [call for call in cluster.asked() if call.startswith("create")]


def test_an_object_that_is_not_there_after_pulumi_up_is_named(cluster: Cluster, deploy: Deploy) -> None:
    cluster.but("get servicemonitor* --ignore-not-found *", "true")
    cluster.but("get prometheusrule* --ignore-not-found *", "echo '{}'")
    cluster.but("get configmap* --ignore-not-found *", "echo '{}'")
    failed = deploy(way=Way.PULUMI).failed
    assert failed is not None
    assert failed.said.startswith("not there after pulumi up: ServiceMonitor ")


# pure


def test_a_pod_that_began_anew_counts_from_its_start() -> None:
    earlier = {"a": Counted(1000, 900), "gone": Counted(5, 5)}
    later = {"a": Counted(10, 5), "new": Counted(90, 90)}
    assert between(earlier, later) == Counted(100, 95)
    assert Counted().rate == 0.0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"combined": 7}', '{"combined": {"lookups": "x"}}'])
def test_what_is_no_answer_of_the_api_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no answer of /cache/stats"):
        counted(text)


def test_a_pod_says_why_it_is_not_ready() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pods = [
        pod("well"),
        pod("image", "ImagePullBackOff"),
        {"metadata": {"name": "node"}, "status": {"conditions": [unscheduled]}},
        {"metadata": {"name": "new"}, "status": {"phase": "Pending"}},
    ]
    assert not_ready(pods) == [
        "image: app: ImagePullBackOff no such image",
        "node: Unschedulable: 0/3 nodes",
        "new: Pending",
    ]


def test_every_object_belongs_to_a_step_and_policies_come_before_pods(manifests: Manifests) -> None:
    parts = {name: part_of(manifest) for name, manifest in manifests.items()}
    assert set(parts.values()) == {Name.NAMESPACE, Name.REDIS, Name.MONITORING, Name.APPLICATION}
    later = {name[3:-5] for name, part in parts.items() if part is Name.APPLICATION}
    assert {name for name in later if name.endswith(("cache-api", "-api"))} == {
        f"{kind}-cache-api" for kind in ("serviceaccount", "service", "poddisruptionbudget", "deployment")
    } | {"networkpolicy-api"}
    assert {name for name in later if name.startswith("cronjob")} == {
        "cronjob-cache-warmer-full", f"cronjob-{WARMER}",
    }  # fmt: skip
    assert list(parts).index("05-networkpolicy-deny-all.yaml") < list(parts).index("08-statefulset-redis.yaml")
