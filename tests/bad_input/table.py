"""What people, programs and attackers send, and the one error that each gets: the parts that no other test has.

Stack files and bodies of requests have tables of their own (``tests/infra/test_bad_stack_files.py``,
``tests/api/test_endpoints.py``); ``test_bad_input`` counts them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cacheclient import (
    AsyncCache,
    CacheOptions,
    FailsafeOptions,
    L1Options,
    L2Options,
    LockOptions,
    SyncOptions,
    to_env,
)
from cacheclient.gcra import Limit
from cacheclient.keys import Glob, KeySpace
from cacheclient.savings import Prices
from cacheclient.tags import check

CALLS_OF: Final = ("--url", "memory://", "--namespace", "n")


class Request(NamedTuple):
    """A request of an administrator, unless it has headers of its own."""

    method: str
    path: str
    status: int
    code: str
    content: bytes = b""
    headers: dict[str, str] | None = None


JSON: Final = {"Content-Type": "application/json"}
REQUESTS: Final = [
    Request("GET", "/", 404, "not_found"),
    Request("GET", "/cache", 404, "not_found"),
    Request("GET", "/cache/stats/", 404, "not_found"),
    Request("GET", "/cache/../etc/passwd", 404, "not_found"),
    Request("GET", "/cache/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"),
    Request("GET", "/docs", 404, "not_found"),
    Request("POST", "/cache/stats", 405, "method_not_allowed"),
    Request("GET", "/cache/invalidate", 405, "method_not_allowed"),
    Request("PUT", "/cache/invalidate", 405, "method_not_allowed", b'{"key": "a"}', JSON),
    Request("DELETE", "/cache/explain/a", 405, "method_not_allowed"),
    Request("OPTIONS", "/cache/invalidate", 405, "method_not_allowed"),
    Request("TRACE", "/cache/stats", 405, "method_not_allowed"),
    Request("POST", "/metrics", 405, "method_not_allowed"),
    Request("POST", "/cache/invalidate", 401, "unauthorized", b'{"key": "a"}', JSON | {"Authorization": "Bearer no"}),
    Request("POST", "/cache/invalidate", 401, "unauthorized", b"", {"Authorization": ""}),
    Request("POST", "/cache/invalidate", 401, "unauthorized", b"", {"Authorization": "Digest username=admin"}),
    Request("GET", "/cache/explain/a?token=secret", 401, "unauthorized", b"", {"Authorization": "Bearer"}),
    Request("POST", "/cache/invalidate", 415, "not_json", b"a=b", {"Content-Type": "multipart/form-data"}),
    Request("POST", "/cache/invalidate", 415, "not_json", b"<a/>", {"Content-Type": "application/xml"}),
    Request("POST", "/cache/prewarm", 415, "not_json", b"{}", {"Content-Type": "json"}),
    Request("POST", "/cache/invalidate", 422, "invalid", b"", JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b"{key: a}", JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "a"}}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b"NaN", JSON),
    Request("POST", "/cache/invalidate", 400, "bad_request", b'{"key": "\xc3\x28"}', JSON),
    Request("POST", "/cache/invalidate", 400, "bad_request", b"[" * 16000, JSON),
    Request("POST", "/cache/invalidate", 413, "too_large", b'"' + b"a" * 32768 + b'"', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "a"}', JSON | {"Idempotency-Key": "a b"}),
    Request("POST", "/cache/prewarm", 422, "invalid", b'{"type": "hot", "type": "cold"}', JSON),
    Request("GET", "/cache/prewarm/..", 404, "not_found"),
    Request("GET", "/cache/prewarm/" + "F" * 32, 422, "invalid"),
    Request("GET", "/cache/prewarm/" + "f" * 32, 404, "no_such_job"),
    Request("GET", "/cache/explain/", 422, "invalid"),
    Request("GET", "/cache/explain/%00", 422, "invalid"),
    Request("GET", "/cache/explain/%0A", 422, "invalid"),
    Request("GET", "/cache/explain/a%0Ab%0A", 422, "invalid"),
    Request("GET", "/cache/explain/" + "%C3%A9" * 257, 422, "invalid"),
    Request("GET", "/cache/prewarm/" + "%D9%A3" * 32, 422, "invalid"),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "a", "key": 7}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": {"key": {"key": "a"}}}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "\\ud800"}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "\\u0000"}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": NaN}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"key": "a", "durable": 1e999}', JSON),
    Request("POST", "/cache/invalidate", 422, "invalid", b'{"pattern": "' + b"*" * 2049 + b'"}', JSON),
    Request("POST", "/cache/invalidate", 415, "not_json", b'{"key": "a"}', {"Content-Type": "application/jsonp"}),
    Request("POST", "/cache/invalidate", 415, "not_json", b'{"key": "a"}', {"Content-Type": ", application/json"}),
    Request("POST", "/cache/prewarm", 422, "invalid", b'{"type": ["hot", "hot"]}', JSON),
    Request("POST", "/cache/prewarm", 422, "invalid", b'{"type": "hot", "priority": -1}', JSON),
    Request("POST", "/cache/prewarm?type=hot&type=all", 422, "invalid", b"", JSON),
    Request("GET", "/cache/explain/" + "k" * 513, 422, "invalid"),
]  # fmt: skip


class Wrong(NamedTuple):
    """Something that a program asks of the library, and how the text of the ConfigurationError begins."""

    made: Callable[[], Any]
    says: str


def env(**variables: str) -> dict[str, str]:
    return {"CACHE_URL": "memory://", "CACHE_NAMESPACE": "n", **variables}


def made(url: str = "memory://", **settings: Any) -> Any:
    return AsyncCache.from_url(url, **{"namespace": "n", **settings})


OPTIONS: Final = [
    Wrong(lambda: L1Options(max_entries=-1), "l1.max_entries=-1: a whole number from 0"),
    Wrong(lambda: L1Options(max_entries=True), "l1.max_entries=True: a whole number"),
    Wrong(lambda: L1Options(max_entries=1e6), "l1.max_entries=1000000.0: a whole number"),
    Wrong(lambda: L1Options(ttl=float("nan")), "l1.ttl=nan: a number from 0.001 to 86400"),
    Wrong(lambda: L1Options(jitter=0.6), "l1.jitter=0.6: a number from 0 to 0.5"),
    Wrong(lambda: L2Options(ttl="30m"), "l2.ttl='30m': a number"),  # type: ignore[arg-type]
    Wrong(lambda: L2Options(timeout=0), "l2.timeout=0: a number from 0.001 to 60"),
    Wrong(lambda: L2Options(max_batch=0), "l2.max_batch=0: a whole number from 1 to 4096"),
    Wrong(lambda: LockOptions(load_timeout=9), "lock.lease=5.0: at least lock.load_timeout (9)"),
    Wrong(lambda: LockOptions(wait=float("inf")), "lock.wait=inf: a number"),
    Wrong(lambda: SyncOptions(max_staleness=0), "sync.max_staleness=0: a number from 0.05 to 60"),
    Wrong(lambda: SyncOptions(supersedes=-1), "sync.supersedes=-1: a whole number from 0"),
    Wrong(lambda: FailsafeOptions(revalidate=True), "failsafe.revalidate=True: needs failsafe.window"),
    Wrong(lambda: FailsafeOptions(window=True), "failsafe.window=True: a number"),
    Wrong(lambda: made(version=0), "version=0: a whole number from 1"),
    Wrong(lambda: made(version="1"), "version='1': a whole number from 1"),
    Wrong(lambda: made(namespace="Shop"), "namespace='Shop': a lower-case letter"),
    Wrong(lambda: made(namespace="a:b"), "namespace='a:b': a lower-case letter"),
    Wrong(lambda: made(namespace=""), "namespace='': a lower-case letter"),
    Wrong(lambda: made(codec="pickle"), "codec='pickle': one of msgpack, json, raw"),
    Wrong(lambda: made(colour="red"), "colour: no such setting"),
    Wrong(lambda: made(password="a", password_file="b"), "password and password_file: give one of them"),  # noqa: S106
    Wrong(lambda: made(password_file="/nowhere"), "password file /nowhere"),  # noqa: S106
    Wrong(lambda: made(options=CacheOptions(sync=SyncOptions(supersedes=1))), "sync.supersedes=1: a version below"),
    Wrong(lambda: L1Options(ttl=-1), "l1.ttl=-1: a number from 0.001 to 86400"),
    Wrong(lambda: L1Options(max_entries=10**30), "l1.max_entries=" + str(10**30) + ": a whole number from 0"),
    Wrong(lambda: L2Options(ttl=float("-inf")), "l2.ttl=-inf: a number"),
    Wrong(lambda: made(namespace="é"), "namespace='é': a lower-case letter"),
    Wrong(lambda: made(namespace="n\0"), "namespace='n\\x00': a lower-case letter"),
    Wrong(lambda: made(version=True), "version=True: a whole number from 1"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_VERSION="٣")), "CACHE_VERSION='٣': a whole number from 1"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_OPT_L1_TTL="nan")), "l1.ttl=nan: a number from 0.001 to 86400"),
    Wrong(lambda: KeySpace("n").full("\ud800"), "key='\\ud800'"),
    Wrong(lambda: AsyncCache.from_env({}), "CACHE_URL: the environment does not set it"),
    Wrong(lambda: AsyncCache.from_env({"CACHE_URL": "memory://"}), "CACHE_NAMESPACE: the environment does not set it"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_VERSION="1.0")), "CACHE_VERSION='1.0': a whole number from 1"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_OPT_L1_TTL="5m")), "CACHE_OPT_L1_TTL='5m': a number"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_OPT_L1_TLL="5")), "CACHE_OPT_L1_TLL: no such option; did you mean"),
    Wrong(lambda: AsyncCache.from_env(env(CACHE_OPT_L1_COPY="1")), "CACHE_OPT_L1_COPY='1': true or false"),
    Wrong(lambda: to_env("redis://u:p@h", namespace="n"), "password: environments are widely readable"),
    Wrong(lambda: Prices.from_env({"CACHE_COST_PER_QUERY": "1"}), "CACHE_COST_PER_QUERY: no such price; did you mean"),
    Wrong(lambda: Prices(per_database_hour=-1), "cost per_database_hour=-1: dollars"),
    Wrong(lambda: Limit(0), "limit count=0"),
    Wrong(lambda: Limit(1, per=0), "limit per=0: seconds"),
    Wrong(lambda: KeySpace("n").full(""), "key='': 1 to 512 bytes"),
    Wrong(lambda: KeySpace("n").full("a\nb"), "key='a\\nb': 1 to 512 bytes of printable characters"),
    Wrong(lambda: KeySpace("n").full("é" * 257), "key="),
    Wrong(lambda: KeySpace("n").full(7), "key=7: a str is needed, not int"),  # type: ignore[arg-type]
    Wrong(lambda: check("team"), "tags='team': a list of names, not one str"),
    Wrong(lambda: check([""]), "tag '': a str of 1 to 255 bytes"),
    Wrong(lambda: check(str(n) for n in range(17)), "tags: at most 16, 17 were given"),
    Wrong(lambda: Glob(""), "pattern='': a str of 1 to 2048 characters"),
    Wrong(lambda: Glob("[a-"), "pattern='[a-': a bracket is not closed"),
    Wrong(lambda: Glob("a\\"), "pattern='a\\\\': nothing follows the last backslash"),
]  # fmt: skip

URLS: Final = [
    ("", "url scheme '': one of redis"),
    ("localhost", "url scheme '': one of redis"),
    ("localhost:6379", "url scheme 'localhost': one of redis"),
    ("http://h", "url scheme 'http': one of redis"),
    ("redis:/h", "url redis://...: at least one host"),
    ("redis://", "url redis://...: at least one host"),
    ("redis://,", "url redis://...: at least one host"),
    ("redis://a,b", "url redis://...: one host; several are for redis+sentinel://"),
    ("redis://h:0", "url: each host is a name"),
    ("redis://h:65536", "url: each host is a name"),
    ("redis://h:six", "url: each host is a name"),
    ("redis://:6379", "url: each host is a name"),
    ("redis://[::1", "url: not a URL; an IPv6 address needs brackets"),
    ("redis://h/x", "url database 'x': a whole number from 0"),
    ("redis://h/-1", "url database '-1': a whole number from 0"),
    ("redis+sentinel://a,b", "url redis+sentinel://...: "),
    ("redis+cluster://a/1", "url redis+cluster://"),
    ("redis+cluster://a,,b", "url redis+cluster://...: at least one host"),
    ("memory://h", "url memory://"),
    ("redis://h\n", "url: a space or a control character"),
    (" redis://h", "url: a space or a control character"),
    ("redis://u:a\tb@h", "url: a space or a control character"),
    ("redis://a b", "url: a space or a control character"),
    ("redis://h\0", "url: a space or a control character"),
    ("redis://h%00", "url: each host is a name"),
    ("redis://h;x", "url: each host is a name"),
    ("redis://[::1]x", "url: each host is a name"),
    ("redis://h:+6379", "url: each host is a name"),
    ("redis://h:٦٣٧٩", "url: each host is a name"),
    ("redis://h/٣", "url database '٣': a whole number from 0"),
    ("redis://h/1_0", "url database '1_0': a whole number from 0"),
    ("redis://h?timeout=1&timeout=2", "url: options belong in CacheOptions"),
    ("redis+sentinel://u:p@a,u2:p2@b/set", "url: one user and password, before the first host"),
    ("redis+sentinel://a//set", "url redis+sentinel://...: the path is the name of the Sentinel set"),
    ("redis+sentinel://a/set/0", "url redis+sentinel://...: the path is the name of the Sentinel set"),
    ("redis+sentinel:///set", "url redis+sentinel://...: at least one host"),
]


def event(**changes: Any) -> bytes:
    whole = {
        "event_type": "invalidate",
        "key_pattern": "n:v1:a",
        "timestamp": 1.0,
        "source_pod": "p",
        "priority": "high",
    }
    return json.dumps({name: value for name, value in (whole | changes).items() if value is not ...}).encode()


EVENTS: Final = [
    (b"", "malformed"),
    (b"\x00\xff", "malformed"),
    (b"null", "malformed"),
    (b"[]", "malformed"),
    (b'"invalidate"', "malformed"),
    (b"{}", "malformed"),
    (b"{", "malformed"),
    (b"[" * 5000, "malformed"),
    (event()[:-1], "malformed"),
    (event() + b"x", "malformed"),
    (event(event_type="flushall"), "unknown"),
    (event(event_type=""), "unknown"),
    (event(event_type=None), "malformed"),
    (event(event_type=...), "malformed"),
    (event(key_pattern=...), "malformed"),
    (event(key_pattern=7), "malformed"),
    (event(key_pattern=""), "malformed"),
    (event(key_pattern="n:v1:[a"), "malformed"),
    (event(key_pattern="a" * 3000), "malformed"),
    (event(timestamp="now"), "malformed"),
    (event(timestamp=...), "malformed"),
    (event(timestamp=float("nan")), "malformed"),
    (event(timestamp=10**400), "malformed"),
    (event(key_pattern="n:v1:\0" * 1000), "malformed"),
    (event(priority=["high"]), "malformed"),
    (b"\xef\xbb\xbf" + event(), "malformed"),
    (event().decode().encode("utf-16"), "malformed"),
    (event(source_pod=None), "malformed"),
    (event(source_pod=...), "malformed"),
    (event(priority="urgent"), "malformed"),
    (event(id=7), "malformed"),
    (event(version="1"), "malformed"),
]

COMMANDS: Final = [
    (("nothing",), 2, "No such command 'nothing'"),
    (("stats",), 2, "Missing option '--api'"),
    (("stats", "--api", "ftp://x"), 2, "--api ftp://x: an http:// or https:// URL"),
    (("stats", "--api", "http://h", "--timeout", "0"), 2, "'--timeout': Input should be greater than or equal to 0.1"),
    (("stats", "--frobnicate"), 2, "No such option: --frobnicate"),
    (("get",), 2, "Missing argument 'key'"),
    (("get", "k"), 2, "--url or CACHE_URL: which cache?"),
    (("get", "k", "--url", "http://h", "--namespace", "n"), 2, "url scheme 'http': one of redis"),
    (("get", "k", "--url", "memory://", "--namespace", "N"), 2, "namespace='N': a lower-case letter"),
    (("get", "k", *CALLS_OF, "--version", "0"), 2, "version=0: a whole number from 1"),
    (("get", "k", *CALLS_OF, "--codec", "xml"), 2, "codec='xml': one of msgpack, json, raw"),
    (("get", "k", *CALLS_OF, "--password-file", "/nowhere"), 2, "password file /nowhere"),
    (("get", "a\nb", *CALLS_OF), 2, "key='a\\nb': 1 to 512 bytes of printable characters"),
    (("explain", *CALLS_OF), 2, "Missing argument 'key'"),
    (("invalidate", *CALLS_OF), 2, "what? KEY..., --pattern GLOB, --tag TAG, or --all"),
    (("invalidate", "a", "--pattern", "b", *CALLS_OF), 2, "what? KEY..., --pattern GLOB, --tag TAG, or --all"),
    (("invalidate", "--pattern", "[a", *CALLS_OF), 2, "pattern='[a': a bracket is not closed"),
    (("invalidate", "--tag", "", *CALLS_OF), 2, "tag '': a str of 1 to 255 bytes"),
    (("migrate", *CALLS_OF), 2, "Missing argument 'old_version'"),
    (("migrate", "0", *CALLS_OF), 2, "version=0: a whole number from 1"),
    (("migrate", "one", *CALLS_OF), 2, "Invalid value for 'old_version'"),
    (("warm", "hot", *CALLS_OF), 2, "--plan-file or CACHE_PLAN_FILE: which sources?"),
    (("stats", "--api", "http://h", "--timeout", "nan"), 2, "--timeout"),
    (("get", "é" * 257, *CALLS_OF), 2, "key="),
    (("invalidate", "", *CALLS_OF), 2, "key='': 1 to 512 bytes"),
    (("get", "k", "--url", "redis://h\n", "--namespace", "n"), 2, "url: a space or a control character"),
    (("get", "k", *CALLS_OF, "--version", "1e3"), 2, "CACHE_VERSION='1e3': a whole number from 1"),
    (("get", "k", *CALLS_OF, "--version", "-1"), 2, "CACHE_VERSION='-1': a whole number from 1"),
    (("lock", "a", "--timeout", "nan", *CALLS_OF, "--", "true"), 2, "lock timeout=nan"),
    (("lock", "a", "--wait", "inf", *CALLS_OF, "--", "true"), 2, "lock wait=inf"),
    (("lock", "a{b}", *CALLS_OF, "--", "true"), 2, "lock name='a{b}'"),
    (("lock", "a", "--timeout", "-1", *CALLS_OF, "--", "true"), 2, "lock timeout=-1.0: seconds, from 0.05"),
    (("top",), 2, "--prometheus URL or --api URL: whom to ask?"),
    (("doctor", "--url", "redis://h:0", "--namespace", "n"), 2, "url: each host is a name"),
    (("deploy",), 2, "Missing argument 'stack'"),
    (("deploy", "nowhere"), 2, "stack nowhere: there is no Pulumi.nowhere.yaml; allowed: dev"),
    (("deploy", "dev", "--from", "nothing"), 2, "'nothing' is not one of 'preflight'"),
    (("handover",), 2, "Missing argument 'stack'"),
]
