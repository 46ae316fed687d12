"""How fast a warm-up goes: the rule by itself, and against a model of a server that others use, too."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient.errors import UnavailableError
from cacheclient.warming.pace import WINDOW, Limits, Pace, percentile
from cacheclient.warming.probe import paced

LIMITS = Limits(most=2000, least=20)
BASELINE = 0.0005


def test_it_begins_at_a_quarter_rises_by_steps_and_is_halved() -> None:
    pace = Pace(LIMITS, BASELINE)
    assert pace.rate == 500
    pace.heed(BASELINE)
    assert pace.rate == 600
    pace.heed(1.0)
    assert pace.rate == 300


@given(st.lists(st.floats(min_value=0, allow_nan=False), max_size=200), st.floats(1e-5, 1.0))
def test_it_stays_within_its_limits_whatever_is_measured(measured: list[float], baseline: float) -> None:
    pace = Pace(LIMITS, baseline)
    for seconds in measured:
        pace.heed(seconds)
        assert 20 <= pace.rate <= 2000


def test_noise_below_a_millisecond_is_not_slowness() -> None:
    assert Pace(LIMITS, 0.0001).slow == pytest.approx(0.0011)
    assert Pace(LIMITS, 0.01).slow == pytest.approx(0.02)


def test_it_rests_what_the_rate_leaves() -> None:
    pace = Pace(LIMITS, BASELINE)  # 500 keys a second
    assert pace.pause(50, 0.02) == pytest.approx(0.08)
    assert pace.pause(50, 0.5) == 0


def simulated(load: Callable[[int], float], windows: int, seed: int = 1) -> list[float]:
    """Return the rate after each window, where the server can do 2500 operations a second and others ask for ``load``.

    The wait in a queue grows with 1 / (1 - utilisation) (M/M/1), and each answer is drawn from its distribution.
    """
    rng, rates = random.Random(seed), []  # noqa: S311  a model, not a secret
    pace = Pace(LIMITS, BASELINE)
    for number in range(windows):
        busy = min(0.999, (load(number) + pace.rate) / 2500)
        mean = 0.00015 / (1 - busy)
        pace.heed(percentile([rng.expovariate(1 / mean) for _ in range(WINDOW)]))
        rates.append(pace.rate)
    return rates


def test_alone_it_takes_what_it_may() -> None:
    assert min(simulated(lambda _: 0, 200)[60:]) >= 300  # it feels for the edge, and never stays below it
    assert sum(simulated(lambda _: 0, 400)[100:]) / 300 > 700


def test_it_gives_way_to_others_and_comes_back() -> None:
    rates = simulated(lambda number: 2300 if 100 <= number < 200 else 0, 320)
    before, during, after = (sum(part) / len(part) for part in (rates[60:100], rates[110:200], rates[240:]))
    assert max(rates[106:110]) < before  # within a few windows
    assert during < 0.25 * before
    assert after > 0.7 * before


def test_where_redis_does_not_answer_it_goes_as_slowly_as_it_may() -> None:
    pace = Pace(LIMITS, BASELINE)
    for _ in range(6):
        pace.heed(math.inf)
    assert pace.rate == LIMITS.least


def test_a_percentile_is_the_least_that_enough_do_not_exceed() -> None:
    assert percentile([float(n) for n in range(1, 21)]) == 19
    assert percentile([3.0]) == 3


async def test_the_pace_heeds_what_it_measures() -> None:
    answers = [0.0] * WINDOW

    async def ask() -> None:
        await asyncio.sleep(answers.pop() if answers else 0.01)

    async with paced(ask, Limits(most=2000, margin=0.002)) as pace:
        async with asyncio.timeout(10):
            while pace.rate >= 500:  # noqa: ASYNC110  it is the rate that is waited for
                await asyncio.sleep(0.01)
        assert pace.rate == 250


async def test_without_an_answer_there_is_no_baseline() -> None:
    async def ask() -> None:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError):
        async with paced(ask, Limits()):
            pass


async def test_an_answer_that_does_not_come_is_slow() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked > WINDOW:
            raise UnavailableError("away")

    async with paced(ask, LIMITS) as pace, asyncio.timeout(10):
        while pace.rate >= 500:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
