"""The HTTP API, served without Redis: what it answers, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from cacheclient.api import app
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError

TOKEN = "correct-horse"  # noqa: S105


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(Env.URL, "memory://")
    monkeypatch.setenv(Env.NAMESPACE, "profile")
    return monkeypatch


@pytest.fixture
def client(environment: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TestClient]:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    environment.setenv(Env.ADMIN_TOKEN_FILE, str(tmp_path / "token"))
    with TestClient(app()) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_stats_have_the_required_shape(client: TestClient) -> None:
    stats = client.get("/cache/stats").json()
    assert {"hit_rate", "size_mb", "entries"} <= stats["l1"].keys()
    assert {"hit_rate", "size_mb", "entries"} <= stats["l2"].keys()
    assert stats["combined"]["hit_rate"] is None  # nothing was looked up: no rate, rather than 0


def test_health_says_that_the_process_serves(client: TestClient) -> None:
    assert client.get("/healthz").json()["ok"] is True


def test_metrics_parse_and_name_the_cache(client: TestClient) -> None:
    text = client.get("/metrics").text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert ("cache_hits_total", {"cache": "profile", "tier": "l1"}, 0.0) in [
        (s.name, s.labels, s.value) for s in samples
    ]


def test_an_administrator_can_invalidate(client: TestClient) -> None:
    answer = client.post("/cache/invalidate", json={"key": "user:1"}, headers=bearer(TOKEN))
    assert (answer.status_code, answer.json()) == (200, {"key": "user:1", "acknowledged": True})


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"Authorization": "Basic x"}])
def test_nobody_else_can_invalidate(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/cache/invalidate", json={"key": "user:1"}, headers=headers).status_code == 401


def test_without_a_configured_token_nobody_can_invalidate(environment: pytest.MonkeyPatch) -> None:
    environment.delenv(Env.ADMIN_TOKEN_FILE, raising=False)
    with TestClient(app()) as client:
        assert client.post("/cache/invalidate", json={"key": "a"}, headers=bearer("")).status_code == 401


@pytest.mark.parametrize(
    "body", [{}, {"key": ""}, {"key": "a", "scope": "pod"}, {"key": "line\nend"}, {"key": "x" * 600}]
)
def test_a_bad_body_is_refused(client: TestClient, body: dict[str, str]) -> None:
    answer = client.post("/cache/invalidate", json=body, headers=bearer(TOKEN))
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_an_empty_token_file_is_refused_at_start(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    environment.setenv(Env.ADMIN_TOKEN_FILE, str(tmp_path / "token"))
    with pytest.raises(ConfigurationError, match="is empty"):
        app()
