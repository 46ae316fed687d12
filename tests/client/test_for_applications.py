"""``cacheclient.testing`` as applications use it: its page runs, its fakes keep the rules, its chaos repeats."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacheclient import MISSING, AsyncCache, Cache, ConfigurationError, L1Options
from cacheclient.missing import ABSENT
from cacheclient.options import CacheOptions, L2Options
from cacheclient.testing import Chaos, Fleet, Recorded, Watch, memory, no_waits, quiet
from tests.conftest import Server, until

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
FIRST_STEPS = PAGE.with_name("start") / "application.md"
INI = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
STEADY = CacheOptions(l1=L1Options(jitter=0), l2=L2Options(early_refresh=0))


async def load(key: str) -> str:
    return f"loaded {key}"


def test_the_pages_run(tmp_path: Path) -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text + FIRST_STEPS.read_text(), re.DOTALL)
    assert len(blocks) == text.count("```python") + 1, "a block without a file name"
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text(INI)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{sum(text.count('async def test_') for _, text in blocks)} passed" in run.stdout


def test_the_kit_needs_no_pytest_and_a_run_without_it_pays_nothing() -> None:
    lean = "import sys, cacheclient.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", lean], check=True)


async def test_pods_load_once_and_hear_of_each_other(cache_fleet: Fleet) -> None:
    loader = Recorded(load)
    async with cache_fleet.cache() as one, cache_fleet.cache() as two:
        watch = Watch(one, two)
        for cache in (one, two, one, two):
            assert await cache.get_or_load("a", loader) == "loaded a"
        assert loader.asked == ["a"]
        assert one.peek("a") == "loaded a"
        await two.invalidate("a")
        assert one.peek("a") is ABSENT
        watch.expect(loads=1, invalidations=1)
        assert cache_fleet.store.called("bury") == ["test:v1:a"]


async def test_a_wrong_expectation_says_what_was_seen(async_cache: AsyncCache) -> None:
    watch = Watch(async_cache)
    await async_cache.get_or_load("a", load)
    with pytest.raises(AssertionError, match=r"loads: expected 2, seen 1\n.*misses 1, loads 1"):
        watch.expect(loads=2, lookups=1)
    with pytest.raises(TypeError, match=r"reads.*known: lookups"):
        watch.expect(reads=1)


def test_threads_and_tasks_share_a_fleet(cache_fleet: Fleet, sync_cache: Cache) -> None:
    with cache_fleet.threads() as other:
        assert sync_cache.get_or_load("a", lambda key: key * 2) == "aa"
        assert other.get("a") == "aa"
        assert other.set("a", "new")
        assert sync_cache.get("a") == "new"


@pytest.mark.parametrize("delivered", ["late", "reversed", "lost"])
async def test_pushes_wait_and_are_reordered_and_lost_as_the_test_says(cache_fleet: Fleet, delivered: str) -> None:
    async with cache_fleet.cache(options=STEADY) as reader, cache_fleet.cache(options=STEADY) as writer:
        line = cache_fleet.line(reader)
        for key in ("a", "b"):
            await writer.set(key, "old")
            assert await reader.get(key) == "old"
        line.hold()
        await writer.set("a", "new")
        await writer.set("b", "new")
        assert [message for message in line.waiting if isinstance(message, str)] == ["test:v1:a", "test:v1:b"]
        assert reader.peek("a") == reader.peek("b") == "old"
        if delivered == "reversed":
            line.waiting.reverse()
        elif delivered == "lost":
            line.waiting.clear()
        line.deliver()
        expected = "old" if delivered == "lost" else ABSENT
        assert reader.peek("a") == reader.peek("b") == expected


async def test_a_half_open_line_closes_its_gate_and_a_cut_one_at_once(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache(options=STEADY) as reader, cache_fleet.cache() as writer:
        line = cache_fleet.line(reader)
        await writer.set("a", "old")
        await reader.get("a")
        line.freeze()
        await writer.set("a", "new")
        assert reader.peek("a") == "old"
        cache_fleet.clock.advance(STEADY.sync.max_staleness)
        assert reader.peek("a") is ABSENT
        line.thaw()
        assert await reader.get("a") == "new"
        assert reader.peek("a") == "new"
        line.cut()
        assert reader.peek("a") is ABSENT
        assert reader.stats().gaps == 1
        line.connect()
        assert reader.stats().listener_connected


async def test_values_expire_by_the_fleet_s_clock_and_tell_of_it(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache(options=STEADY) as cache:
        await cache.set("a", 1, ttl=10)
        assert await cache.get("a") == 1
        cache_fleet.clock.advance(9.9)
        assert await cache.get("a") == 1
        cache_fleet.clock.advance(0.2)
        assert await cache.get("a", MISSING) is MISSING
        assert "test:v1:a" not in cache_fleet.store.data


async def test_what_no_replica_had_is_repaired_after_a_failover(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache() as writer, cache_fleet.cache() as reader:
        await writer.set("a", "old")
        replica = cache_fleet.store.copy()
        await writer.invalidate("a")
        cache_fleet.failover(replica)
        await until(lambda: cache_fleet.store.data["test:v1:a"][:1] == b"T")
        assert await reader.get("a", MISSING) is MISSING


async def test_lost_and_failed_calls(cache_fleet: Fleet) -> None:
    async with cache_fleet.cache() as cache:
        cache_fleet.store.fail("bury", times=2)
        assert not await cache.invalidate("a")
        await until(lambda: "test:v1:a" in cache_fleet.store.data)  # the journal repeats it until it gets through
        cache_fleet.store.fail("put", executed=True)
        assert not await cache.set("b", 1)
        await until(lambda: cache_fleet.store.data["test:v1:b"][:1] == b"T")


async def chaotic(url: str, namespace: str, seed: int) -> tuple[dict[str, int], list[str]]:
    with Chaos(seed=seed, refused=0.2, lost=0.2, latency=(0, 0.001), most=30).installed() as done:
        async with AsyncCache.from_url(url, namespace=namespace, options=STEADY) as cache:
            answers = []
            for number in range(40):
                answers.append(str(await cache.set(f"k{number % 3}", number)))
                assert await cache.get_or_load(f"k{number % 3}", load) in (number, f"loaded k{number % 3}")
                assert not await cache.get_many(["nothing"])
            journal = cache._invalidation.journal
            await until(lambda: not len(journal))
            assert cache.stats().errors["l2/connection"] == done["refused"] + done["lost"]
    return dict(done), answers


async def test_chaos_before_a_real_redis_is_bounded_and_costs_no_correctness(
    shared_server: Server, namespace: str
) -> None:
    done, answers = await chaotic(shared_server.url, namespace, 1)
    assert done["refused"] + done["lost"] == 30
    assert done["delayed"] > 30
    assert answers.count("False") > 3
    assert answers[-1] == "True"


async def test_a_seed_repeats_what_it_did(namespace: str) -> None:
    results = []
    for seed in (5, 5, 6):
        fleet = Fleet()
        with fleet.installed(), Chaos(seed=seed, refused=0.3).installed():
            cache = AsyncCache.from_url("redis://x", namespace=namespace)
        async with cache:
            results.append([await cache.set(f"k{n}", n) for n in range(40)])
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"latency": (2, 1)}, "chaos.latency"),
        ({"refused": 0.7, "lost": 0.7}, "chaos.refused=0.7"),
        ({"refused": -1}, "chaos.refused=-1"),
        ({"most": -1}, "chaos.most"),
    ],
)
def test_chaos_that_cannot_be_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Chaos(**wrong)


async def test_blocks_end_and_nest() -> None:
    plain = AsyncCache.__init__
    fleet = Fleet()
    with fleet.installed(), no_waits():
        inside = AsyncCache.from_url("redis+sentinel://a,b,c/set", namespace="x", options=STEADY)
        with memory():
            alone = AsyncCache.from_url("redis://nowhere", namespace="x")
    assert AsyncCache.__init__ is plain
    assert fleet.line(inside)
    assert inside.options == quiet(STEADY)
    with pytest.raises(LookupError, match="not made by this fleet"):
        fleet.line(alone)


async def test_an_application_without_redis(no_redis: Fleet) -> None:
    loader = Recorded(load)
    cache = AsyncCache.from_url("rediss://prod.example", namespace="profile", options=STEADY)
    async with cache:
        assert await cache.get_or_load("a", loader) == "loaded a"
        assert not await cache.set("a", 1)
        assert not cache.stats().listener_connected
        no_redis.recover()
        await until(lambda: cache.stats().listener_connected and not len(cache._invalidation.journal))
        loader.error = LookupError("down")
        with pytest.raises(LookupError):
            await cache.get_or_load("a", loader)


async def test_a_fixture_for_each_need(
    cache_memory: None, cache_no_waits: None, cache_chaos: Callable[..., dict[str, int]]
) -> None:
    assert cache_memory is cache_no_waits is None
    done = cache_chaos(lost=1, calls=frozenset({"bury"}), most=1)
    async with AsyncCache.from_url("redis://nowhere", namespace="x") as cache:
        assert await cache.set("a", 1)
        assert await asyncio.wait_for(cache.get("a"), 1) == 1
        assert not await cache.invalidate("a")
        assert done == {"lost": 1}
        assert cache.options.l1.jitter == 0
