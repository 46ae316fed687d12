"""The API against its own OpenAPI document, by schemathesis; and against rules that no schema can say, by hypothesis.

The served application, over a real Redis. Seeds are fixed: what is found once is found again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st

from cacheclient.errors import ConfigurationError
from cacheclient.keys import Glob, KeySpace
from cacheclient.tags import check
from tests.api.conftest import ALICE, bearer, granian
from tests.conftest import Server, wait_for

# What is valid by the schema may be refused: a key has at most 512 bytes, all printable; so may an idempotency key that
# is sent again with another body, and a job that there never was. What is accepted is tested below, by the real rules.
# No answer is waited for less long than the API waits for Redis: on a busy machine that is no failure.
CONFIG: Final = """
seed = 1
request-timeout = 60
[generation]
max-examples = 5
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx"{more}]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 422{more}]
[phases.stateful]
enabled = false
"""
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served, headers=bearer()) as client:
        yield client


def look(address: str, folder: Path, more: str = "") -> None:
    """Have schemathesis look for answers that the document does not promise; ``more``: statuses that are no fault."""
    (folder / "schemathesis.toml").write_text(CONFIG.format(more=more))
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", "--no-color"]
    done = subprocess.run(
        [*command, "--header", f"Authorization: Bearer {ALICE}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemathesis_finds_nothing(served: str, tmp_path: Path) -> None:
    look(served, tmp_path)


def test_while_redis_is_away_it_finds_nothing_either(own_server: Server, namespace: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(ALICE)
    with granian(own_server.url, namespace, tmp_path / "token") as address:
        own_server.kill()
        job = f"{address}/cache/prewarm/{'f' * 32}"
        wait_for(lambda: httpx2.get(job, headers=bearer()).status_code == 503)
        look(address, tmp_path, ", 503")  # which the document has to promise, with its body and headers


def can_be(what: str, text: str) -> bool:
    try:
        {"key": KeySpace("n").full, "tag": lambda tag: check([tag]), "pattern": Glob}[what](text)
    except (ConfigurationError, UnicodeEncodeError):
        return False
    return True


NAMES: Final = st.text(max_size=30) | st.text("ab*?[]\\-^ü\0", max_size=12) | st.text("é🙂", min_size=120, max_size=300)


@seed(1)
@quick
@given(what=st.sampled_from(["key", "tag", "pattern"]), text=NAMES)
@example("key", "x" * 512)
@example("key", "é" * 257)
@example("tag", "é" * 127)
@example("tag", "é" * 128)
@example("pattern", "[^]")
@example("pattern", "🙂" * 2048)  # of all that is valid the longest as JSON, where json.dumps escapes it
def test_exactly_what_can_be_invalidated_is_accepted(client: httpx2.Client, what: str, text: str) -> None:
    content = json.dumps({what: text})
    answer = client.post("/cache/invalidate", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code == 200) == can_be(what, text), answer.text
    assert answer.status_code in {200, 422}


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS: Final = ("key", "tag", "pattern", "scope", "durable", "type", "async", "priority")
NEAR: Final = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.sampled_from(["all_pods", "hot", "all", "high", "a", True, False]), max_size=4
)


@seed(2)
@quick
@given(path=st.sampled_from(["invalidate", "prewarm"]), body=JSON | NEAR)
def test_whatever_the_body_it_is_carried_out_or_refused(client: httpx2.Client, path: str, body: Any) -> None:
    content = json.dumps(body, allow_nan=True).encode("utf-8", "surrogatepass")
    answer = client.post(f"/cache/{path}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {200, 202, 400, 422}, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


@seed(3)
@quick
@given(
    path=st.sampled_from(["invalidate", "prewarm"]), content=st.binary(max_size=60), kind=st.sampled_from(
        ["application/json", "application/x+json", "application/json; charset=utf-16", "text/plain", "", "//", "a"]
    ),
    more=st.dictionaries(
        st.sampled_from(["Idempotency-Key", "X-Request-ID", "Accept", "Content-Encoding", "Expect-CT"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).map(str.strip), max_size=3,
    ),
)  # fmt: skip
def test_whatever_the_bytes_and_headers_nothing_breaks(
    client: httpx2.Client, path: str, content: bytes, kind: str, more: dict[str, str]
) -> None:
    answer = client.post(f"/cache/{path}", content=content, headers={"Content-Type": kind, **more})
    assert answer.status_code in {200, 202, 400, 409, 415, 422}, answer.text


@seed(4)
@quick
@given(key=st.text(min_size=1, max_size=20) | st.text("./%\\:;?#", min_size=1, max_size=8))
def test_whatever_the_key_it_is_explained_or_refused(client: httpx2.Client, key: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    try:
        path = quote(key, safe="")
    except UnicodeEncodeError:  # half a surrogate pair is in no URL
        return
    answer = client.get(f"/cache/explain/{path}")
    if answer.status_code == 200:
        assert answer.json()["key"] == key
    else:
        # A client resolves dots itself, so they are another path.
        assert (answer.status_code, can_be("key", key)) == (422, False) or set(key) <= set("./"), answer.text
