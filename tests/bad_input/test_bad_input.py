"""Bad input of every kind: one clear error each, and whatever else comes, nothing but such errors."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheclient import AsyncCache, CacheOptions, events
from cacheclient.api import app
from cacheclient.cli import main
from cacheclient.contract import Env
from cacheclient.errors import ConfigurationError
from cacheclient.remote import parse
from cacheclient.testing import Fleet
from tests.api.test_endpoints import BAD as BODIES
from tests.api.test_endpoints import BAD_PREWARMS
from tests.bad_input.table import COMMANDS, EVENTS, OPTIONS, REQUESTS, URLS, Request, Wrong
from tests.infra.test_bad_stack_files import BAD as STACK_FILES

TOKEN = "correct-horse-battery"  # noqa: S105


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in Env:
        monkeypatch.delenv(variable.value, raising=False)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("token") / "admin"
    path.write_text(TOKEN)
    with pytest.MonkeyPatch.context() as environment:
        told = {Env.URL: "memory://", Env.NAMESPACE: "n", Env.ADMIN_TOKEN_FILE: str(path), Env.API_LIMIT: "0"}
        for name, value in told.items():
            environment.setenv(name, value)
        made = app()
    with TestClient(made) as client:
        yield client


def test_the_table_is_at_least_as_long_as_promised_and_no_row_is_there_twice() -> None:
    bodies = [f"{name} {json.dumps(body)}" for name, bad in (("i", BODIES), ("p", BAD_PREWARMS)) for body in bad]
    parts = {
        "requests": [*map(repr, REQUESTS), *bodies],
        "options": [wrong.says for wrong in OPTIONS],
        "urls": [url for url, _ in URLS],
        "events": [data for data, _ in EVENTS],
        "stack files": [text for text, _ in STACK_FILES],
        "commands": [arguments for arguments, _, _ in COMMANDS],
    }
    for name, rows in parts.items():
        assert len(rows) >= 15, name
        assert name == "options" or len(set(rows)) == len(rows), name
    assert sum(map(len, parts.values())) >= 250


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r.method} {r.path[:40]} {r.code}")
def test_a_bad_request(client: TestClient, request_: Request) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", **(request_.headers or {})}
    answer = client.request(request_.method, request_.path, content=request_.content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (request_.status, request_.code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize("wrong", OPTIONS, ids=lambda wrong: wrong.says[:40])
def test_a_bad_option(wrong: Wrong) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wrong.made()
    assert str(refused.value).startswith(wrong.says)


@pytest.mark.parametrize(("url", "says"), URLS)
def test_a_bad_url(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        AsyncCache.from_url(url, namespace="n")
    assert str(refused.value).startswith(says)


@pytest.mark.parametrize(("data", "counted"), EVENTS, ids=lambda value: str(value)[:40])
async def test_a_bad_event(data: bytes, counted: str) -> None:
    async with Fleet().cache("n") as cache:
        cache._parts.hearing.heard(data)
        assert {kind: count for kind, count in cache.stats().events.items() if kind in {"malformed", "unknown"}} == {
            counted: 1
        }


@pytest.mark.parametrize(("arguments", "code", "says"), COMMANDS, ids=lambda value: str(value)[:50])
def test_a_bad_call(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, says: str) -> None:
    assert main(arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("cachestack")
    assert says in err
    assert err.count("\n") <= 2


# -- whatever comes ---------------------------------------------------------------------------------------------------

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("event_type", "key_pattern", "timestamp", "source_pod", "priority", "id", "version", "plan")
NEARLY = st.dictionaries(
    st.sampled_from(FIELDS),
    ANY | st.sampled_from(["invalidate", "update", "prewarm", "high", "low", "n:v1:*", "n:v1:[", "*", 1, 2.5]),
)


@given(st.lists(st.binary(max_size=60) | (ANY | NEARLY).map(lambda value: json.dumps(value).encode()), max_size=8))
async def test_whatever_is_published_is_an_event_or_counted(messages: list[bytes]) -> None:
    async with Fleet().cache("n") as cache:
        for data in messages:
            cache._parts.hearing.heard(data)
            found = events.decode(data)
            assert found is None or events.decode(events.encode(found)) == found
        assert cache.stats().events.total() >= len(messages)


@given(
    st.text(max_size=40)
    | st.from_regex(r"(redis|rediss)(\+(sentinel|cluster))?://[a-z@:,/\[\]0-9%?#]*", fullmatch=True)
)
def test_whatever_the_url_it_is_a_target_or_refused(url: str) -> None:
    with contextlib.suppress(ConfigurationError):
        target = parse(url)
        assert target.scheme == "memory" or target.nodes


VARIABLES = st.sampled_from([*CacheOptions().to_env(), "CACHE_OPT_", "CACHE_OPT_L1", "CACHE_OPT_L1_TTL_"])


@given(
    st.dictionaries(
        VARIABLES,
        st.text(max_size=8) | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["True", "false"]),
    )
)
@settings(max_examples=200)
def test_whatever_the_environment_it_is_options_or_refused(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        options = CacheOptions.from_env(environ)
        assert CacheOptions.from_env(options.to_env()) == options


@given(value=ANY | st.binary(max_size=8))
@settings(max_examples=200)
def test_whatever_the_arguments_nothing_but_a_refusal_is_raised(value: Any) -> None:
    cache = Fleet().cache("n")
    for asked in (
        lambda: cache.space.full(value),
        lambda: cache.rate_limiter(value),
        lambda: AsyncCache.from_url("memory://", namespace=value),
        lambda: AsyncCache.from_url("memory://", namespace="n", version=value),
    ):
        with contextlib.suppress(ConfigurationError):
            asked()
