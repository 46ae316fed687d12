"""The commands over a cache, on a real Redis: what they print, what they do, and how they fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from cacheclient import Cache
from cacheclient.cli import statistics
from cacheclient.contract import Env, ExitCode
from tests.conftest import PATIENCE, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.conftest import Server

TOKEN = "0123456789abcdef-of-tests"  # noqa: S105
DONE, FAILED, USAGE, BUSY = ExitCode.DONE, ExitCode.FAILED, ExitCode.USAGE, ExitCode.BUSY


@pytest.fixture
def opened(shared_server: Server, namespace: str) -> Iterator[Callable[..., Cache[Any]]]:
    """Return a function that opens the application's own cache beside the command."""
    caches: list[Cache[Any]] = []

    def open_cache(version: int = 1, codec: str = "msgpack") -> Cache[Any]:
        caches.append(Cache.from_url(shared_server.url, namespace=namespace, version=version, codec=codec))
        caches[-1].start()
        return caches[-1]

    yield open_cache
    for cache in caches:
        cache.close()


def test_get_prints_the_value_and_json_its_provenance(cached: Run, opened: Callable[..., Cache[Any]]) -> None:
    opened().set("user:42", {"name": "Ann"}, tags=["vip"])
    assert cached("get", "user:42") == (DONE, '{"name":"Ann"}\n', "")
    entry = json.loads(cached("get", "user:42", "--json").out)
    assert (entry["value"], entry["tier"], entry["tags"], entry["codec"]) == ({"name": "Ann"}, "l2", ["vip"], "msgpack")


def test_get_of_raw_bytes_prints_them_as_they_are(cached: Run, opened: Callable[..., Cache[Any]]) -> None:
    opened(codec="raw").set("image", b"abc")
    assert cached("get", "image", "--codec", "raw").out == "abc"


def test_get_of_what_is_not_there_fails(cached: Run) -> None:
    said = cached("get", "user:7")
    assert (said.code, said.out) == (FAILED, "")
    assert said.err.startswith("cachestack get: user:7: not cached")


def test_explain_tells_what_redis_holds(cached: Run, opened: Callable[..., Cache[Any]], namespace: str) -> None:
    cache = opened()
    assert cached("explain", "k").out == f"{namespace}:v1:k: a miss\n  L2  absent\n"
    cache.set("k", 1)
    assert f"{namespace}:v1:k: Redis answers\n  L2  value, " in cached("explain", "k").out
    cache.invalidate("k")
    assert json.loads(cached("explain", "k", "--json").out)["l2"]["status"] == "tombstone"


@pytest.mark.parametrize("command", [["get", "k"], ["explain", "k"], ["lock", "n", "--show"], ["invalidate", "k"]])
def test_a_redis_that_does_not_answer_is_one_line_and_fails(
    command: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{Env.OPTION_PREFIX}L2_CONNECT_TIMEOUT", "0.05")
    said = run(*command, "--url", "redis://127.0.0.1:1", "--namespace", "n")
    assert (said.code, said.err.count("\n")) == (FAILED, 1)
    assert said.err.startswith(f"cachestack {command[0]}: ")


def test_invalidate_reaches_the_application(cached: Run, opened: Callable[..., Cache[Any]]) -> None:
    cache = opened()
    cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cached("invalidate", "a", "b", "--durable").code == FAILED, "a single server has no replicas"
    assert cached("invalidate", "a", "b") == (DONE, "a, b: forgotten\n", "")
    assert cache.get_many(["a", "b", "c"]) == {"c": 3}


def test_a_pattern_is_counted_first_and_then_forgotten(cached: Run, opened: Callable[..., Cache[Any]]) -> None:
    cache = opened()
    cache.set_many({"user:1": 1, "user:2": 2, "shop:1": 3})
    said = cached("invalidate", "--pattern", "user:*", "--dry-run")
    assert said == (DONE, "2 keys would be forgotten; nothing was changed\n", "")
    assert json.loads(cached("invalidate", "--pattern", "user:*", "--dry-run", "--json").out)["matched"] == 2
    assert cache.get("user:1") == 1
    done = json.loads(cached("invalidate", "--pattern", "user:*", "--json").out)
    assert done == {"pattern": "user:*", "matched": 2, "acknowledged": True}
    assert cache.get_many(["user:1", "user:2", "shop:1"]) == {"shop:1": 3}


def test_keys_that_would_be_forgotten_are_counted_without_tombstones(
    cached: Run, opened: Callable[..., Cache[Any]]
) -> None:
    cache = opened()
    cache.set_many({"a": 1, "b": 2})
    cache.invalidate("b")
    assert cached("invalidate", "a", "b", "none", "--dry-run").out.startswith("1 key would be forgotten")


def test_a_tag_and_a_whole_namespace_are_forgotten(
    cached: Run, opened: Callable[..., Cache[Any]], namespace: str
) -> None:
    cache = opened()
    cache.set("a", 1, tags=["vip"])
    cache.set("b", 2)
    assert cached("invalidate", "--tag", "vip") == (DONE, "tag vip: forgotten\n", "")
    assert cache.get_many(["a", "b"]) == {"b": 2}
    assert cached("invalidate", "--all").out == f"namespace {namespace}: forgotten\n"
    assert cache.get("b") is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "what? KEY..., --pattern GLOB, --tag TAG, or --all: one of them"),
        (["k", "--all"], "one of them"),
        (["--pattern", "a[", "--dry-run"], "a bracket is not closed"),
        (["--pattern", ""], "pattern=''"),
        (["--tag", "t", "--durable"], "--durable: with keys only"),
        (["--tag", "t", "--dry-run"], "it cannot be counted"),
        (["k", "--all-namespaces"], "with --pattern only"),
        (["a", "\n"], "printable characters"),
    ],
)
def test_what_cannot_be_invalidated_is_refused_before_anything_is(
    arguments: list[str], says: str, cached: Run, opened: Callable[..., Cache[Any]]
) -> None:
    cache = opened()
    cache.set("a", 1)
    said = cached("invalidate", *arguments)
    assert (said.code, said.out) == (USAGE, "")
    assert says in said.err
    assert cache.get("a") == 1


def test_migrate_copies_and_says_what_it_did(
    cached: Run, opened: Callable[..., Cache[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().set_many({"a": 1, "b": 2})
    (tmp_path / "upgrade_of_tests.py").write_text("def twice(value):\n    return 2 * value\n")
    monkeypatch.chdir(tmp_path)
    command = ("migrate", "1", "--version", "2", "--transform", "upgrade_of_tests:twice")
    said = cached(*command, "--dry-run")
    assert said == (DONE, "2 keys looked at: 2 would be copied, 0 skipped, 0 failed, 0 would be dropped\n", "")
    assert opened(2).get_many(["a", "b"]) == {}
    done = json.loads(cached(*command, "--drop-old", "--json").out)
    assert (done["copied"], done["dropped"], done["failed"], done["done"]) == (2, 2, 0, True)
    assert opened(2).get_many(["a", "b"]) == {"a": 2, "b": 4}


def test_an_interrupted_migration_goes_on_where_it_was(cached: Run, opened: Callable[..., Cache[Any]]) -> None:
    opened().set_many({f"k{n}": n for n in range(800)})
    new = opened(2)
    slowly = [sys.executable, "-m", "cacheclient", "migrate", "1", "--version", "2", "--rate", "800"]
    with subprocess.Popen(slowly, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(new.count)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert err == "interrupted; the same command goes on where this one was\n"
    assert 0 < new.count() < 800
    done = json.loads(cached("migrate", "1", "--version", "2", "--rate", "100000", "--json").out)
    assert (new.count(), done["failed"], done["done"]) == (800, 0, True)
    assert done["copied"] + done["skipped"] >= 800, "a step that was not noted is done again; SCAN may show a key twice"


def test_what_cannot_be_migrated_is_told_and_fails(
    cached: Run, opened: Callable[..., Cache[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().set_many({f"k{n}": "text" for n in range(7)})
    (tmp_path / "breaks_in_tests.py").write_text("def half(value):\n    return value / 2\n")
    monkeypatch.chdir(tmp_path)
    said = cached("migrate", "1", "--version", "2", "--transform", "breaks_in_tests:half")
    assert said.code == FAILED
    assert "7 failed" in said.out
    assert said.err.count("TypeError") == 5
    assert "and 2 more" in said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1"], "another version than the cache's own"),
        (["2", "--rate", "0"], "rate=0.0: keys a second, from 1 to 1000000"),
        (["2", "--transform", "json"], "MODULE:FUNCTION"),
        (["2", "--transform", "nowhere:f"], "No module named 'nowhere'"),
        (["2", "--transform", "json:nothing"], "has no attribute 'nothing'"),
        (["2", "--transform", "json:__name__"], "a function, not str"),
        (["x"], "Invalid value for 'old_version'"),
    ],
)
def test_a_migration_that_cannot_be_is_refused(arguments: list[str], says: str, cached: Run) -> None:
    said = cached("migrate", *arguments)
    assert said.code == USAGE
    assert says in said.err


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a real API over a cache without Redis; its token is in the file ``token`` beside."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "token").write_text(TOKEN)
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ, Env.URL: "memory://", Env.NAMESPACE: "n", Env.ADMIN_TOKEN_FILE: str(folder / "token"),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--factory", "cacheclient.api:app",
        "--port", url.rpartition(":")[2], "--log-level", "error",
    ]  # fmt: skip
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{url}/healthz").close()  # noqa: S310
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield url
        process.terminate()


def test_stats_of_a_process_come_from_its_api(run: Run, api: str) -> None:
    figures = json.loads(run("stats", "--api", api, "--json").out)
    said = run("stats", "--api", api)
    assert said.out.splitlines()[0].split() == ["tier", *" ".join(figures["l1"]).replace("_", " ").split()]
    assert re.search(r"^l1 +- ", said.out, re.MULTILINE), "no lookups, no hit rate"
    assert f"\nloads: {figures['loads']}\n" in said.out
    assert "\nerrors: -\n" in said.out


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("hit_rate", 0.8512, "85.1%"), ("p95_seconds", 0.00213, "2.13 ms"), ("outage_seconds", 75.0, "75.0 s"),
        ("lookups", 1234567, "1,234,567"), ("size_mb", 12.345678, "12.35"), ("money", 12345.6, "12,346"),
        ("open", True, "yes"), ("open", False, "no"), ("p95_seconds", None, "-"), ("errors", {}, "-"),
        ("name", "a", "a"),
    ],
)  # fmt: skip
def test_a_figure_is_shown_by_what_its_name_says(name: str, value: Any, shown: str) -> None:
    assert statistics.text(name, value) == shown


def test_sections_are_indented(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    figures = {"l1": {"hit_rate": 0.5}, "savings": {"queries": 7, "cost": {"per_hour": 0.25}}, "curve": [{"size": 2.0}]}
    monkeypatch.setattr(statistics, "ask", lambda *_, **__: figures)
    assert run("stats", "--api", "http://x").out.splitlines()[2:] == [
        "savings", "  queries: 7", "  cost", "    per hour: 0.25", "curve", "  1", "    size: 2",
    ]  # fmt: skip


def test_a_process_explains_its_own_l1_to_administrators(run: Run, api: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    said = run("explain", "a/b?c", "--api", api, "--token-file", str(tmp_path / "token"))
    assert said == (DONE, "n:v1:a/b?c: a miss\n  L1  absent\n  L2  none\n", "")
    by_folder = run("explain", "k", "--api", api, "--token-file", str(tmp_path), "--json")
    assert json.loads(by_folder.out)["redis_key"] == "n:v1:k"
    refused = run("explain", "k", "--api", api)
    assert (refused.code, refused.err.count("\n")) == (FAILED, 1)
    assert f"cachestack explain: {api}: 401: " in refused.err
    assert run("explain", "k", "--api", api, "--token-file", str(tmp_path / "none")).code == USAGE


def test_stats_need_somebody_to_ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(Env.URL, raising=False)
    assert run("stats").code == USAGE
    assert run("stats", "--api", "ftp://x") == (
        USAGE, "", "cachestack stats: --api ftp://x: an http:// or https:// URL\n",
    )  # fmt: skip
    said = run("stats", "--api", "http://127.0.0.1:1")
    assert (said.code, said.out) == (FAILED, "")
    assert said.err.startswith("cachestack stats: http://127.0.0.1:1: ")
