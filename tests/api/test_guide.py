"""docs/api.md: its code runs, its requests are answered as it says, and it tells everything that there is."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from cacheclient import AsyncCache
from cacheclient.api.bodies import State
from cacheclient.contract import Env
from infra.settings_pods import Api
from infra.settings_schema import Client
from tests.api.conftest import ALICE, bearer

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_mounted_router_serves(tmp_path: Path) -> None:
    (code,) = blocks("python")
    (tmp_path / "admin").write_text(ALICE)
    program: dict[str, Any] = {
        "cache": AsyncCache.from_url("memory://", namespace="n"), "REGISTRY": CollectorRegistry(),
    }  # fmt: skip
    exec(compile(code.replace("/etc/cache/admin", str(tmp_path / "admin")), GUIDE.name, "exec"), program)  # noqa: S102  our own guide

    @asynccontextmanager
    async def application(app: FastAPI) -> AsyncIterator[None]:
        async with program["cache"], program["app"].router.lifespan_context(app):
            yield

    whole = FastAPI(lifespan=application)
    whole.mount("/", program["app"])
    with TestClient(whole) as client:
        assert client.post("/cache/invalidate", json={"key": "a"}, headers=bearer()).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/nothing").json()["code"] == "not_found"


def test_the_requests_are_answered_as_it_says(served: str) -> None:
    with httpx2.Client(base_url=served, headers=bearer()) as client:
        posts = re.findall(r"POST localhost:8080(\S+) .*?\\\n\s+-d '([^']+)'\n(\{[^\n]*)", TEXT)
        assert len(posts) == 2
        for path, body, told in posts:
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in {200, 202}
            fields = re.findall(r'"(\w+)":', told)
            assert [name for name in answer.json() if name in fields] == fields
        for path in re.findall(r"curl -s localhost:8080(\S+)", TEXT):
            assert client.get(path).status_code in {200, 404}  # its job was another day's
        (problem,) = re.findall(r'(\{"type":"about:blank".*?\}\]\})', TEXT, re.DOTALL)
        answer = client.post("/cache/invalidate", json={"key": "a", "scope": "pod"})
        assert answer.json().keys() == json.loads(problem).keys()
        assert answer.json()["errors"] == json.loads(problem)["errors"]


def test_it_tells_every_variable_path_and_state(served: str) -> None:
    of_clients = {Env.URL, Env.NAMESPACE}
    for variable in Env:
        if variable.name.startswith(("ADMIN_", "JWT_")) or variable in of_clients | {Env.API_LIMIT, Env.PLAN_FILE}:
            assert f"`{variable.value}" in TEXT or f", `{variable.value}`" in TEXT, variable
    for path in httpx2.get(f"{served}/openapi.json").json()["paths"]:
        assert f"{path}`".replace("{job_id}", "{job}") in TEXT, path
    assert all(f"`{state}`" in TEXT for state in State.__args__)


def test_the_stack_file_in_it_is_one() -> None:
    (text,) = blocks("yaml")
    config = yaml.safe_load(text)["config"]
    for key, group in (("cachestack:api", Api), ("cachestack:client", Client)):
        assert config[key].keys() <= {field.encode_name for field in msgspec.structs.fields(group)}
