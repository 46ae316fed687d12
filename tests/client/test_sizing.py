"""What the tiers would have at other sizes: estimates beside exact simulations, and beside a real Redis."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence

import pytest

from cacheclient import AsyncCache, Cache, CacheOptions, L1Options, L2Options, Stats, SyncOptions, TuningOptions
from cacheclient.clock import Gate
from cacheclient.contract import SIZES
from cacheclient.entry import Stored
from cacheclient.held import Mark
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.sizing import MASK, Curve, Follower
from cacheclient.sizing.distances import SPACE, Distances
from cacheclient.stats import Histogram, TierStats
from tests.client.conftest import Hand
from tests.conftest import Server

SOON = L1Options(max_entries=4, jitter=0)


def zipf(count: int, keys: int, rng: random.Random, exponent: float = 0.9) -> list[str]:
    weights = [1 / rank**exponent for rank in range(1, keys + 1)]
    return [f"k{number}" for number in rng.choices(range(keys), weights, k=count)]


def scans(count: int, keys: int, rng: random.Random) -> list[str]:
    """Return a zipf mix with scans of keys that are never asked for again."""
    mixed = zipf(count // 2, keys, rng)
    for start in range(0, count // 2, 500):
        place = rng.randrange(len(mixed))
        mixed[place:place] = [f"s{number}" for number in range(start, start + 500)]
    return mixed


def loops(count: int, keys: int, rng: random.Random) -> list[str]:
    """Return a zipf mix beside a loop that is larger than the cache: what LRU is worst at."""
    around = keys // 10
    return [f"l{turn % around}" if turn % 2 else key for turn, key in enumerate(zipf(count, keys, rng))]


class Tier:
    """An L1 under a trace, as the cache drives it."""

    def __init__(self, max_entries: int, follower: Follower | None = None) -> None:
        self.stats = TierStats()
        self.follower = follower
        self.now = 0.0
        self.local = Local(L1Options(max_entries=max_entries, ttl=300, jitter=0), self.stats, 0.0, follower)
        self.peek = self.local.reader(Gate(), lambda: self.now, Histogram())

    def ask(self, key: str, *, left: float | None = 1e9, guards: tuple[Mark, ...] = ()) -> bool:
        if self.peek(key) is not ABSENT:
            return True
        self.stats.misses += 1
        if self.follower is not None and hash(key) & MASK < self.follower.below:
            self.follower.missed(key, 1, self.now, left)
        stored = Stored(b"", 0, 0, 0, 0.0, b"", size=1)
        self.local.commit(key, self.local.begin(key), stored, self.now, 1e9, guards)
        return False

    def curve(self) -> Curve:
        assert self.follower is not None
        return self.follower.settle(self.now, (self.stats.lookups, self.stats.hits), (0, 0))["l1"]


def exact(trace: Sequence[str], max_entries: int) -> float:
    tier = Tier(max_entries)
    return sum(map(tier.ask, trace)) / len(trace)


def lru(trace: Sequence[str], sizes: Sequence[int]) -> list[float]:
    rates = []
    for size in sizes:
        held: OrderedDict[str, None] = OrderedDict()
        hits = 0
        for key in trace:
            hits += key in held
            held[key] = None
            held.move_to_end(key)
            if len(held) > size:
                held.popitem(last=False)
        rates.append(hits / len(trace))
    return rates


@pytest.mark.parametrize("mix", [zipf, scans, loops])
def test_l1_at_other_sizes_is_what_a_simulation_of_all_keys_gives(mix: type) -> None:
    trace = mix(40_000, 5_000, random.Random(7))  # noqa: S311
    tier = Tier(500, Follower(256, 500, 2**30, 1800))
    for number, key in enumerate(trace):
        tier.ask(key)
        if number % 5_000 == 0:
            tier.follower.settle(0.0, (tier.stats.lookups, tier.stats.hits), (0, 0))
    curve = tier.curve()
    truth = {size: exact(trace, round(500 * factor)) for size, factor in SIZES.items()}
    assert curve.hit_rate("1x") == pytest.approx(truth["1x"])
    assert {size: curve.hit_rate(size) for size in SIZES} == pytest.approx(truth, abs=0.02 if mix is not loops else 0.1)
    assert truth["4x"] - truth["0.5x"] > 0.08, "a flat curve would prove nothing"


def test_reuse_distances_give_what_lru_would_have() -> None:
    trace = zipf(40_000, 5_000, random.Random(7))  # noqa: S311
    distances = Distances(600)
    for key in trace:
        distances.used(key, hash(key) & MASK, 1, 0.0, 1e9)
    sizes = [250, 500, 1000, 2000, 4000]
    shift = lru(trace, [1000])[0] - distances.within(1000) / len(trace)
    estimated = [distances.within(size) / len(trace) + shift for size in sizes]
    assert estimated == pytest.approx(lru(trace, sizes), abs=0.07)
    assert len(distances) <= 600
    assert distances.alive == pytest.approx(len(set(trace)), rel=0.15)


def test_few_keys_are_all_followed_so_distances_are_exact() -> None:
    distances = Distances(100)
    for key in ("a", "b", "c", "a", "a", "b"):
        distances.used(key, hash(key) & MASK, 1, 0.0, 10.0)
    assert distances.share == 1
    assert (distances.within(0.9), distances.within(1), distances.within(3.1)) == (0, 1, 3)  # 3 is within a bin
    distances.gone("a")
    distances.used("a", 1, 1, 0.0, 10.0)  # it was invalidated: no size would have had it
    assert distances.within(1e9) == 3
    distances.used("b", 1, 1, 11.0, 20.0)  # expired
    assert distances.within(1e9) == 3
    distances.expire(12.0)
    assert distances.keys() == ["b"]
    distances.used("b", 1, 4, 12.0, 20.0)  # four at once: after the first it is there
    assert (distances.within(1), distances.within(1e9)) == (5, 7)


def test_memory_is_bounded_whatever_is_asked_for() -> None:
    follower = Follower(64, 1000, 2**30, 1800)
    tier = Tier(1000, follower)
    most = 0
    for number in range(60_000):
        tier.ask(f"once{number}")
        most = max(most, len(follower._l1), len(follower._l2))
    assert most <= 64 * 8 + 64
    assert len(follower._l2) <= 4 * 64


def test_a_hit_of_what_is_not_followed_has_nothing_to_check() -> None:
    tier = Tier(1000, Follower(16, 1000, 2**30, 1800))
    for number in range(1000):
        tier.ask(f"k{number}")
    checked = [key for key, item in tier.local.table.items() if item.check is not None]
    assert set(checked) <= set(tier.follower._l1.keys())
    assert 1 <= len(checked) <= 60


def test_a_followed_entry_is_still_guarded_by_its_tags() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))  # all keys are followed
    mark, other = Mark(b"1", 1e9), Mark(b"2", 1e9)
    tier.ask("a", guards=(mark, other))
    assert tier.ask("a")
    mark.stands = False
    assert tier.peek("a") is ABSENT
    assert tier.local.table["a"].check is not None
    tier.ask("a", guards=(other,))
    assert tier.peek("a") is not ABSENT
    other.stands = False
    assert tier.peek("a") is ABSENT


def ask_round(tier: Tier, keys: int, rounds: int) -> None:
    for _ in range(rounds):
        for number in range(keys):
            tier.ask(f"k{number}")


def test_hits_are_counted_although_only_their_entries_see_them() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))
    ask_round(tier, 5, 40)  # five misses, then hits only
    curve = tier.curve()
    assert {size: curve.hit_rate(size) for size in SIZES} == pytest.approx(dict.fromkeys(SIZES, 195 / 200))
    assert tier.follower._l1.simulations[1].hits == 195


def test_a_hit_that_a_smaller_l1_would_not_have_had_is_taken_in_there_before_the_next_event() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))
    for number in range(10):
        tier.ask(f"k{number}")
    found = tier.follower._l1._followed
    half = [key for key, one in found.items() if one.entries[0].place]
    assert len(half) == 5
    missing = next(key for key in found if key not in half)
    assert tier.ask(missing)
    tier.ask("another")
    assert found[missing].entries[0].place
    assert tier.follower._l1.simulations[0].hits == 0, "it would have been a miss"


def test_what_expires_or_is_invalidated_is_no_matter_of_size() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))
    for _ in range(60):
        ask_round(tier, 5, 1)
        tier.now += 400  # past the ttl
    for _ in range(60):
        ask_round(tier, 5, 1)
        for number in range(5):
            tier.local.drop(f"k{number}")
    for _ in range(60):
        ask_round(tier, 5, 1)
        tier.local.drop_matching(lambda key: key.startswith("k"))
    for _ in range(60):
        ask_round(tier, 5, 1)
        tier.local.flush()
    curve = tier.curve()
    assert tier.stats.hits == 0
    assert [one.hits for one in tier.follower._l1.simulations] == [0, 0, 0, 0]
    assert {size: curve.hit_rate(size) for size in SIZES} == dict.fromkeys(SIZES, 0.0)


def test_old_lookups_weigh_less() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))
    for number in range(200):  # each once: no hits
        tier.ask(f"once{number}")
    assert tier.curve().hit_rate("1x") == 0
    ask_round(tier, 5, 80)
    tier.curve()
    tier.now = 3600
    ask_round(tier, 5, 80)
    curve = tier.curve()
    assert curve.hit_rate("1x") > 0.98
    assert curve.lookups == pytest.approx(400, abs=5)


def test_without_enough_lookups_nothing_is_said() -> None:
    tier = Tier(10, Follower(16, 10, 2**30, 1800))
    ask_round(tier, 5, 9)
    assert tier.follower.settle(0.0, (45, 40), (0, 0)) == {}


def test_curves_of_processes_add_up() -> None:
    one = Curve(
        lookups=100, hits=40, gained=tuple(zip(SIZES, (-10, 0, 20, 30), strict=True)), followed=5,
        working_set_bytes=2**20, capacity_bytes=2**21,
    )  # fmt: skip
    other = Curve(
        lookups=300, hits=240, gained=tuple(zip(SIZES, (-30, 0, 20, 90), strict=True)), followed=7,
        working_set_bytes=2**20, capacity_bytes=2**21,
    )  # fmt: skip
    both = Stats.merge([Stats(curves={"l1": one}), Stats(curves={"l1": other, "l2": one})])
    assert both.curves["l1"].hit_rate("2x") == pytest.approx(320 / 400)
    assert both.curves["l2"] == one
    assert other.hit_rate("4x") == 1.0, "an estimate never leaves 0 to 1"
    assert both.to_dict()["at_other_sizes"]["l1"] == {
        "hit_rate": {"0.5x": 0.6, "1x": 0.7, "2x": 0.8, "4x": 1.0}, "lookups": 400, "followed_keys": 12,
        "working_set_mb": 2.0, "capacity_mb": 4.0,
    }  # fmt: skip
    assert (both - Stats()).curves == both.curves


async def test_a_cache_tells_it_in_its_stats(hand: Hand) -> None:
    cache = await hand.cache(options=CacheOptions(l1=SOON, tuning=TuningOptions(sample=16)))
    for number in range(8):
        await cache.set(f"k{number}", number)
    for _ in range(60):
        for number in range(8):
            await cache.get(f"k{number}")
    follower = cache._parts.local.follower
    assert follower is not None
    await cache._parts.tuner.look()
    curve = cache.stats().curves["l1"]
    assert curve.hit_rate("1x") == cache.stats().l1.hit_rate
    assert curve.hit_rate("2x") > curve.hit_rate("1x") + 0.2
    assert "l2" not in cache.stats().curves, "nobody knows how much memory a fake has"


def test_a_cache_of_threads_tells_it_too_and_one_that_is_told_not_to_does_not() -> None:
    quick = CacheOptions(tuning=TuningOptions(interval=0.01, sample=16), l1=SOON)
    with Cache.from_url("memory://", namespace="a", options=quick) as cache:
        until_told = iter(range(10_000))
        while "l1" not in cache.stats().curves:
            cache.get_or_load(f"k{next(until_told) % 8}", str.upper)
    with Cache.from_url("memory://", namespace="a", options=CacheOptions(tuning=TuningOptions(interval=0))) as cache:
        assert cache._here().cache._parts.local.follower is None


async def test_l2_at_other_sizes_follows_from_what_a_real_redis_has_room_for(own_server: Server) -> None:
    """Redis' own LRU tells times by the second, so within seconds it evicts at random; room and distances are exact."""
    own_server.client.config_set("maxmemory-policy", "allkeys-lru")
    own_server.client.config_set("maxmemory", 10 * 2**20)
    keys = zipf(2_000, 900, random.Random(3), 0.8)  # noqa: S311
    options = CacheOptions(
        l1=L1Options(max_entries=1), l2=L2Options(timeout=5, ttl=600), sync=SyncOptions(audit=0),
        tuning=TuningOptions(interval=3600),
    )  # fmt: skip

    async def load(ids: Sequence[str]) -> dict[str, bytes]:
        return {key: key.encode() * 4000 for key in ids}

    async with AsyncCache.from_url(own_server.url, namespace="l2", options=options) as cache:
        for start in range(0, len(keys), 10):
            await cache.get_or_load_many(keys[start : start + 10], load)
        follower = cache._parts.local.follower
        assert follower is not None
        await cache._parts.tuner.look()
        curve = cache.stats().curves["l2"]
        held, hit_rate = own_server.client.dbsize(), cache.stats().l2.hit_rate
    assert own_server.client.info("stats")["evicted_keys"] > 0
    assert curve.hit_rate("1x") == pytest.approx(hit_rate)
    assert curve.capacity_bytes == 10 * 2**20
    half, own, double = lru(keys, [round(held * factor * 0.95) for factor in (0.5, 1, 2)])
    assert curve.hit_rate("0.5x") - curve.hit_rate("1x") == pytest.approx(half - own, abs=0.05)
    assert curve.hit_rate("2x") - curve.hit_rate("1x") == pytest.approx(double - own, abs=0.03)
    assert own - half > 0.08


def test_the_sample_of_hashes_is_even() -> None:
    assert sum(hash(f"key:{number}") & MASK < SPACE // 8 for number in range(8000)) == pytest.approx(1000, rel=0.2)
