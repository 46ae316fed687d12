"""What administrators can do by HTTP: seen in Redis and in the tiers of other pods, not only in the answer."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from cacheclient import Cache, CacheOptions, L2Options
from cacheclient.api import Problem, router
from cacheclient.api.guard import body_of
from cacheclient.api.settings import limit as limit_of
from cacheclient.contract import AUDIT_LENGTH, Env
from cacheclient.errors import ConfigurationError
from cacheclient.gcra import Limit
from tests.api.conftest import ALICE, BOB, Pod, bearer
from tests.conftest import PATIENCE, Server, wait_for


@pytest.fixture
def cache(shared_server: Server, namespace: str) -> Any:
    """Return the cache of an application's pod, which serves no API."""
    options = CacheOptions(l2=L2Options(timeout=PATIENCE))
    with Cache.from_url(shared_server.url, namespace=namespace, options=options) as cache:
        yield cache


def post(client: TestClient, path: str, body: Any, **headers: str) -> Any:
    return client.post(f"/cache/{path}", json=body, headers={**bearer(), **headers})


@pytest.mark.parametrize(
    ("body", "gone"),
    [
        ({"pattern": "user:42:*", "scope": "all_pods"}, {"user:42:a", "user:42:b"}),
        ({"pattern": "*"}, {"user:42:a", "user:42:b", "user:7:a"}),
        ({"key": "user:42:a"}, {"user:42:a"}),
        ({"key": "user:42:a", "durable": False, "scope": "all_pods"}, {"user:42:a"}),
        ({"tag": "team"}, {"user:42:b", "user:7:a"}),
        ({"pattern": "nobody*"}, set()),
    ],
)
def test_every_pod_forgets(pod: Pod, cache: Cache[Any], body: dict[str, Any], gone: set[str]) -> None:
    keys = {"user:42:a": [], "user:42:b": ["team"], "user:7:a": ["team"]}
    for key, tags in keys.items():
        cache.set(key, key, tags=tags)
    wait_for(lambda: [cache.get(key) for key in keys] and cache.stats().l1.entries == 3)
    answer = post(pod(), "invalidate", body)
    assert answer.status_code == 200
    (kind,) = {"key", "tag", "pattern"} & body.keys()
    counted = {"entries": len(gone)} if kind == "pattern" else {}
    assert answer.json() == {kind: body[kind], "scope": "all_pods", "acknowledged": True, **counted}
    wait_for(lambda: {key for key in keys if cache.get(key) is None} == gone)


def test_what_redis_does_not_have_yet_is_accepted_and_sent_later(pod: Pod, own_server: Server, namespace: str) -> None:
    client = pod(own_server.url, patience=0.1)
    own_server.client.set(f"{namespace}:v1:a", "x")
    with own_server.frozen():
        answer = post(client, "invalidate", {"key": "a"})
        assert (answer.status_code, answer.json()["acknowledged"]) == (202, False)
    wait_for(lambda: own_server.client.get(f"{namespace}:v1:a") != b"x")


def test_explain_says_what_each_tier_holds(pod: Pod, cache: Cache[Any]) -> None:
    client = pod()
    cache.set("a/b: ü", "secret value")
    answer = client.get("/cache/explain/a/b: ü", headers=bearer())
    assert answer.status_code == 200
    assert (answer.json()["key"], answer.json()["l2"]["status"], answer.json()["l1"]["status"]) == (
        "a/b: ü", "value", "absent",
    )  # fmt: skip
    assert "secret" not in answer.text
    assert client.get("/cache/explain/nothing", headers=bearer()).json()["answer"] == "miss"


def test_stats_have_the_required_shape_and_further_sections(pod: Pod) -> None:
    stats = pod(sections={"tuning": lambda: {"rules": 4}}).get("/cache/stats").json()
    for tier in ("l1", "l2"):
        assert {"hit_rate", "size_mb", "entries"} <= stats[tier].keys()
    assert "hit_rate" in stats["combined"]
    assert stats["tuning"] == {"rules": 4}


LONG = "x" * 513
BAD = [
    {}, [], "a", None, 7, {"scope": "all_pods"},
    {"key": ""}, {"key": LONG}, {"key": "ü" * 300}, {"key": "line\nend"}, {"key": "nul\0"}, {"key": 7}, {"key": None},
    {"key": ["a"]}, {"key": "\ud800"}, {"key": "a", "tag": "b"}, {"key": "a", "pattern": "b"}, {"key": "a", "more": 1},
    {"key": "a", "scope": "pod"}, {"key": "a", "scope": None}, {"key": "a", "durable": "true"},
    {"key": "a", "durable": 1},
    {"tag": ""}, {"tag": "x" * 256}, {"tag": "a", "durable": True}, {"tag": "a\tb"}, {"tag": {}},
    {"pattern": ""}, {"pattern": "[a"}, {"pattern": "a\\"}, {"pattern": "[ä]"}, {"pattern": "x" * 2049},
]  # fmt: skip
BAD_PREWARMS = [
    {}, {"type": "warm"}, {"type": "full"}, {"type": None}, {"type": "hot", "async": "yes"},
    {"type": "hot", "async": 1}, {"type": "hot", "more": 1}, {"type": "hot", "priority": "urgent"}, {"async": True},
    [{"type": "hot"}],
]  # fmt: skip


@pytest.mark.parametrize(("path", "bodies"), [("invalidate", BAD), ("prewarm", BAD_PREWARMS)])
def test_bad_bodies_are_refused_and_say_where(pod: Pod, path: str, bodies: list[Any]) -> None:
    client = pod()
    for body in bodies:
        text = json.dumps(body)
        answer = client.post(f"/cache/{path}", content=text, headers={**bearer(), "Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), (text, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        faults = problem.get("errors", [])
        assert all(fault["detail"] and fault["pointer"].startswith("#") for fault in faults)
        assert faults or "=" in problem["detail"] or "tag " in problem["detail"], problem


def test_a_fault_is_pointed_at(pod: Pod) -> None:
    client, headers = pod(), {**bearer(), "Content-Type": "application/json"}
    for content, pointer in (
        (b'{"key": 7}', "#/key"),
        (b'{"pattern": "a", "scope": "x"}', "#/scope"),
        (b'{"tag": "a", "more": 1}', "#/more"),
        (b"{}", "#"),
        (b"[1]", "#"),
        (b'{"key": nothing}', "#"),
    ):
        answer = client.post("/cache/invalidate", content=content, headers=headers)
        assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer], content


def test_bodies_that_are_no_json_or_too_large(pod: Pod) -> None:
    client = pod()
    cases: list[tuple[bytes, dict[str, str], int]] = [
        (b"{", {}, 422),
        (b"", {}, 422),
        (b'{"key": "a"}', {"Content-Type": "text/plain"}, 415),
        (b'{"key": "a"}', {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"key": "a"}', {"Content-Type": ""}, 415),
        (b'{"key": "\xff"}', {}, 400),
        (b"[" * 10_000, {}, 400),
        (b'{"key": "a"}', {"Idempotency-Key": "with space"}, 422),
        (b'{"key": "a"}', {"Idempotency-Key": ""}, 422),
        (b'{"key": "a"}', {"Idempotency-Key": "k" * 256}, 422),
        (b'{"key": "' + b"a" * 40_000 + b'"}', {}, 413),
        (b'{"key": "a"}' + b" " * 40_000, {}, 413),
    ]
    for content, more, status in cases:
        headers = {**bearer(), "Content-Type": "application/json", **more}
        answer = client.post("/cache/invalidate", content=content, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (status, status), (content[:20], more, answer.text)


@pytest.mark.parametrize(("headers", "reads"), [([], 4), ([(b"content-length", b"9999")], 0)])
async def test_no_more_of_a_body_is_read_than_it_may_have(headers: list[tuple[bytes, bytes]], reads: int) -> None:
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * 1024, "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(Problem) as refused:
        await body_of(request, 3 * 1024)
    assert (refused.value.status, read) == (413, reads)


def test_a_request_id_is_the_clients_if_it_can_be_one(pod: Pod) -> None:
    client = pod()
    for given in ("", "ok-1.2_3", "x" * 65, "with space", "inj\tection"):
        found = client.get("/cache/stats", headers={"X-Request-ID": given}).headers["x-request-id"]
        assert found == given if given == "ok-1.2_3" else len(found) == 32


def test_an_error_of_ours_tells_the_client_nothing(pod: Pod, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Any:
        raise RuntimeError("password is hunter2")

    answer = pod(sections={"broken": fails}).get("/cache/stats", headers={"X-Request-ID": "r-7"})
    assert (answer.status_code, answer.json()["code"]) == (500, "unexpected")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text
    assert "request r-7 failed" in caplog.text


def test_who_asks_too_often_is_refused_before_everything_else_by_every_pod(pod: Pod) -> None:
    limit = Limit(3, per=60)
    one, two = pod(limit=limit), pod(limit=limit)
    first = one.get("/cache/stats")
    assert (first.status_code, first.headers["ratelimit"]) == (200, '"api";r=2;t=20')
    assert post(two, "invalidate", {"key": "a"}).status_code == 200
    assert one.get("/cache/explain/a").status_code == 401  # guessing tokens counts
    for answer in (one.get("/cache/stats"), post(two, "invalidate", {"key": "a"}), two.get("/cache/explain/a")):
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
        assert 0 < int(answer.headers["retry-after"]) <= 20
        assert answer.headers["ratelimit-policy"] == '"api";q=3;w=60'


def test_clients_have_a_limit_each_and_may_be_told_apart_otherwise(pod: Pod) -> None:
    client = pod(limit=Limit(1, per=60), client=lambda request: request.headers.get("x-user", "nobody"))
    assert [client.get("/cache/stats", headers={"X-User": user}).status_code for user in "aabb"] == [200, 429, 200, 429]
    assert {pod(limit=None).get("/cache/stats").status_code for _ in range(5)} == {200}


def test_while_redis_is_away_each_pod_limits_by_itself(pod: Pod, own_server: Server) -> None:
    client = pod(own_server.url, limit=Limit(2, per=60))
    own_server.kill()
    assert [client.get("/cache/stats").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, Limit(600, per=60, burst=100)), ("0", None), ("60/60", Limit(60, per=60)), ("9/1/3", Limit(9, 1.0, 3))],
)
def test_the_limit_is_read_from_the_environment(given: str | None, expected: Limit | None) -> None:
    assert limit_of({} if given is None else {Env.API_LIMIT: given}) == expected


@pytest.mark.parametrize("given", ["", "60", "a/60", "60/60/60/60", "0/60", "60/0", "60/x", "-1/60", "1/60/0"])
def test_a_limit_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="CACHE_API_LIMIT="):
        limit_of({Env.API_LIMIT: given})


# -- idempotency ------------------------------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_is_not_carried_out_again(pod: Pod, cache: Cache[Any]) -> None:
    one, two = pod(), pod()
    cache.set("a", 1)
    body = {"pattern": "a*"}
    first = post(one, "invalidate", body, **{"Idempotency-Key": "k-1"})
    cache.set("a", 2)
    again = post(two, "invalidate", body, **{"Idempotency-Key": "k-1"})  # another pod
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (again.headers["idempotency-replayed"], first.json()["entries"]) == ("true", 1)
    assert "idempotency-replayed" not in first.headers
    assert cache.get("a") == 2
    assert post(one, "invalidate", body).json()["entries"] == 1  # without the key it is
    assert cache.get("a") is None


def test_a_key_is_for_one_request_of_one_administrator(pod: Pod) -> None:
    client = pod()
    assert post(client, "invalidate", {"key": "a"}, **{"Idempotency-Key": "k-1"}).status_code == 200
    other = post(client, "invalidate", {"key": "b"}, **{"Idempotency-Key": "k-1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    path = post(client, "prewarm", {"type": "hot"}, **{"Idempotency-Key": "k-1"})
    assert path.json()["code"] == "idempotency_key_reused"
    bob = client.post("/cache/invalidate", json={"key": "b"}, headers={**bearer(BOB), "Idempotency-Key": "k-1"})
    assert bob.status_code == 200


def test_an_answer_that_did_nothing_is_not_kept(pod: Pod) -> None:
    client = pod()
    assert post(client, "invalidate", {"pattern": "[a"}, **{"Idempotency-Key": "k"}).status_code == 422
    assert post(client, "invalidate", {"pattern": "a"}, **{"Idempotency-Key": "k"}).status_code == 200


def test_two_at_once_are_one(pod: Pod, shared_server: Server, namespace: str) -> None:
    client = pod()
    assert post(client, "invalidate", {"key": "a"}, **{"Idempotency-Key": "k"}).status_code == 200
    (key,) = shared_server.client.keys(f"{namespace}:answer:*")
    assert 86_000 < shared_server.client.ttl(key) <= 86_400
    worked_on = json.loads(shared_server.client.get(key)) | {"status": 0}  # as it stands while it is worked on
    shared_server.client.set(key, json.dumps(worked_on))
    answer = post(client, "invalidate", {"key": "a"}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (409, "in_progress", "1")


def test_without_redis_a_key_cannot_be_honoured(pod: Pod, own_server: Server) -> None:
    client = pod(own_server.url)
    own_server.kill()
    answer = post(client, "invalidate", {"key": "a"}, **{"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
    assert answer.headers["retry-after"]


# -- the audit log ----------------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "cacheclient.audit"]


def test_every_change_and_every_refusal_is_logged(
    pod: Pod, cache: Cache[Any], shared_server: Server, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cacheclient.audit")
    client = pod()
    for key in ("user:1", "user:2"):
        cache.set(key, key)
    post(client, "invalidate", {"pattern": "user:*"}, **{"X-Request-ID": "r-1", "Idempotency-Key": "k"})
    post(client, "invalidate", {"pattern": "user:*"}, **{"X-Request-ID": "r-2", "Idempotency-Key": "k"})
    post(client, "invalidate", {"pattern": "[a"}, **{"X-Request-ID": "r-3"})
    client.post("/cache/prewarm", json={"type": "hot"}, headers={"X-Request-ID": "r-4"})
    client.get("/cache/explain/a", headers=bearer())  # looks, and changes nothing
    told = [(line["request_id"], line["who"], line["action"], line["keys"], line["status"]) for line in lines(caplog)]
    assert told == [
        ("r-1", "token:alice", "invalidate", 2, 200),
        ("r-2", "token:alice", "invalidate (replayed)", None, 200),
        ("r-3", "token:alice", "invalidate", None, 422),
        ("r-4", "", "prewarm", None, 401),
    ]
    first = lines(caplog)[0]
    assert (first["target"], first["namespace"], first["client"]) == ("pattern user:*", namespace, "testclient")
    assert ALICE not in caplog.text
    # Who is refused cannot push the others out of the stream.
    stream = shared_server.client.xrange(f"{namespace}:audit")
    assert [fields[b"request_id"] for _, fields in stream] == [b"r-1", b"r-2", b"r-3"]
    assert stream[0][1][b"keys"] == b"2"


def test_the_stream_is_bounded(pod: Pod, shared_server: Server, namespace: str) -> None:
    pipe = shared_server.client.pipeline()
    for _ in range(AUDIT_LENGTH + 500):
        pipe.xadd(f"{namespace}:audit", {"a": "b"})
    pipe.execute()
    post(pod(), "invalidate", {"key": "a"})
    assert shared_server.client.xlen(f"{namespace}:audit") <= AUDIT_LENGTH + 100  # Redis trims in blocks


def test_an_audit_line_that_redis_does_not_take_is_logged_all_the_same(
    pod: Pod, own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cacheclient.audit")
    client = pod(own_server.url)
    own_server.kill()
    assert post(client, "invalidate", {"key": "a"}).status_code == 202
    first, second = lines(caplog)
    assert first["target"] == "key a"
    assert "not in the audit stream" in second["problem"]


@pytest.mark.parametrize("wrong", [{"wait": 31}, {"wait": -1}, {"body_limit": 0}])
def test_a_router_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        router(lambda: None, **wrong)  # type: ignore[arg-type,return-value]
