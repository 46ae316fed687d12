"""What is compiled does what the Python code does that it stands for, entry by entry; and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from cacheclient import AsyncCache, CacheOptions, L1Options, TuningOptions, entry, native
from cacheclient.clock import Gate, boottime
from cacheclient.entry import KEPT, NEGATIVE, Stored
from cacheclient.held import Item
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.reads import Batch
from cacheclient.stats import Histogram, TierStats
from tests.client.conftest import Hand

compiled: Any = native.compiled
needs_it = pytest.mark.skipif(compiled is None, reason="cacheclient/native is not compiled here: there was no compiler")
ROOT: Final = Path(__file__).parents[2]
OPTIONS: Final = CacheOptions(l1=L1Options(jitter=0, max_entries=64))
ID: Final = b"12345678"
HEADER: Final = 34


def well_formed(cache: AsyncCache[Any], **fields: Any) -> bytes:
    """Return the bytes of an entry as ``cache`` writes it, but for ``fields``."""
    parts, payload = cache._parts, fields.pop("payload", b"\x01")
    tags = tuple((name, mark.token) for name, mark in parts.tags._known.items())
    given = {
        "write_id": ID, "codec_id": parts.serializer.codec.id, "written_ms": parts.serializer.now_ms(),
        "lifetime_ms": 60_000, "load_time": 0.25, "payload": payload, "tags": tags, **fields,
    }  # fmt: skip
    return entry.pack(Stored(**given))


def oddities(cache: AsyncCache[Any]) -> list[bytes | None]:
    """Return one of each kind of what Redis may hold."""
    parts = cache._parts
    token = parts.tags._known[""].token if "" in parts.tags._known else b"tokentok"
    whole, now = well_formed(cache), parts.serializer.now_ms()
    return [
        None, whole, b"", b"V", whole[:33], whole[: HEADER + 3], whole[:-1], b"X" + whole[1:],
        entry.lease(ID), entry.tombstone(ID),
        whole[:9] + b"\x02" + whole[10:], whole[:10] + b"\xfe" + whole[11:], whole[:11] + b"\xfc" + whole[12:],
        well_formed(cache, flags=NEGATIVE, payload=b""), well_formed(cache, flags=KEPT),
        well_formed(cache, payload=b"\xc1"), well_formed(cache, payload=b""), well_formed(cache, payload=b"\xa3abc"),
        well_formed(cache, payload=b"\x92\x01\x81\xa1a\x02"),
        well_formed(cache, lifetime_ms=0), well_formed(cache, written_ms=now - 60_000),
        well_formed(cache, written_ms=now - 90_000), well_formed(cache, written_ms=now + 90_000),
        well_formed(cache, written_ms=2**64 - 1), well_formed(cache, lifetime_ms=2**64 - 1),
        well_formed(cache, written_ms=2**52), well_formed(cache, lifetime_ms=2**53 + 1),
        well_formed(cache, load_time=0.0), well_formed(cache, load_time=9e9),
        well_formed(cache, tags=()), well_formed(cache, tags=(("", b"unknownt"),)),
        well_formed(cache, tags=(("", token),)),
        whole[:32] + b"\x00\x01\x09" + whole[HEADER + 1 :], whole[:32] + b"\xff\xff" + whole[34:],
    ]  # fmt: skip


class Outcome:
    """What one way of settling an answer did."""

    def __init__(
        self, cache: AsyncCache[Any], values: list[bytes | None], waiters: list[int], keys: list[str] | None = None
    ) -> None:
        parts = cache._parts
        keys = keys or [f"k{number}" for number in range(len(values))]
        fulls = [parts.reader.full(key) for key in keys]
        batch, loop = Batch(), asyncio.get_running_loop()
        futures = {
            full: [loop.create_future() for _ in range(count)] for full, count in zip(fulls, waiters, strict=True)
        }
        for full, waiting in futures.items():
            for future in waiting:
                batch.add(full, future)
        next(iter(futures.values()))[0].cancel()
        asked = parts.reader.depart(batch)
        stats, before = parts.stats, cache.stats()
        unsure = parts.reader.take(batch, asked, values)
        passed = cache.stats() - before
        self.told = [
            [f.result() if f.done() and not f.cancelled() else f.done() for f in fs] for fs in futures.values()
        ]
        self.unsure = unsure
        self.l1 = {key: _seen(item) for key, item in parts.local.table.items()}
        self.fences = sorted(parts.local._fences)
        self.counted = (
            passed.l1.hits, passed.l1.misses, passed.l2.hits, passed.l2.misses, passed.l2.lookup.count, passed.errors,
            passed.all_lookups.count, stats.l1.size_bytes, stats.l1.entries, stats.l1.evictions,
        )  # fmt: skip


def _seen(item: Item) -> tuple[object, ...]:
    return (
        item.value, item.expires, item.ends, item.size, item.write_id, item.written_ms, item.kept, item.tags,
        [(mark.token, mark.until, mark.stands) for mark in item.guards], item.frequency, item.place, item.check is None,
    )  # fmt: skip


async def opened(hand: Hand, *, interpreted: bool, **kwargs: Any) -> AsyncCache[Any]:
    """Return a cache to which the namespace's token, and that of a tag, are known."""
    cache = await hand.cache(**{"options": OPTIONS, **kwargs})
    await cache.set("known", 1, tags=["t"])
    await cache.get("known")
    cache._parts.local.flush()
    if interpreted:
        cache._parts.reader._settler = None
    return cache


def forget(cache: AsyncCache[Any]) -> None:
    cache._parts.local.flush()
    cache._parts.stats.l1.evictions.clear()


@needs_it
async def test_it_settles_what_python_settles_whatever_redis_holds(hand: Hand) -> None:
    compiled_cache, interpreted = [await opened(hand, interpreted=pure) for pure in (False, True)]
    rng = random.Random(11)  # noqa: S311  a workload, not a secret
    kinds = oddities(compiled_cache)
    assert compiled_cache._parts.reader._settler is not None
    for number in range(400):
        values = rng.choices(kinds, k=rng.randint(1, 12)) if number else kinds
        waiters = [rng.choice((1, 1, 1, 2)) for _ in values]
        outcomes = []
        for cache in (compiled_cache, interpreted):
            outcomes.append(vars(Outcome(cache, values, waiters)))
            for key in outcomes[-1]["fences"]:  # of those whose tags are to be asked for
                cache._parts.local._fences.pop(key)
            if number % 5 == 0:
                forget(cache)
        assert outcomes[0] == outcomes[1], (number, values, waiters)


def layout(local: Local) -> tuple[object, ...]:
    """Return where everything in an L1 is, and what has left it lately."""
    queues = local._queues
    places = [[(item.key, item.frequency, item.place) for item in queue] for queue in queues._queues]
    assert local.follower is not None
    simulated = [simulation.hits for simulation in local.follower._l1.simulations]
    return (
        list(local.table),
        places,
        list(queues._held),
        list(queues._ghost),
        simulated,
        sorted(local.follower._l1.keys()),
    )


@needs_it
@pytest.mark.parametrize(
    "l1",
    [
        L1Options(max_entries=12, ttl=20),
        L1Options(max_entries=1, ttl=20),
        L1Options(max_entries=500, max_bytes=1500, ttl=20),
    ],
)
async def test_its_fills_give_up_what_python_would(hand: Hand, l1: L1Options) -> None:
    options = CacheOptions(l1=l1, tuning=TuningOptions(sample=16))
    compiled_cache, interpreted = [await opened(hand, interpreted=pure, options=options) for pure in (False, True)]
    rng = random.Random(7)  # noqa: S311  a workload, not a secret
    tags, gone = (("", compiled_cache._parts.tags._known[""].token),), 0  # one that L1 need not watch
    everything = [f"k{number}" for number in range(40)]
    for number in range(600):
        keys = rng.sample(everything, rng.randint(1, 6))
        values = [
            well_formed(compiled_cache, payload=b"\xc4" + bytes((size,)) + bytes(size), tags=tags)
            for size in (rng.choice((1, 30, 90, 200)) for _ in keys)
        ]
        used, dropped = rng.choices(keys, k=3), rng.choices(everything, k=number % 7 == 0)
        outcomes = []
        for cache in (compiled_cache, interpreted):
            local = cache._parts.local
            random.seed(number)
            missed = [key for key in keys if key not in local.table]
            kept = [value for key, value in zip(keys, values, strict=True) if key not in local.table]
            outcome = vars(Outcome(cache, kept, [1] * len(kept), missed)) if missed else {}
            for key in used:
                cache.peek(key)
            for key in dropped:
                local.drop(key)
            outcomes.append((outcome, layout(local), cache.stats().l1.evictions, cache.stats().l1.size_bytes))
        assert outcomes[0] == outcomes[1], number
        gone = outcomes[0][2]["capacity"]
    assert gone > 200


@needs_it
async def test_it_takes_any_damage_as_python_takes_it(hand: Hand) -> None:
    compiled_cache, interpreted = [await opened(hand, interpreted=pure) for pure in (False, True)]
    whole, rng = well_formed(compiled_cache, payload=b"\xa3abc"), random.Random(5)  # noqa: S311  a workload, not a secret
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        cut = bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged) + 1)))])
        outcomes = []
        for cache in (compiled_cache, interpreted):
            forget(cache)
            outcomes.append(vars(Outcome(cache, [cut, whole], [1, 1])))
            cache._parts.local._fences.clear()
        assert outcomes[0] == outcomes[1], cut


@needs_it
@pytest.mark.parametrize("what", ["doubts", "owed", "keyed"])
async def test_what_compiled_code_knows_nothing_of_is_left_to_python(
    hand: Hand, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await opened(hand, interpreted=False)
    reader = cache._parts.reader
    keys, values = ["hand:v1:a"], [well_formed(cache)]
    if what == "doubts":
        monkeypatch.setattr(type(reader._hearsay), "doubts", True)
    elif what == "owed":
        hand.store.away = True
        await cache.invalidate("b")
        assert len(reader._journal)
    else:
        cache._parts.serializer._keyed = object()  # type: ignore[assignment]
        reader._settler = reader._compiled()
    assert reader._take_ordinary(Batch(), keys, values) is None


@needs_it
@pytest.mark.parametrize("place", ["commit", "waiter"])
async def test_what_is_raised_while_it_settles_is_passed_on(
    hand: Hand, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = await opened(hand, interpreted=False)

    class Broken:
        def done(self) -> bool:
            raise LookupError(place)

        def set_result(self, found: object) -> None:
            raise AssertionError(found)

    def broken(*_: object) -> bool:
        raise LookupError(place)

    monkeypatch.setattr(cache._parts.local, "commit", broken)
    reader, batch = cache._parts.reader, Batch()
    batch.add("hand:v1:a", Broken() if place == "waiter" else asyncio.get_running_loop().create_future())
    keys = reader.depart(batch)
    with pytest.raises(LookupError, match=place):
        reader.take(batch, keys, [None if place == "waiter" else well_formed(cache)])


class Tier:
    """An L1 with both ways to look into it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.stats, self.all_lookups, self.gate = TierStats(), Histogram(), Gate(1e9)
        self.local = Local(L1Options(max_entries=50, jitter=0), self.stats)
        compiled_peek = self.local._compiled(self.gate, clock, self.all_lookups)
        assert compiled_peek is not None
        self.ways = (compiled_peek, self.local._interpreted(self.gate, clock, self.all_lookups))

    def put(self, key: str, remaining: float, now: float) -> None:
        stored = Stored(ID, 1, 0, 0, 0.0, b"", size=10, value=[key])
        self.local.commit(key, self.local.begin(key), stored, now, remaining)


@needs_it
def test_a_compiled_look_into_l1_sees_and_counts_what_python_does() -> None:
    now = [1000.0]
    seen = []
    for way in (0, 1):
        tier, rng, answers = Tier(lambda: now[0]), random.Random(3), []  # noqa: S311  a workload, not a secret
        now[0] = 1000.0
        for number in range(3000):
            key = f"k{rng.randrange(60)}"
            if rng.random() < 0.1:
                tier.put(key, rng.uniform(1, 30), now[0])
            if rng.random() < 0.02:
                tier.gate.until = now[0] + rng.choice((-1.0, 0.0, 1e6, 1e6, 1e6))
            if rng.random() < 0.02 and (item := tier.local.table.get(key)) is not None:
                item.check = rng.choice((None, lambda: True, lambda: False, list, lambda: 1))
            now[0] += rng.random()
            answers.append((number, tier.ways[way](key)))
        frequencies = {key: item.frequency for key, item in tier.local.table.items()}
        seen.append((answers, frequencies, tier.stats.hits, tier.all_lookups.count, tier.stats.lookup.count))
    assert seen[0] == seen[1]
    assert seen[0][2] > 64


@needs_it
def test_a_look_reads_the_clock_that_goes_on_while_a_machine_sleeps() -> None:
    tier = Tier(boottime)
    tier.put("a", 60.0, boottime())
    tier.put("b", 60.0, boottime() - 60.001)
    assert [tier.ways[0](key) for key in "abc"] == [["a"], ABSENT, ABSENT]
    tier.gate.until = boottime()
    assert tier.ways[0]("a") is ABSENT


@needs_it
def test_a_look_raises_what_python_would() -> None:
    fails = [False]

    def clock() -> float:
        if fails[0]:
            raise OSError("no clock")
        return 1.0

    tier = Tier(clock)
    tier.put("a", 60.0, 1.0)
    for look in tier.ways:
        with pytest.raises(TypeError, match="unhashable"):
            look([])  # type: ignore[arg-type]
        assert look(7) is ABSENT  # type: ignore[arg-type]  # a key of another type is one that nobody stored
        fails[0] = True
        with pytest.raises(OSError, match="no clock"):
            look("a")
        assert look("b") is ABSENT
        fails[0] = False
    tier.local.table["odd"] = object()  # type: ignore[assignment]
    with pytest.raises(TypeError, match="holds Items"):
        tier.ways[0]("odd")


@needs_it
@pytest.mark.parametrize("call", ["hit_path", "settler", "learn"])
def test_what_it_is_given_is_checked(call: str) -> None:
    with pytest.raises(TypeError):
        getattr(compiled, call)({}, None)
    with pytest.raises((AttributeError, TypeError)):
        compiled.learn(object, TierStats, Gate, Stored)
    with pytest.raises(TypeError):
        compiled.learn(Item, TierStats, type("Property", (), {"until": 1.0}), Stored)
    with pytest.raises(TypeError):
        compiled.settler(1, int, Stored, (None, 0.0), int, int, int, 7)(1, 2)
    with pytest.raises(TypeError):
        compiled.hit_path({}, None, object(), TierStats(), int, 64, 3, ABSENT)


@needs_it
async def test_nothing_leaks(hand: Hand) -> None:
    cache = await opened(hand, interpreted=False)
    kinds = oddities(cache)
    tier = Tier(lambda: 1.0)
    tier.put("a", 60.0, 1.0)

    def work() -> None:
        for _ in range(30):
            Outcome(cache, kinds, [1] * len(kinds))
            cache._parts.local._fences.clear()
            forget(cache)
            tier.ways[0]("a")
            tier.ways[0]("b")

    def held() -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], len(gc.get_objects())

    tracemalloc.start()
    try:
        for _ in range(5):
            work()
        before = held()
        for _ in range(10):
            work()
        after = held()
    finally:
        tracemalloc.stop()
    assert after[0] - before[0] < 100_000  # bytes; an object lost with each of 13,000 entries is seven times that
    assert after[1] - before[1] < 100


@pytest.mark.parametrize("hide", ["the variable", "the file"])
def test_without_it_all_is_done_by_python(hide: str) -> None:
    code = (
        "import asyncio, sys\n"
        "if sys.argv[1] == 'the file': sys.modules['cacheclient.native._native'] = None\n"
        "from cacheclient import AsyncCache, native\n"
        "async def main():\n"
        "    async with AsyncCache.from_url('memory://', namespace='pure') as cache:\n"
        "        await cache.set('a', 1)\n"
        "        print(native.compiled, await cache.get('a'), type(cache.peek).__name__)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, **({"CACHE_PURE_PYTHON": "1"} if hide == "the variable" else {})}
    done = subprocess.run(
        [sys.executable, "-c", code, hide], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "1", "function"]


def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if compiler is None or not headers.exists():
        pytest.skip(f"no C compiler, or no {headers}")
    warnings = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror")
    # Python's own headers are system headers: what they do is not ours to mend.
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-O2", *warnings, "-isystem", str(headers.parent), "-c", "-fPIC"]
    sources = sorted(map(str, (ROOT / "cacheclient" / "native").glob("*.c")))
    assert len(sources) == 5
    done = subprocess.run([*command, *sources], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
