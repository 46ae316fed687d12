"""The doctor before real servers with broken settings, and what it thinks of what no server here can be brought to."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cacheclient import AsyncCache, Cache, CacheOptions, Finding, L2Options, Report, SyncOptions
from cacheclient.contract import Channel
from cacheclient.findings import Master, Seen, judge
from cacheclient.remote import Address
from cacheclient.rights import Need
from tests.client.conftest import Hand
from tests.conftest import BINARIES, Server, free_port, until

Open = Callable[..., Awaitable[AsyncCache[Any]]]
PATIENT = CacheOptions(l2=L2Options(timeout=5), sync=SyncOptions(max_staleness=5))
SANE = {"maxmemory": "100mb", "maxmemory-policy": "volatile-lfu"}


def found(report: Report, check: str, level: str = "") -> list[Finding]:
    return [f for f in report.findings if f.check == check and level in ("", f.level)]


@pytest.fixture(scope="module", params=[*BINARIES])
def server(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Server:
    """Return each server in turn, which the tests of this module may set as they like."""
    return launch(request.param)


@pytest.fixture(autouse=True)
def sane(request: pytest.FixtureRequest) -> Iterator[None]:
    if "server" not in request.fixturenames:
        yield
        return
    client = request.getfixturevalue("server").client
    for name, value in SANE.items():
        client.config_set(name, value)
    yield
    client.flushall()
    for user in client.acl_users():
        if user != "default":
            client.acl_deluser(user)


async def examined(opened: Open, server: Server, namespace: str, user: str = "", **settings: Any) -> Report:
    url = server.url.replace("//", f"//{user}:p@") if user else server.url
    cache = await opened(url, namespace, **{"options": PATIENT, **settings})
    return await cache.doctor()


async def test_a_healthy_server_has_no_finding(opened: Open, server: Server, namespace: str) -> None:
    cache = await opened(server.url, namespace, options=PATIENT)
    await cache.set("a", 1, tags=["t"])
    await until(lambda: cache.stats().listener_connected)
    keys, report = server.client.keys(), await cache.doctor()
    assert report.ok
    assert {finding.level for finding in report.findings} == {"ok"}, str(report)
    assert [finding.check for finding in report.findings] == [
        "master", "version", "replicas", "rights", "memory", "marker", "latency", "clock", "listener", "journal",
    ]  # fmt: skip
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True
    assert "fix:" not in str(report)
    assert await cache.get("a") == 1
    await until(lambda: sorted(server.client.keys()) == sorted(keys))  # it leaves nothing behind
    assert cache.stats().errors.total() == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"maxmemory": "0", "maxmemory-policy": "noeviction"}, "no maxmemory, noeviction: Redis grows"),
        ({"maxmemory-policy": "noeviction"}, "a full Redis refuses writes"),
        ({"maxmemory-policy": "allkeys-lru"}, "may evict the marker of a namespace"),
        ({"maxmemory-policy": "volatile-random"}, "volatile-random"),
    ],
)
async def test_memory_settings_that_harm_a_cache(
    opened: Open, server: Server, namespace: str, settings: dict[str, str], says: str
) -> None:
    for name, value in settings.items():
        server.client.config_set(name, value)
    report = await examined(opened, server, namespace)
    (finding,) = found(report, "memory", "warning")
    assert says in finding.found
    assert "volatile-lfu" in finding.fix
    assert report.ok


RULES = "on >p ~* &* +@all"


@pytest.mark.parametrize(
    ("rules", "level", "refused"),
    [
        (f"{RULES} -unlink", "warning", ["UNLINK "]),
        (f"{RULES} -scan -eval", "error", ["EVAL ", "SCAN "]),
        (f"{RULES} -getrange", "error", ["GETRANGE "]),
        (f"{RULES} -wait", "warning", ["WAIT"]),
        (f"{RULES} -client|tracking", "error", ["CLIENT TRACKING"]),
        (f"{RULES} -subscribe", "warning", ["SUBSCRIBE "] * 3),
        (f"on >p ~* resetchannels &{Channel.UPDATE} +@all", "warning", ["SUBSCRIBE ", "PUBLISH "] * 2),
        ("on >p ~{namespace}:v1:* &* +@all", "error", [*["SET "] * 6, "XADD "]),
    ],
)
async def test_each_missing_right_is_named(
    opened: Open, server: Server, namespace: str, rules: str, level: str, refused: list[str]
) -> None:
    rules = rules.replace("{namespace}", namespace)
    try:
        server.client.execute_command("ACL", "SETUSER", "app", *rules.split())  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:  # Redis before 7 takes no single subcommand away
        pytest.skip(str(error))
    report = await examined(opened, server, namespace, "app")
    findings = [f for f in found(report, "rights") if f.level != "ok"]
    assert [any(f.found.startswith(name) for name in refused) for f in findings] == [True] * len(refused), str(report)
    assert level in {f.level for f in findings}
    assert all("ACL SETUSER: allow" in f.fix for f in findings)
    assert report.ok == (level == "warning")


async def test_the_rights_of_the_deployed_user_are_enough_and_a_look_is_refused_nothing(
    opened: Open, server: Server, namespace: str
) -> None:
    infra = pytest.importorskip("infra.redis_conf")
    try:
        server.client.execute_command(
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">p",
            "~*",
            "resetchannels",
            *(f"&{c}" for c in Channel),
            *infra._APP_RULES.split(),
        )  # type: ignore[no-untyped-call]
    except redis.ResponseError as error:
        pytest.skip(str(error))
    before = server.client.info("errorstats").get("errorstat_NOPERM")  # type: ignore[no-untyped-call]
    report = await examined(opened, server, namespace, "app")
    assert not [f for f in found(report, "rights") if f.level != "ok"], str(report)
    assert server.client.info("errorstats").get("errorstat_NOPERM") == before, "an alert fires on that"  # type: ignore[no-untyped-call]


async def test_a_user_who_may_not_even_connect_learns_why(opened: Open, server: Server, namespace: str) -> None:
    server.client.execute_command("ACL", "SETUSER", "app", *f"{RULES} -role".split())  # type: ignore[no-untyped-call]
    report = await examined(opened, server, namespace, "app", options=CacheOptions(l2=L2Options(connect_timeout=0.3)))
    (finding,) = found(report, "master", "error")
    assert "role" in finding.found
    assert not report.ok


async def test_a_marker_that_expires_is_found(opened: Open, server: Server, namespace: str) -> None:
    server.client.set(f"{namespace}:tag:", b"12345678", px=60_000)
    (finding,) = found(await examined(opened, server, namespace), "marker")
    assert finding.level == "warning"
    assert "expires in" in finding.found


async def test_a_master_that_refuses_writes_is_found(opened: Open, server: Server, namespace: str) -> None:
    server.client.config_set("min-replicas-to-write", 1)
    try:
        report = await examined(opened, server, namespace)
    finally:
        server.client.config_set("min-replicas-to-write", 0)
    assert "NOREPLICAS" in found(report, "replicas", "error")[0].found


async def test_redis_away_is_said(opened: Open, namespace: str) -> None:
    options = CacheOptions(l2=L2Options(connect_timeout=0.2))
    cache = await opened(f"redis://127.0.0.1:{free_port()}", namespace, options=options)
    assert not await cache.invalidate("a")
    report = await cache.doctor()
    assert not report.ok
    assert [(f.check, f.level) for f in report.findings] == [
        ("master", "error"), ("listener", "warning"), ("journal", "warning"),
    ]  # fmt: skip
    assert "fix: start Redis" in str(report)


async def test_without_redis_there_is_nothing_to_mend(opened: Open, namespace: str, hand: Hand) -> None:
    cache = await opened("memory://", namespace)
    assert str(await cache.doctor()) == "ok      topology  memory://: this process alone, without Redis"
    assert (await (await hand.cache()).doctor()).ok


def test_threads_ask_the_same(shared_server: Server, namespace: str) -> None:
    with Cache.from_url(shared_server.url, namespace=namespace, options=PATIENT) as cache:
        assert cache.doctor().findings[0].check == "master"


# -- Sentinels --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sentinels(shared_server: Server, tmp_path: Path) -> Iterator[list[int]]:
    """Start two Sentinels over the shared server; return their ports."""
    ports, processes = [free_port(), free_port()], []
    binary = BINARIES["redis-path"]()
    if binary is None:
        pytest.skip("no redis-server on PATH, which is a Sentinel, too")
    for port in ports:
        conf = tmp_path / f"{port}.conf"
        conf.write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nlogfile {port}.log\n"
                        f"sentinel monitor mine 127.0.0.1 {shared_server.port} 1\n")  # fmt: skip
        processes.append(subprocess.Popen([binary, str(conf), "--sentinel"]))
    yield ports
    for process in processes:
        process.kill()
        process.wait()


async def test_each_sentinel_is_asked(opened: Open, sentinels: list[int], namespace: str) -> None:
    dead = free_port()
    hosts = ",".join(f"127.0.0.1:{port}" for port in (*sentinels, dead))
    options = CacheOptions(l2=L2Options(timeout=5, connect_timeout=10), sync=SyncOptions(max_staleness=5))
    cache = await opened(f"redis+sentinel://{hosts}/mine", namespace, options=options)
    report = await cache.doctor()
    (finding,) = found(report, "sentinels")
    assert finding.level == "warning"
    assert finding.found.startswith("2 of 3 name 127.0.0.1:")
    assert f"no answer: 127.0.0.1:{dead}" in finding.found
    assert found(report, "replicas", "warning")[0].found.endswith("has none")
    assert report.ok


# -- judgement --------------------------------------------------------------------------------------------------------

GOOD = Master(
    address="m:1",
    info={"redis_version": "7.2.4", "maxmemory": "1000", "used_memory": "10", "maxmemory_policy": "volatile-lfu"},
    marker=math.inf,
)
ONE, TWO, THREE = (Address(name, 1) for name in "abc")


def with_info(**info: str) -> Seen:
    return Seen(masters=(dataclasses.replace(GOOD, info={**GOOD.info, **info}),))


def with_master(**fields: Any) -> Seen:
    return Seen(masters=(dataclasses.replace(GOOD, **fields),))


@pytest.mark.parametrize(
    ("seen", "check", "level", "says"),
    [
        (with_info(redis_version="5.0.14"), "version", "error", "Redis 5.0.14"),
        (with_info(redis_version="6.0.16"), "version", "warning", "Redis 6.0.16"),
        (with_info(redis_version=""), "version", "error", "Redis ?"),
        (with_info(redis_version="7.2.4", valkey_version="9.0.1"), "version", "ok", "Valkey 9.0.1"),
        (with_info(used_memory="950"), "memory", "warning", "95% full"),
        (with_info(connected_slaves="2"), "replicas", "ok", "2 of m:1"),
        (with_master(offset=-7.5), "clock", "warning", "7.500 s behind"),
        (with_master(offset=0.2), "clock", "ok", "0.200 s ahead of"),
        (with_master(round_trips=(0.04, 0.03, 0.001)), "latency", "warning", "median 30.00 ms, worst 40.00 ms of 3"),
        (with_master(refused=(Need(("WAIT", 0, 1), "durable", vital=False),)), "rights", "warning", "WAIT is refused"),
        (with_master(marker=12.0), "marker", "warning", "expires in 12 s"),
        (Seen(problem="no way"), "master", "error", "no way"),
        (Seen(masters=(GOOD, GOOD)), "master", "ok", "m:1, m:1"),
        (Seen(storm=True), "listener", "warning", "pushes come faster"),
        (Seen(listening=False), "listener", "warning", "bypassed"),
        (Seen(gate_open=False), "listener", "warning", "bypassed"),
        (Seen(owed=3), "journal", "warning", "3 invalidations"),
        (Seen(votes=((ONE, TWO), (TWO, TWO), (THREE, TWO))), "sentinels", "ok", "3 of 3 name b:1"),
        (Seen(votes=((ONE, TWO), (TWO, TWO), (THREE, ONE))), "sentinels", "warning", "c:1 names a:1"),
        (Seen(votes=((ONE, TWO), (TWO, None), (THREE, None))), "sentinels", "error", "b:1; no answer: b:1, c:1"),
        (Seen(votes=((ONE, None),)), "sentinels", "error", "none of 1 answers"),
        (Seen(votes=((ONE, TWO),)), "sentinels", "warning", "1 of 1"),
        (dataclasses.replace(with_master(), votes=((ONE, TWO),)), "replicas", "warning", "m:1 has none"),
        (Seen(redis=False), "topology", "ok", "memory://"),
    ],
)  # fmt: skip
def test_what_is_seen_is_judged(seen: Seen, check: str, level: str, says: str) -> None:
    report = judge(seen)
    (finding,) = found(report, check)
    assert finding.level == level
    assert says in finding.found
    assert bool(finding.fix) == (level != "ok")
    assert report.ok == all(f.level != "error" for f in report.findings)
