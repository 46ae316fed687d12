"""The API as an application of its own: what it answers, and to whom, without Redis and when it is served."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cacheclient import AsyncCache
from cacheclient.api import app, operations
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.warming import Warmer
from tests.api.conftest import ALICE, bearer, granian_process
from tests.conftest import wait_for
from tests.warming.conftest import Listed, values


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(Env.URL, "memory://")
    monkeypatch.setenv(Env.NAMESPACE, "profile")
    return monkeypatch


@pytest.fixture
def client(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "token").write_text(f"{ALICE}\n")
    environment.setenv(Env.ADMIN_TOKEN_FILE, str(tmp_path / "token"))
    with TestClient(app()) as client:
        yield client


def test_stats_have_the_required_shape(client: TestClient) -> None:
    stats = client.get("/cache/stats").json()
    assert {"hit_rate", "size_mb", "entries"} <= stats["l1"].keys()
    assert {"hit_rate", "size_mb", "entries"} <= stats["l2"].keys()
    assert stats["combined"]["hit_rate"] is None  # nothing was looked up: no rate, rather than 0
    assert stats["savings"]["prices"]["per_million_queries"] == 2.0
    assert stats["savings"]["queries"] == 0


def test_health_and_readiness(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"ok": True, "redis": True})


def test_before_the_cache_is_open_the_process_lives_but_is_not_ready(environment: pytest.MonkeyPatch) -> None:
    del environment
    client = TestClient(app())  # without its lifespan
    assert client.get("/healthz").json() == {"ok": True, "redis": False}
    for path in ("/readyz", "/cache/stats"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_open")


def test_metrics_parse_and_name_the_cache(client: TestClient) -> None:
    text = client.get("/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert ("cache_hits_total", {"cache": "profile", "tier": "l1"}, 0.0) in [
        (s.name, s.labels, s.value) for s in samples
    ]


def test_an_administrator_can_invalidate(client: TestClient) -> None:
    answer = client.post("/cache/invalidate", json={"key": "user:1"}, headers=bearer())
    assert (answer.status_code, answer.json()) == (200, {"key": "user:1", "scope": "all_pods", "acknowledged": True})


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/cache/nothing", 404), ("/docs", 404)])
def test_unknown_paths_are_problems(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_wrong_method_says_which_is_right(client: TestClient) -> None:
    answer = client.delete("/cache/invalidate")
    assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, "POST", "method_not_allowed")


@pytest.mark.parametrize("content", ["", "\n", "short", "x" * 9000])
def test_unusable_tokens_are_refused_at_start(environment: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    environment.setenv(Env.ADMIN_TOKEN_FILE, str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match="admin tokens"):
        app()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "CACHE_JWT_AUDIENCE"),
        ({Env.JWT_AUDIENCE: "cache"}, "CACHE_JWT_ISSUER"),
        ({Env.JWT_AUDIENCE: "cache", Env.JWT_ISSUER: "me"}, "jwt keys"),
        ({Env.JWT_AUDIENCE: "cache", Env.JWT_ISSUER: "me", Env.JWT_ALGORITHMS: "HS256"}, "jwt algorithms"),
    ],
)
def test_half_a_jwt_configuration_is_refused_at_start(
    environment: pytest.MonkeyPatch, given: dict[Env, str], says: str
) -> None:
    for name, value in {Env.JWT_KEYS_FILE: "/nowhere", **given}.items():
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError, match=says):
        app()


def test_the_audit_log_is_on_stdout(client: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    (handler,) = [h for h in logging.getLogger("cacheclient.audit").handlers if type(h) is logging.StreamHandler]
    handler.setStream(sys.stdout)  # that of this test
    client.post("/cache/invalidate", json={"key": "user:1"}, headers={**bearer(), "X-Request-ID": "r-1"})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["request_id"] == "r-1"


def test_granian_serves_it(served: str) -> None:
    with httpx2.Client(base_url=served) as client:
        assert client.get("/readyz").json() == {"ok": True, "redis": True}
        assert client.get("/cache/stats").status_code == 200
        assert client.post("/cache/invalidate", json={"key": "a"}).status_code == 401
        done = client.post("/cache/invalidate", json={"pattern": "nobody:*"}, headers=bearer())
        assert done.json() == {"pattern": "nobody:*", "scope": "all_pods", "acknowledged": True, "entries": 0}
        large = client.post("/cache/invalidate", content=b"x" * 2**20, headers=bearer())
        assert (large.status_code, large.json()["code"]) == (413, "too_large")


def test_the_document_has_an_example_of_every_body_and_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]

    def shown(content: dict[str, object]) -> bool:
        schema = content.get("schema", {})
        assert isinstance(schema, dict)
        names = [
            reference["$ref"].rpartition("/")[2]
            for reference in [*schema.get("oneOf", []), schema]
            if "$ref" in reference
        ]
        return bool(names) and all(schemas[name].get("examples") for name in names)

    for path, methods in document["paths"].items():
        for operation in methods.values():
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            for answer in [*bodies, *operation["responses"].values()]:
                for kind, content in answer.get("content", {}).items():
                    assert kind == "text/plain" or "example" in content or shown(content), (path, answer)


def test_requests_have_ids_of_their_own_and_so_has_each_line_of_the_log(served: str) -> None:
    with httpx2.Client(base_url=served) as client:
        answers = [client.get("/cache/stats") for _ in range(3)] + [client.get("/nothing") for _ in range(3)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 6


def test_a_worker_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{ALICE}\n")
    with granian_process("memory://", "profile", tmp_path / "token") as (address, process):
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        wait_for(lambda: _gone(worker))
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{address}/healthz")


def _gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_pod_gets_no_traffic_before_its_critical_warm_up_is_done() -> None:
    may_go = asyncio.Event()

    async def held(_: int) -> None:
        await may_go.wait()

    async with (
        AsyncCache.from_url("memory://", namespace="profile") as cache,
        Warmer(cache, [Listed(values(3), plans=["critical"], pause=held)]) as warmer,
    ):
        service = FastAPI()
        service.include_router(operations(lambda: cache, CollectorRegistry(), ready=lambda: warmer.ready))
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(service), base_url="http://pod")
        starting = asyncio.create_task(warmer.at_start("critical", deadline=30))
        await asyncio.sleep(0)
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
        promised = service.openapi()["paths"]["/readyz"]["get"]["responses"]["503"]["content"][
            "application/problem+json"
        ]
        assert answer.json() | {"request_id": ""} == promised["example"] | {"request_id": ""}, "as the document says"
        assert (await client.get("/healthz")).status_code == 200, "it is alive meanwhile"
        may_go.set()
        await starting
        assert (await client.get("/readyz")).status_code == 200
        assert await cache.get("k2") == "old"
