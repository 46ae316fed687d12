"""Warm-ups over a real Redis: what is written and what is left alone, in which order, how they go on, how they end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cacheclient import MISSING, AsyncCache, Cache, ConfigurationError, L1Options, entry
from cacheclient.contract import WARMED_AT
from cacheclient.events import EventType
from cacheclient.warming import (
    Bad,
    FilePlaces,
    Item,
    Outcome,
    PlanSettings,
    Report,
    SyncWarmer,
    Warmer,
    summary,
)
from tests.client.redis_cluster import RedisCluster
from tests.conftest import Server, until
from tests.warming.conftest import FAST, PATIENT, Database, Listed, Open, keys, values


def counts(report: Report) -> tuple[int, int, int, int]:
    totals = report.to_dict()
    return totals["read"], totals["written"], totals["skipped"], totals["failed"]


async def test_values_are_stored_with_their_life_and_tags(shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace, options=replace(PATIENT, l1=L1Options(max_entries=0)))
    source = Listed(values(30, ttl=500.0, tags=("crowd",)))
    report = await Warmer(cache, [source], plans=FAST).run("full")
    assert (report.outcome, counts(report)) == (Outcome.DONE, (30, 30, 0, 0)), summary(report)
    assert await cache.get_many([f"k{n}" for n in range(30)]) == dict.fromkeys([f"k{n}" for n in range(30)], "old")
    assert 490 < shared_server.client.ttl(f"{namespace}:v1:k7") <= 500
    found = await cache.get_entry("k7")
    assert found is not None
    assert found.tags == ("crowd",)
    assert 490 < found.remaining <= 500
    assert await cache.invalidate_tag("crowd")
    assert await cache.get("k7") is None


async def test_keys_are_loaded_a_batch_at_a_time_and_only_those_that_are_missing(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache, database = await opened(shared_server.url, namespace), Database()
    await cache.set("k3", "there")
    report = await Warmer(cache, [Listed(keys(25), load_many=database.load_many)], plans=FAST).run("full")
    assert counts(report) == (25, 24, 1, 0)
    assert [len(call) for call in database.calls] == [9, 10, 5]
    assert await cache.get("k3") == "there"
    assert await cache.get("k4") == "loaded"
    assert cache.stats().l2.misses == 0  # a warm-up is no traffic
    assert cache.stats().warmed == {"written": 24, "skipped": 1, "failed": 0}


async def test_without_renew_what_is_there_stays_however_old_it_is(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    await cache.set("k0", "before")
    await asyncio.sleep(0.01)
    report = await Warmer(cache, [Listed(values(2))], plans=FAST).run("full")
    assert counts(report) == (2, 1, 1, 0)
    assert await cache.get("k0") == "before"


async def test_renew_replaces_what_is_older_and_nothing_that_is_newer(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    await cache.set("k0", "before")
    await asyncio.sleep(0.01)  # the time of entries is in milliseconds

    async def changed(number: int) -> None:
        if number == 2:
            await cache.set("k1", "newer")

    plans = {"full": PlanSettings(rate=1e6, renew=True)}
    report = await Warmer(cache, [Listed(values(3), pause=changed)], plans=plans).run("full")
    assert counts(report) == (3, 2, 1, 0)
    assert [await cache.get(f"k{n}") for n in range(3)] == ["old", "newer", "old"]


async def test_renewed_keys_are_loaded_anew(shared_server: Server, namespace: str, opened: Open) -> None:
    cache, database = await opened(shared_server.url, namespace), Database()
    await cache.set("k0", "before")
    plans = {"full": PlanSettings(rate=1e6, renew=True)}
    report = await Warmer(cache, [Listed(keys(2), load_many=database.load_many)], plans=plans).run("full")
    assert counts(report) == (2, 2, 0, 0)
    assert await cache.get("k0") == "loaded"


async def test_what_cannot_be_used_is_counted_and_told_with_its_place(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    class User(msgspec.Struct):
        name: str

    cache = await opened(shared_server.url, namespace, type=User)
    given = [
        Item(key="good", value={"name": "a"}, at=1, where="list:1"),
        Bad(where="list:2", why="no JSON", at=2),
        Item(key="wrong", value={"nom": "a"}, at=3, where="list:3"),
        Item(key="", value={"name": "a"}, at=4, where="list:4"),
        Item(key="short", value={"name": "a"}, ttl=-1, at=5, where="list:5"),
        Item(key="bare", at=6, where="list:6"),
        Item(key="odd", value=object(), at=7, where="list:7"),
    ]
    report = await Warmer(cache, [Listed(given)], plans=FAST).run("full")
    assert (report.outcome, counts(report)) == (Outcome.DONE, (7, 1, 0, 6))
    (one,) = report.sources
    assert [where for where, _ in one.errors] == ["list:2", "list:4", "list:5", "list:6", "list:3", "list:7"]
    whys = dict(one.errors)
    assert whys["list:5"] == "ttl=-1: seconds, from 0.001 to 2592000"
    assert whys["list:6"] == "no value, and the source has no loader"
    assert whys["list:3"] == "ValidationError: Object missing required field `name`"
    assert await cache.get("good") == User("a")
    assert await cache.get("wrong") is None


async def test_sources_are_read_by_priority_and_one_that_fails_does_not_stop_the_next(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)

    async def breaks(number: int) -> None:
        if number == 15:
            raise OSError("the disk is gone")

    async def hangs(number: int) -> None:
        if number == 5:
            await asyncio.Event().wait()

    sources = [
        Listed(values(1, "third"), name="c", priority=3),
        Listed(values(20, "second"), name="b", priority=2, pause=hangs, timeout=0.05),
        Listed(values(20, "first"), name="a", priority=1, pause=breaks),
        Listed(values(1, "never"), name="d", priority=0, plans=["critical"]),
    ]
    report = await Warmer(cache, sources, plans=FAST).run("full")
    assert report.outcome is Outcome.FAILED
    assert [(s.name, s.outcome, s.error) for s in report.sources] == [
        ("a", Outcome.FAILED, "OSError: the disk is gone"),
        ("b", Outcome.FAILED, "gave nothing for 0.05 s"),
        ("c", Outcome.DONE, ""),
    ]
    assert await cache.get("k0") == "first"


async def test_a_loader_that_always_fails_ends_its_source(shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace)
    calls = 0

    async def fails(_: Any) -> Any:
        nonlocal calls
        calls += 1
        raise ConnectionError("no database")

    report = await Warmer(cache, [Listed(keys(100), load_many=fails)], plans=FAST).run("full")
    assert report.sources[0].error == "no key of 3 batches in a row could be loaded; ConnectionError: no database"
    assert calls == 3


async def test_what_the_loader_leaves_out_is_skipped(shared_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(shared_server.url, namespace)

    async def half(wanted: Any) -> Any:
        return {key: MISSING if key == "k1" else 1 for key in wanted if key != "k0"}

    report = await Warmer(cache, [Listed(keys(3), load_many=half)], plans=FAST).run("full")
    assert counts(report) == (3, 1, 2, 0)


async def test_a_dry_run_reads_everything_and_writes_nothing(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    await cache.set("k0", "there")
    before = set(shared_server.client.keys(f"{namespace}:*"))
    report = await Warmer(cache, [Listed(values(5))], plans=FAST).run("full", dry_run=True)
    assert (report.outcome, counts(report), report.dry_run) == (Outcome.DONE, (5, 4, 1, 0), True)
    assert set(shared_server.client.keys(f"{namespace}:*")) == before


async def test_one_warm_up_of_a_plan_runs_in_the_fleet(shared_server: Server, namespace: str, opened: Open) -> None:
    first, second = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    reached, may_go = asyncio.Event(), asyncio.Event()

    async def held(number: int) -> None:
        del number
        reached.set()
        await may_go.wait()

    running = asyncio.create_task(Warmer(first, [Listed(values(3), pause=held)], plans=FAST).run("full"))
    await reached.wait()
    other = Warmer(second, [Listed(values(3))], plans=FAST)
    refused = await other.run("full")
    assert (refused.outcome, refused.error) == (Outcome.ELSEWHERE, "another process carries it out")
    assert (await other.run("hot")).outcome is Outcome.DONE
    may_go.set()
    assert (await running).outcome is Outcome.DONE
    assert second.stats().locks == {}  # or an alert would take it for trouble
    assert (await other.run("full")).outcome is Outcome.DONE


async def test_a_warm_up_ends_at_its_deadline_and_another_goes_on_where_it_was(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    given = values(40)
    plans = {"full": PlanSettings(rate=1e6, batch=10, deadline=2.5)}

    async def proved(number: int) -> None:
        await asyncio.sleep(0.3 if number % 10 == 0 else 0)
        if number == 30:
            await asyncio.sleep(60)

    late = await Warmer(cache, [Listed(given, pause=proved)], plans=plans).run("full")
    assert (late.outcome, late.error) == (Outcome.LATE, "not done within 2.5 s")
    quick = Listed(given)
    report = await Warmer(cache, [quick], plans=FAST).run("full", resume=True)
    assert report.outcome is Outcome.DONE
    assert quick.opened[0] >= 10
    assert report.sources[0].resumed
    assert report.sources[0].read == 40
    again = Listed(given)
    await Warmer(cache, [again], plans=FAST).run("full", resume=True)
    assert again.opened == [None]  # one that is done is not resumed


_KILLED = """
    import asyncio, sys
    from cacheclient import AsyncCache
    from cacheclient.warming import FilePlaces, PlanSettings, Warmer
    from tests.warming.conftest import PATIENT, Listed, values

    async def main():
        async def pause(number):
            await asyncio.sleep(0.05 if number % 10 == 0 else 0)
        async with AsyncCache.from_url(sys.argv[1], namespace=sys.argv[2], options=PATIENT) as cache:
            places = FilePlaces(sys.argv[3]) if sys.argv[3] else None
            warmer = Warmer(cache, [Listed(values(3_000), pause=pause)], places=places,
                            plans={"full": PlanSettings(rate=1e6, batch=10)})
            await warmer.run("full", progress=lambda report: print(report.sources[0].read, flush=True))

    asyncio.run(main())
"""


@pytest.mark.parametrize("kept", ["redis", "folder"])
async def test_a_warm_up_that_was_killed_goes_on(
    shared_server: Server, namespace: str, opened: Open, tmp_path: Path, kept: str
) -> None:
    folder = str(tmp_path / "places") if kept == "folder" else ""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_KILLED), shared_server.url, namespace, folder,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(30):
        noted = int(await process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    assert 0 < noted < 3_000
    shared_server.client.delete(f"{namespace}:lock:warming:full")  # it would expire by itself in half a minute
    cache, source = await opened(shared_server.url, namespace), Listed(values(3_000))
    places = FilePlaces(folder) if folder else None
    plans = {"full": PlanSettings(rate=1e6, batch=500)}
    report = await Warmer(cache, [source], plans=plans, places=places).run("full", resume=True)
    assert report.outcome is Outcome.DONE
    assert source.opened[0] >= noted
    assert counts(report)[0] == 3_000
    assert len(shared_server.client.keys(f"{namespace}:v1:*")) == 3_000


async def test_an_outage_of_redis_is_waited_for(own_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(own_server.url, namespace)

    async def restarted(number: int) -> None:
        if number == 25 and len(source.opened) == 1:
            own_server.kill()
            own_server.start()

    source = Listed(values(40), pause=restarted)
    report = await Warmer(cache, [source], plans=FAST).run("full")
    assert report.outcome is Outcome.DONE, summary(report)
    assert len(source.opened) >= 2  # nothing that was read before the gap is stored after it
    assert await cache.get("k39") == "old"


async def test_without_redis_a_warm_up_fails_and_says_so(own_server: Server, namespace: str, opened: Open) -> None:
    cache = await opened(own_server.url, namespace)
    own_server.kill()
    report = await Warmer(cache, [Listed(values(1))], plans=FAST).run("full")
    assert report.outcome is Outcome.FAILED
    assert report.error.startswith("Redis: ")


async def test_in_memory_a_warm_up_fills_l1(namespace: str, opened: Open) -> None:
    cache, database = await opened("memory://", namespace), Database()
    sources = [Listed(values(5)), Listed([Item(key="x")], name="keys", load_many=database.load_many)]
    report = await Warmer(cache, sources, plans=FAST).run("full")
    assert counts(report) == (6, 6, 0, 0)
    assert cache.peek("k4") == "old"
    assert cache.peek("x") == "loaded"


async def test_over_a_second_version_nothing_else_is_touched(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace, version=2)
    await Warmer(cache, [Listed(values(2))], plans=FAST).run("hot")
    names = {key.decode().removeprefix(f"{namespace}:") for key in shared_server.client.keys(f"{namespace}:*")}
    assert {name for name in names if "lock" not in name} == {"v2:k0", "v2:k1", "tag:", "warming:v2:hottest:hot"}


async def test_when_it_is_done_the_fleet_pulls_the_first_keys_into_l1(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache, pod = await opened(shared_server.url, namespace), await opened(shared_server.url, namespace)
    heard: list[str] = []
    pod.on_prewarm(lambda event: heard.append(event.plan))
    plans = {"hot": PlanSettings(rate=1e6, l1=3)}
    async with Warmer(pod, [], plans=plans) as follower:
        assert follower.ready
        await Warmer(cache, [Listed(values(10))], plans=plans, follow=False).run("hot")
        await until(lambda: len(pod._parts.local.table) == 3)
    assert heard == ["warmed:hot"]
    assert set(pod._parts.local.table) == {"k0", "k1", "k2"}
    assert pod.stats().events[EventType.PREWARM] == 1
    assert abs(int(shared_server.client.get(WARMED_AT["hot"]) or 0) - time.time()) < 30


async def test_a_plan_that_the_fleet_is_asked_for_is_carried_out_by_one_that_has_sources(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    asking, bare, able = [await opened(shared_server.url, namespace) for _ in range(3)]
    source = Listed(values(5), plans=["hot"])
    async with Warmer(bare, []) as idle, Warmer(able, [source], plans=FAST) as warmer:
        await until(lambda: bare.stats().listener_connected and able.stats().listener_connected)
        asking.request_prewarm("hot")
        await until(lambda: "hot" in warmer.last and warmer.last["hot"].outcome is Outcome.DONE)
        asking.request_prewarm("full")  # it has none for that one
        await until(lambda: able.stats().events[EventType.PREWARM] >= 2)
        assert set(warmer.last) == {"hot"}
        assert not idle.last
    assert await asking.get("k4") == "old"


async def test_at_start_an_application_waits_for_the_critical_plan(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    source = Listed(values(3), plans=["critical"])
    async with Warmer(cache, [source]) as warmer:
        assert warmer.ready
        report = await warmer.at_start(deadline=10)
        assert report is not None
        assert warmer.ready
        assert warmer.state.startswith("critical: done: 3 written, 0 skipped, 0 failed of 3 read in ")
    assert await cache.get("k2") == "old"


async def test_past_the_deadline_an_application_serves_cold_and_the_warm_up_goes_on(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    may_go, seen = asyncio.Event(), []

    async def held(number: int) -> None:
        del number
        seen.append(warmer.ready)
        await may_go.wait()

    async with Warmer(cache, [Listed(values(3), plans=["critical"], pause=held)]) as warmer:
        assert await warmer.at_start(deadline=0.3) is None
        assert seen == [False]
        assert warmer.ready
        assert warmer.state == "serving cold: critical was not warm within 0.3 s, and goes on"
        may_go.set()
        await until(lambda: warmer.state.startswith("critical: done"))
    assert await cache.get("k2") == "old"


async def test_closing_ends_a_warm_up_behind_the_application(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    warmer = Warmer(cache, [Listed(values(3), plans=["critical"], pause=lambda _: asyncio.sleep(600))])
    await warmer.at_start(deadline=0.05)
    await warmer.close()
    await warmer.close()
    assert warmer.state == "critical was given up"
    assert not shared_server.client.exists(f"{namespace}:lock:warming:critical")


async def test_an_application_starts_without_redis(own_server: Server, namespace: str) -> None:
    own_server.kill()
    source = Listed(values(3), plans=["critical"])
    async with AsyncCache.from_url(own_server.url, namespace=namespace) as cache, Warmer(cache, [source]) as warmer:
        report = await warmer.at_start(deadline=0.5)
        assert warmer.ready
        assert report is None or report.outcome is Outcome.FAILED


def test_threads_warm_up_too(shared_server: Server, namespace: str) -> None:
    with Cache.from_url(shared_server.url, namespace=namespace, options=PATIENT) as cache:
        with SyncWarmer(cache, [Listed(values(3), plans=["critical", "hot"])], plans=FAST) as warmer:
            assert warmer.run("hot").written == 3
            assert warmer.at_start(deadline=5) is not None
            assert warmer.ready
            assert warmer.state.startswith("critical: done: 0 written, 3 skipped")
        assert cache.get("k1") == "old"


@pytest.mark.parametrize(
    ("sources", "plans", "says"),
    [
        ([Listed([]), Listed([])], {}, "source 'listed': two have this name"),
        ([Listed([], plans=["warm"])], {}, "source 'listed': plans=\\['warm'\\]: some of critical, hot, full"),
        ([Listed([], plans=[])], {}, "some of critical, hot, full"),
        ([], {"all": PlanSettings()}, "plan 'all': critical, hot, full"),
        ([], {"hot": PlanSettings(rate=0, batch=0)}, "plans.hot.rate: 0 .*\n.*plans.hot.batch: 0 "),
    ],
)
async def test_what_cannot_work_is_refused(opened: Open, namespace: str, sources: Any, plans: Any, says: str) -> None:
    cache = await opened("memory://", namespace)
    with pytest.raises(ConfigurationError, match=says):
        Warmer(cache, sources, plans=plans)


async def test_there_is_no_other_plan(opened: Open, namespace: str) -> None:
    cache = await opened("memory://", namespace)
    with pytest.raises(ConfigurationError, match="plan 'everything': critical, hot, full"):
        await Warmer(cache, []).run("everything")


async def test_an_entry_bears_the_time_at_which_its_source_was_read(
    shared_server: Server, namespace: str, opened: Open
) -> None:
    cache = await opened(shared_server.url, namespace)
    as_of = time.time() - 3600
    await Warmer(cache, [Listed(values(1, ttl=100.0, as_of=as_of))], plans=FAST).run("full")
    raw = shared_server.client.get(f"{namespace}:v1:k0")
    assert isinstance(raw, bytes)
    envelope = entry.unpack(raw)
    assert envelope is not None
    assert envelope.written_ms == int(as_of * 1000)
    found = await cache.get_entry("k0")
    assert found is not None
    assert 90 < found.remaining <= 100
    assert 3590 < found.age < 3700


async def test_over_a_redis_cluster_it_is_the_same(launch: Callable[..., Server], namespace: str, opened: Open) -> None:
    cluster = RedisCluster(launch, replicas=False)
    try:
        cache, database = await opened(cluster.url, namespace), Database()
        sources = [Listed(values(60, tags=("crowd",))), Listed(keys(90), name="keys", load_many=database.load_many)]
        report = await Warmer(cache, sources, plans=FAST).run("full")
        assert (report.outcome, counts(report)) == (Outcome.DONE, (150, 90, 60, 0)), summary(report)
        assert len(await cache.get_many([f"k{n}" for n in range(90)])) == 90
    finally:
        cluster.kill()
