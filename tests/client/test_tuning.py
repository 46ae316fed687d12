"""The four rules: what they decide and why, that they never flap, and that what they decide is done."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheclient import AsyncCache, Cache, CacheOptions, ConfigurationError, L1Options, Stats, TuningOptions
from cacheclient.contract import SIZES, TuningRule
from cacheclient.errors import UnavailableError
from cacheclient.events import Event
from cacheclient.missing import ABSENT
from cacheclient.remote import Address
from cacheclient.remote.link import Connection
from cacheclient.remote.memory import redis_memory
from cacheclient.sizing import Curve
from cacheclient.tuning import Action, Decision, Measured, Memory, State, decide, suggestion
from tests.client.conftest import Hand

OPTIONS = TuningOptions()
L1 = L1Options()
DAY = 86_400
BEGIN = {Action.SUGGEST_SCALE_UP, Action.EVICT, Action.RAISE_TTL, Action.PREWARM}


def fresh(now: float = 0.0) -> dict[TuningRule, State]:
    return {rule: State(changed_at=now) for rule in TuningRule}


def run(looks: Iterable[Measured], options: TuningOptions = OPTIONS, l1: L1Options = L1) -> list[Decision]:
    states, made = fresh(), []
    for measured in looks:
        decisions, states = decide(measured, states, options, l1)
        made += decisions
    return made


def steady(seconds: float, **figures: float) -> Iterator[Measured]:
    return (Measured(now=float(now), **figures) for now in range(0, round(seconds), 10))


@pytest.mark.parametrize(
    ("figures", "action", "parameter", "after"),
    [
        ({"l2_hit_rate": 0.69}, Action.SUGGEST_SCALE_UP, "", 0.0),
        ({"pressure": 0.86}, Action.EVICT, "l1_max_bytes", math.floor(0.7 * L1.max_bytes)),
        ({"l1_hit_rate": 0.29}, Action.RAISE_TTL, "l1_ttl_seconds", 600.0),
        ({"invalidations": 10.1}, Action.PREWARM, "", 0.0),
    ],
)
def test_each_rule_engages_beyond_its_threshold(
    figures: dict[str, float], action: Action, parameter: str, after: float
) -> None:
    (decision,) = run(steady(3600, **figures))
    assert (decision.action, decision.parameter, decision.after) == (action, parameter, after)
    assert decision.at == OPTIONS.cooldown, "not while the cache is cold"


@pytest.mark.parametrize(
    "figures", [{"l2_hit_rate": 0.7}, {"pressure": 0.85}, {"l1_hit_rate": 0.3}, {"invalidations": 10.0}, {}]
)
def test_at_its_threshold_and_without_a_figure_no_rule_does_anything(figures: dict[str, float]) -> None:
    assert run(steady(3600, **figures)) == []


@pytest.mark.parametrize(
    ("trouble", "between", "calm"),
    [
        ({"l2_hit_rate": 0.6}, {"l2_hit_rate": 0.74}, {"l2_hit_rate": 0.76}),
        ({"pressure": 0.9}, {"pressure": 0.7}, {"pressure": 0.59}),
        ({"l1_hit_rate": 0.2}, {"l1_hit_rate": 0.5}, {"l1_hit_rate": 0.51}),
        ({"invalidations": 20.0}, {"invalidations": 5.0}, {"invalidations": 4.9}),
    ],
)
def test_a_rule_lets_go_at_another_threshold_than_it_engages_at(
    trouble: dict[str, float], between: dict[str, float], calm: dict[str, float]
) -> None:
    phases = [trouble] * 100 + [between] * 1000 + [calm] * 100
    made = run(Measured(now=10.0 * look, **figures) for look, figures in enumerate(phases))
    assert [decision.action in BEGIN for decision in made] == [True, False]
    assert made[1].at >= 11_000
    assert (made[0].before, made[0].after) == (made[1].after, made[1].before)


def test_a_moment_of_trouble_is_none() -> None:
    looks = (Measured(now=10.0 * look, l1_hit_rate=0.1 if look % 3 else 0.4) for look in range(1000))
    assert run(looks) == []


def test_a_ttl_that_is_long_already_is_not_shortened() -> None:
    (decision,) = run(steady(3600, l1_hit_rate=0.1), l1=L1Options(ttl=3000))
    assert (decision.before, decision.after) == (3000, 3000)


def test_the_reason_names_figure_threshold_and_what_is_to_be_gained() -> None:
    (decision,) = run(steady(3600, l2_hit_rate=0.612, advice="twice the memory would have 80.0%"))
    assert decision.reason == "L2 hit rate 61.2%, below 70.0% for 30 s; twice the memory would have 80.0%"
    (decision,) = run(steady(3600, invalidations=25))
    assert decision.reason == "invalidations a second 25.0, above 10.0 for 30 s"


RATES = st.none() | st.floats(0, 1)
LOOKS = st.lists(
    st.tuples(st.sampled_from([1.0, 10.0, 60.0, 600.0, 7200.0]), RATES, RATES, RATES, st.none() | st.floats(0, 100)),
    max_size=120,
)


@given(LOOKS, st.floats(1, 4000), st.floats(0, 300))
@settings(max_examples=150)
def test_whatever_is_measured_no_two_changes_within_the_cooldown_and_no_value_out_of_bounds(
    looks: list[tuple[float, float | None, float | None, float | None, float | None]], cooldown: float, hold: float
) -> None:
    options = TuningOptions(cooldown=cooldown, hold=hold)
    now, measured = 0.0, []
    for seconds, l1, l2, pressure, invalidations in looks:
        now += seconds
        measured.append(
            Measured(now=now, l1_hit_rate=l1, l2_hit_rate=l2, pressure=pressure, invalidations=invalidations)
        )
    last: dict[TuningRule, Decision] = {}
    for decision in run(measured, options):
        before = last.get(decision.rule)
        assert (decision.action in BEGIN) is (before is None or before.action not in BEGIN), "begin and end alternate"
        assert decision.at - (before.at if before else 0.0) >= cooldown
        if decision.parameter == "l1_ttl_seconds":
            assert {decision.before, decision.after} == {L1.ttl, options.raised_ttl}
        if decision.parameter == "l1_max_bytes":
            assert {decision.before, decision.after} == {L1.max_bytes, math.floor(L1.max_bytes * options.evict_to)}
        last[decision.rule] = decision


def loop(figure: Callable[[dict[str, float], float], Measured], seconds: int = DAY, step: int = 20) -> list[Decision]:
    """Return what is decided while the figures answer to what was decided."""
    states, values = fresh(), {"l1_ttl_seconds": L1.ttl, "l1_max_bytes": float(L1.max_bytes)}
    made: list[Decision] = []
    for now in range(0, seconds, step):
        decisions, states = decide(figure(values, float(now)), states, OPTIONS, L1)
        values |= {decision.parameter: decision.after for decision in decisions if decision.parameter}
        made += decisions
    return made


def bound(seconds: float) -> float:
    return math.log2(seconds / OPTIONS.cooldown) + 2


def test_a_ttl_that_cures_the_hit_rate_is_given_up_ever_more_rarely() -> None:
    """The worst case: as soon as the raised TTL is restored, what it was raised for is back."""
    made = loop(lambda values, now: Measured(now=now, l1_hit_rate=0.6 if values["l1_ttl_seconds"] > 300 else 0.2))
    assert 2 <= len(made) <= bound(DAY)
    gaps = [later.at - earlier.at for earlier, later in zip(made[::2], made[1::2], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 8 * gaps[0]
    assert sum(decision.at <= 3600 for decision in made) <= 6, "the alert CacheTunerFlapping is for what settings do"
    long = loop(
        lambda values, now: Measured(now=now, l1_hit_rate=0.6 if values["l1_ttl_seconds"] > 300 else 0.2), 10 * DAY, 120
    )
    assert len(made) < len(long) <= bound(10 * DAY)


def test_an_l1_that_is_full_by_demand_is_shrunk_once() -> None:
    def full(values: dict[str, float], now: float) -> Measured:
        return Measured(now=now, pressure=min(1.0, values["l1_max_bytes"] / L1.max_bytes))

    assert [decision.action for decision in loop(full)] == [Action.EVICT]


def test_days_with_a_night_give_two_changes_a_day() -> None:
    rng = random.Random(5)  # noqa: S311

    def days(_: dict[str, float], now: float) -> Measured:
        night = (now % DAY) > 2 * DAY / 3
        return Measured(now=now, l1_hit_rate=(0.2 if night else 0.7) + rng.uniform(-0.05, 0.05), pressure=None)

    made = loop(days, 5 * DAY)
    assert len(made) <= 10
    assert [decision.action in BEGIN for decision in made] == [not turn % 2 for turn in range(len(made))]


def test_noise_around_both_thresholds_changes_little() -> None:
    rng = random.Random(6)  # noqa: S311
    made = loop(
        lambda _, now: Measured(
            now=now, l1_hit_rate=rng.uniform(0.05, 0.6), l2_hit_rate=rng.uniform(0.55, 0.85),
            pressure=rng.uniform(0.5, 1), invalidations=rng.uniform(0, 20),
        )
    )  # fmt: skip
    assert max(Counter(decision.rule for decision in made).values(), default=0) <= 2 * bound(DAY)


# -- the suggestion -----------------------------------------------------------------------------------------------


def l2(*gained: float) -> Curve:
    return Curve(
        lookups=1000, hits=600, gained=tuple(zip(SIZES, gained, strict=True)), followed=900,
        working_set_bytes=3 * 2**30, capacity_bytes=2**31,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("curve", "memory", "words"),
    [
        (l2(-100, 0, 150, 160), (2**31, 2**31), [
            "working set 3.00 GiB", "2x the memory (4.00 GiB) would have 75.0%", "$72.00 more a month"]),
        (l2(-100, 0, 50, 120), (2**31, 2**31), ["4x the memory (8.00 GiB) would have 72.0%", "$216.00 more"]),
        (l2(-100, 0, 50, 60), (2**31, 2**31), ["4x the memory (8.00 GiB) would have 66.0%"]),
        (l2(0, 0, 0, 5), (2**29, 2**31), ["even 4x the memory would have only 60.5%", "lifetimes"]),
        (None, (2**29, 2**31), ["too few lookups"]),
        (None, (2**29, 0), ["no memory limit"]),
        (None, None, ["has not told"]),
    ],
)  # fmt: skip
def test_the_suggestion_carries_numbers(curve: Curve | None, memory: tuple[int, int] | None, words: list[str]) -> None:
    known = None if memory is None else Memory(used=memory[0], allowed=memory[1], per_gib_month=36.0)
    said = suggestion(curve, known, 0.7)
    for word in words:
        assert word in said


# -- what is done -------------------------------------------------------------------------------------------------


def tuned(**tuning: float | bool) -> CacheOptions:
    return CacheOptions(
        l1=L1Options(jitter=0, ttl=300, max_bytes=100_000),
        tuning=TuningOptions(**{"sample": 16, "apply": True, "hold": 0.0, "cooldown": 60.0, **tuning}),  # type: ignore[arg-type]
    )


async def open_and_wait(hand: Hand, options: CacheOptions) -> AsyncCache:
    cache = await hand.cache(options=options)
    await cache._parts.tuner.look()
    hand.clock.advance(60)
    cache._parts.hearing.told([])
    return cache


def lookups(cache: AsyncCache, hits: int, misses: int) -> None:
    cache._stats.l1.hits += hits
    cache._stats.l1.misses += misses


async def test_a_raised_ttl_is_that_of_later_fills_and_goes_back(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    cache = await open_and_wait(hand, tuned())
    lookups(cache, 20, 180)
    with caplog.at_level(logging.WARNING):
        await cache._parts.tuner.look()
    assert "raise_l1_ttl, l1_ttl_seconds 300 -> 600: L1 hit rate 10.0%, below 30.0%" in caplog.text
    await cache.set("a", 1)
    await cache.get("a")
    item = cache._parts.local.table["a"]
    assert item.expires - hand.clock() == pytest.approx(600)
    (decision,) = cache.stats().decisions
    assert (decision.rule, decision.applied) == (TuningRule.L1_HIT_RATE, True)
    assert cache.stats().tuning["l1_ttl_seconds"] == 600
    hand.clock.advance(120)
    lookups(cache, 900, 100)
    await cache._parts.tuner.look()
    await cache.set("b", 1)
    cache._parts.hearing.told([])
    await cache.get("b")
    assert cache._parts.local.table["b"].expires - hand.clock() == pytest.approx(300)
    assert [decision.action for decision in cache.stats().decisions] == [Action.RAISE_TTL, Action.RESTORE_TTL]


async def test_under_pressure_l1_is_shrunk_to_the_target_and_stays_there(hand: Hand) -> None:
    cache = await open_and_wait(hand, tuned())
    for number in range(60):
        await cache.set(f"k{number}", "x" * 1500)
        await cache.get(f"k{number}")
    assert cache.stats().l1.size_bytes > 85_000
    cache._parts.tuner._ask_at = math.inf
    await cache._parts.tuner.look()
    assert cache.stats().l1.size_bytes <= 70_000
    for number in range(100, 160):
        await cache.set(f"k{number}", "x" * 1500)
        await cache.get(f"k{number}")
    assert 60_000 < cache.stats().l1.size_bytes <= 70_000
    assert cache.stats().l1.evictions["capacity"] > 10
    hand.clock.advance(400)  # all has expired; what is asked for now is little
    await cache.clear()
    await cache._parts.tuner.look()
    assert cache.stats().tuning["l1_max_bytes"] == 100_000
    assert [decision.action for decision in cache.stats().decisions] == [Action.EVICT, Action.STOP_EVICTING]


async def test_a_burst_of_invalidations_has_the_fleet_pre_warm_once(hand: Hand) -> None:
    told: list[Event] = []
    one, other = await hand.cache(options=tuned()), await hand.cache(options=tuned())
    for cache in (one, other):
        cache.on_prewarm(told.append)
        await cache._parts.tuner.look()
    hand.clock.advance(60)
    for cache in (one, other):
        cache._stats.events["invalidate"] += 700
    for cache in (one, other):
        await cache._parts.tuner.look()
    assert sum(decision.applied for cache in (one, other) for decision in cache.stats().decisions) == 1
    assert [(event.event_type, event.plan) for event in told][:1] == [("prewarm", "hot")]
    assert len({event.id for event in told}) == 1, "one process asked"


async def test_own_invalidations_are_counted_where_nobody_tells_of_them() -> None:
    options = CacheOptions(tuning=TuningOptions(interval=3600, hold=0, cooldown=1, apply=True))
    told: list[Event] = []
    now = [0.0]
    async with AsyncCache.from_url("memory://", namespace="a", options=options) as cache:
        cache._parts.tuner._clock = lambda: now[0]
        cache._parts.tuner.begin()
        cache.on_prewarm(told.append)
        await cache._parts.tuner.look()
        for number in range(30):
            await cache.invalidate(f"k{number}")
        now[0] = 2.0
        await cache._parts.tuner.look()
    assert [event.key_pattern for event in told] == ["a:v1:*"]


async def test_a_dry_run_says_the_same_and_does_nothing(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    cache = await open_and_wait(hand, tuned(apply=False))
    lookups(cache, 20, 180)
    cache._stats.events["invalidate"] += 10_000
    told: list[Event] = []
    cache.on_prewarm(told.append)
    await cache._parts.tuner.look()
    stats = cache.stats()
    assert {decision.action for decision in stats.decisions} == {Action.RAISE_TTL, Action.PREWARM}
    assert not any(decision.applied for decision in stats.decisions)
    assert (stats.tuning["l1_ttl_seconds"], told) == (300, [])
    assert "raise_l1_ttl, l1_ttl_seconds 300 -> 600 (not applied): L1 hit rate 10.0%" in caplog.text
    assert stats.tuned == {"l1_hit_rate/advised": 1, "invalidations/advised": 1}
    shown = stats.to_dict()["tuning"]
    assert isinstance(shown, dict)
    assert shown["engaged"] == ["invalidations", "l1_hit_rate"]
    assert shown["decisions"][0] == {
        "rule": "l1_hit_rate", "action": "raise_l1_ttl", "reason": "L1 hit rate 10.0%, below 30.0% for 0 s",
        "applied": False, "parameter": "l1_ttl_seconds", "before": 300, "after": 600.0,
    }  # fmt: skip


async def test_few_lookups_decide_nothing_and_neither_does_an_l2_that_is_away(hand: Hand) -> None:
    cache = await open_and_wait(hand, tuned())
    lookups(cache, 0, 99)
    cache._stats.circuit_open = True
    cache._stats.l2.misses += 1000
    await cache._parts.tuner.look()
    assert cache.stats().decisions == ()


async def test_the_default_looks_and_does_not_act() -> None:
    assert not CacheOptions().tuning.apply
    assert CacheOptions().tuning.interval > 0


def test_a_cache_of_threads_is_tuned_too() -> None:
    options = CacheOptions(
        l1=L1Options(max_entries=1), tuning=TuningOptions(interval=0.01, hold=0, cooldown=1, apply=True)
    )
    with Cache.from_url("memory://", namespace="a", options=options) as cache:
        number = 0
        while cache.stats().tuning["l1_ttl_seconds"] != 600:
            number += 1
            cache.get_or_load(f"k{number}", str.upper)
        assert cache.stats().engaged["l1_hit_rate"]


def test_decisions_of_processes_are_told_together() -> None:
    def at(moment: float) -> Decision:
        return Decision(rule=TuningRule.L1_HIT_RATE, action=Action.RAISE_TTL, reason="", at=moment)

    one = Stats(decisions=tuple(at(float(n)) for n in range(0, 40, 2)), engaged={"l1_hit_rate": True})
    other = Stats(decisions=(at(37.0),), engaged={"l1_hit_rate": False}, tuned=Counter({"l1_hit_rate/applied": 1}))
    both = Stats.merge([other, one])
    assert [decision.at for decision in both.decisions][-3:] == [36, 37, 38]
    assert len(both.decisions) == 20
    assert both.engaged == {"l1_hit_rate": True}
    assert (both - Stats()) == both


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"evict_to": 0.9}, r"tuning\.evict_to=0\.9: below tuning\.pressure \(0\.85\)"),
        ({"l1_hit_rate": 1.1}, r"tuning\.l1_hit_rate=1\.1: a number from 0 to 1"),
        ({"apply": 1}, r"tuning\.apply=1: true or false"),
        ({"cooldown": 0}, r"tuning\.cooldown=0: a number from 1 to 86400"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(given: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        TuningOptions(**given)  # type: ignore[arg-type]


async def test_nothing_is_served_that_shrinking_gave_up(hand: Hand) -> None:
    cache = await open_and_wait(hand, tuned())
    await cache.set("a", "x" * 1000)
    await cache.get("a")
    cache._parts.local.max_bytes = 0
    assert cache._parts.local.shrink(10)
    assert cache.peek("a") is ABSENT
    assert (cache.stats().l1.entries, cache.stats().l1.size_bytes) == (0, 0)


async def test_what_is_no_info_tells_nothing_of_the_memory() -> None:
    """A proxy may answer INFO as it likes; the tuner then goes on with what was known."""

    class Odd:
        async def call(self, *_: object) -> int:
            return 7

    with pytest.raises(UnavailableError, match="INFO was answered by 7"):
        await redis_memory([Connection(Address("h", 1), 1, Odd(), Odd())])  # type: ignore[arg-type]
