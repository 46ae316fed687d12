"""Pre-warms as jobs: run here or announced, told of by every pod, one of a plan at a time."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from cacheclient import AsyncCache, Cache, ConfigurationError
from cacheclient.api import app
from cacheclient.api.bodies import PLANS, PRIORITIES, Job, Kind, Prewarm
from cacheclient.api.jobs import Jobs, judged, reported
from cacheclient.contract import Env
from cacheclient.events import Event, Priority
from cacheclient.warming import Files, Outcome, Report, Warmer
from tests.api.conftest import Pod, bearer
from tests.api.test_endpoints import post
from tests.conftest import Server, wait_for


class Held:
    """A warm-up that ends when the test says so. It runs on the loop of its pod, in another thread."""

    def __init__(self, *, fails: str = "") -> None:
        self.plans: list[str] = []
        self._go = threading.Event()
        self._fails = fails
        self.cancelled = False

    def go(self) -> None:
        self._go.set()

    async def __call__(self, plan: str) -> Mapping[str, Any]:
        self.plans.append(plan)
        try:
            while not self._go.is_set():  # noqa: ASYNC110  the event is of another thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._fails:
            raise OSError(self._fails)
        return {"loaded": 3, "per_second": 1.5, "place": object}


def told(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(f"/cache/prewarm/{job['id']}", headers=bearer())
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_type_has_a_plan_and_a_priority() -> None:
    assert set(PLANS) == set(PRIORITIES) == set(get_args(Kind))


def test_a_job_runs_here_and_every_pod_tells_of_it(pod: Pod) -> None:
    warm = Held()
    one, two = pod(warm=warm), pod(warm=warm)
    answer = post(one, "prewarm", {"type": "all", "async": True})
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/cache/prewarm/{job['id']}")
    assert (job["state"], job["plan"], job["priority"]) == ("running", "full", "low")
    assert told(two, job)["state"] == "running"
    again = post(two, "prewarm", {"type": "all"}).json()  # that of the same plan, wherever it runs
    assert again["id"] == job["id"]
    warm.go()
    done = wait_for(lambda: (found := told(two, job))["state"] == "done" and found)
    assert (done["report"]["loaded"], done["report"]["per_second"]) == (3, 1.5)
    assert told(one, job) == done
    assert warm.plans == ["full"]
    assert post(two, "prewarm", {"type": "all"}).json()["id"] != job["id"]


def test_who_waits_gets_the_end_or_what_there_is_when_time_is_up(pod: Pod) -> None:
    quick, slow = Held(), Held()
    quick.go()
    answer = post(pod(warm=quick), "prewarm", {"type": "critical", "async": False})
    assert (answer.status_code, answer.json()["state"], answer.json()["priority"]) == (200, "done", "high")
    client = pod(warm=slow, wait=0.05)
    answer = post(client, "prewarm", {"type": "hot", "async": False})
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    other = post(pod(warm=slow, wait=0.05), "prewarm", {"type": "hot", "async": False})  # waits for that of another pod
    assert (other.status_code, other.json()["id"]) == (202, answer.json()["id"])
    slow.go()


def test_what_fails_says_why(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    warm = Held(fails="the database is away")
    warm.go()
    job = post(pod(warm=warm), "prewarm", {"type": "hot", "async": False}).json()
    assert (job["state"], job["problem"]) == ("failed", "OSError: the database is away")
    assert "the pre-warm hot failed" in caplog.text


def test_a_pod_that_stops_cancels_its_jobs(pod: Pod, shared_server: Server, namespace: str) -> None:
    warm = Held()
    client = pod(warm=warm)
    job = post(client, "prewarm", {"type": "hot"}).json()
    wait_for(lambda: warm.plans)
    client.__exit__()
    assert warm.cancelled
    assert json.loads(shared_server.client.get(f"{namespace}:job:{job['id']}"))["state"] == "cancelled"
    assert told(pod(), job)["state"] == "cancelled"


def test_a_job_whose_pod_is_gone_is_lost_and_another_may_begin(pod: Pod, shared_server: Server, namespace: str) -> None:
    warm = Held()
    warm.go()
    client = pod(warm=warm)
    job = post(client, "prewarm", {"type": "hot", "async": False}).json()
    gone = job | {"id": "0" * 32, "state": "running", "updated": job["updated"] - 31}
    shared_server.client.set(f"{namespace}:job:{gone['id']}", json.dumps(gone))
    shared_server.client.set(f"{namespace}:job:of-hot", gone["id"])
    assert told(client, gone)["state"] == "lost"
    assert post(client, "prewarm", {"type": "hot", "async": False}).json()["state"] == "done"


@pytest.mark.parametrize(
    ("outcome", "state", "problem"),
    [
        (Outcome.DONE, "done", None),
        (Outcome.ELSEWHERE, "done", None),
        (Outcome.FAILED, "failed", "failed: Redis gave up"),
        (Outcome.LATE, "failed", "late: Redis gave up"),
    ],
)
def test_a_report_of_a_warm_up_says_how_its_job_ended(outcome: Outcome, state: str, problem: str | None) -> None:
    job = Job(id="0", type="hot", plan="hot", priority=Priority.LOW, state="running", created=0, updated=1, pod="p")
    done = reported(job, Report("hot", outcome=outcome, error="Redis gave up" if problem else ""), 2)
    assert (done.state, done.problem, done.updated) == (state, problem, 2)
    assert done.report is not None
    assert done.report["outcome"] == outcome


async def test_a_warmer_runs_its_plans_as_jobs(shared_server: Server, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "hot.jsonl").write_text('{"key": "a", "value": 1}\n{"key": "b", "value": 2}\n')
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as cache:
        warmer = Warmer(cache, [Files(name="hot", path=str(tmp_path / "hot.jsonl"), plans=["hot"])])
        jobs = Jobs(lambda: cache, warmer.run)
        job = await jobs.finished(await jobs.start(Prewarm(type="hot")), 10)
        assert (job.state, job.report and job.report["written"]) == ("done", 2), job
        assert await cache.get("b") == 2
        await jobs.close()


def test_a_job_that_runs_is_not_lost_while_its_pod_lives() -> None:
    job = Job(id="0", type="hot", plan="hot", priority=Priority.LOW, state="running", created=0, updated=100, pod="p")
    assert judged(job, 129).state == "running"
    assert judged(job, 131).state == "lost"
    assert judged(job.model_copy(update={"state": "done"}), 10**9).state == "done"


async def test_a_running_job_gives_signs_of_life(shared_server: Server, namespace: str) -> None:
    warm = Held()
    async with AsyncCache.from_url(shared_server.url, namespace=namespace) as cache:
        jobs = Jobs(lambda: cache, warm, beat=0.01)
        job = await jobs.start(Prewarm(type="hot"))
        for _ in range(1000):
            await asyncio.sleep(0.005)
            stored = json.loads(shared_server.client.get(f"{namespace}:job:{job.id}"))
            if stored["updated"] > job.updated:
                break
        assert stored["updated"] > job.updated
        warm.go()
        assert (await jobs.finished(job, 5)).state == "done"
        assert shared_server.client.get(f"{namespace}:job:of-hot") is None
        await jobs.close()


def test_without_a_warmer_the_fleet_is_asked_to_act(pod: Pod, shared_server: Server, namespace: str) -> None:
    heard: list[Event] = []
    client = pod()
    with Cache.from_url(shared_server.url, namespace=namespace) as cache:
        runtime = cache._here()
        runtime.cache.on_prewarm(heard.append)
        wait_for(lambda: cache.stats().listener_connected)
        answer = post(client, "prewarm", {"type": "critical", "async": True, "priority": "low"})
        (event,) = wait_for(lambda: heard)
    assert (event.plan, event.priority, event.key_pattern) == ("critical", "low", f"{namespace}:v1:*")
    assert (answer.status_code, answer.json()["state"]) == (202, "announced")
    assert told(client, answer.json())["state"] == "announced"
    assert post(client, "prewarm", {"type": "hot", "async": False}).status_code == 200


@pytest.mark.parametrize(("job_id", "status"), [("0" * 32, 404), ("of-hot", 422), ("x" * 100, 422)])
def test_jobs_that_are_none(pod: Pod, job_id: str, status: int) -> None:
    assert pod().get(f"/cache/prewarm/{job_id}", headers=bearer()).status_code == status


def test_without_redis_nothing_begins(pod: Pod, own_server: Server) -> None:
    warm = Held()
    client = pod(own_server.url, warm=warm)
    own_server.kill()
    assert post(client, "prewarm", {"type": "hot"}).status_code == 503
    assert client.get(f"/cache/prewarm/{'0' * 32}", headers=bearer()).status_code == 503
    assert not warm.plans


def test_the_application_warms_itself_where_it_has_a_plan_file(
    monkeypatch: pytest.MonkeyPatch, shared_server: Server, namespace: str, tmp_path: Path, tokens: Path
) -> None:
    (tmp_path / "hot.jsonl").write_text('{"key": "a", "value": 1}\n{"key": "b", "value": 2}\n')
    plan = f'[[sources]]\nkind = "files"\nname = "profiles"\nplans = ["hot"]\npath = "{tmp_path}/hot.jsonl"\n'
    (tmp_path / "warm.toml").write_text(plan)
    told = {Env.URL: shared_server.url, Env.NAMESPACE: namespace, Env.ADMIN_TOKEN_FILE: str(tokens)}
    for name, value in (told | {Env.PLAN_FILE: str(tmp_path / "warm.toml"), "CACHE_OPT_L2_TIMEOUT": "5"}).items():
        monkeypatch.setenv(name, value)
    with TestClient(app()) as client:
        answer = post(client, "prewarm", {"type": "hot", "async": False})
    assert (answer.status_code, answer.json()["state"], answer.json()["report"]["written"]) == (200, "done", 2)
    assert shared_server.client.exists(f"{namespace}:v1:a", f"{namespace}:v1:b") == 2


def test_a_plan_file_that_cannot_be_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "warm.toml").write_text("[[sources]]\nkind = 'rumours'\n")
    told = {Env.URL: "memory://", Env.NAMESPACE: "n", Env.PLAN_FILE: str(tmp_path / "warm.toml")}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=r"warm\.toml"):
        app()
