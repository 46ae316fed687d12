"""The rule of rate limits against a model of its other form, and the script in Redis against the rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient.errors import ConfigurationError
from cacheclient.gcra import NEVER, Bucket, Limit, Verdict, check_cost, decide
from cacheclient.scripts import script
from tests.conftest import BINARIES, Server

counts = st.integers(1, 50) | st.integers(1, 1_000_000)
periods = st.integers(1, 5_000) | st.integers(1, 31 * 86_400_000)
limits = st.builds(lambda count, per, burst: Limit(count, per / 1000, burst), counts, periods, st.none() | counts)
costs = st.integers(1, 5) | st.integers(1, 1_000_000)


class Scheduler:
    """The GCRA as virtual scheduling (ITU-T I.371, its other form), in fractions."""

    def __init__(self, limit: Limit) -> None:
        self.interval = Fraction(round(limit.per * 1000), limit.count)
        self.tolerance = limit.most * self.interval
        self.arrival = Fraction(0)

    def hit(self, cost: int, now: int, *, take: bool) -> Verdict:
        ahead = max(self.arrival, Fraction(now)) - now
        after = ahead + cost * self.interval
        allowed = after <= self.tolerance
        if allowed and take:
            ahead = after
            self.arrival = now + ahead
        never = cost * self.interval > self.tolerance
        wait = 0 if allowed else NEVER if never else math.ceil(after - self.tolerance)
        return Verdict(allowed, max(0, math.floor((self.tolerance - ahead) / self.interval)), wait, math.ceil(ahead))


@given(limit=limits, hits=st.lists(st.tuples(costs, st.integers(0, 3) | st.integers(0, 10**7), st.booleans())))
def test_the_leaky_bucket_is_virtual_scheduling_to_the_last_digit(
    limit: Limit, hits: list[tuple[int, int, bool]]
) -> None:
    model, bucket, now = Scheduler(limit), None, 1_700_000_000_000
    for cost, passed, take in hits:
        now += passed
        found, verdict = decide(bucket, limit, cost, now, take=take)
        assert verdict == model.hit(cost, now, take=take)
        if verdict.allowed and take:
            bucket = found


@given(limit=limits, cost=costs, full=st.integers(0, 1_000_000))
def test_who_waits_as_long_as_told_passes_and_not_a_millisecond_earlier(limit: Limit, cost: int, full: int) -> None:
    bucket = Bucket(min(full * limit.weight, limit.size), limit.weight, 0)
    _, verdict = decide(bucket, limit, cost, 0)
    if verdict.retry_ms > 0:
        assert decide(bucket, limit, cost, verdict.retry_ms)[1].allowed
        assert not decide(bucket, limit, cost, verdict.retry_ms - 1)[1].allowed
    elif verdict.retry_ms == NEVER:
        assert not decide(None, limit, cost, 0)[1].allowed


@given(limit=limits, steps=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 3)), max_size=60))
def test_no_span_of_time_lets_more_pass_than_the_burst_and_the_rate(limit: Limit, steps: list[tuple[int, int]]) -> None:
    bucket, now, passed = None, 0, []
    for pause, cost in steps:
        now += pause
        found, verdict = decide(bucket, limit, cost, now)
        if verdict.allowed:
            bucket = found
            passed.append((now, cost))
    for first, (begin, _) in enumerate(passed):
        total = 0
        for at, cost in passed[first:]:
            total += cost
            assert total <= limit.most + Fraction((at - begin) * limit.count, round(limit.per * 1000))


def test_a_clock_that_is_put_back_costs_the_subject_nothing_but_that_moment() -> None:
    limit = Limit(10, per=1)
    bucket: Bucket | None = None
    for _ in range(10):
        bucket, verdict = decide(bucket, limit, 1, 3_600_000)
    bucket, verdict = decide(bucket, limit, 1, 0)  # an hour back
    assert (verdict.allowed, verdict.retry_ms) == (False, 100)
    assert decide(bucket, limit, 1, 100)[1].allowed


def test_under_another_limit_as_many_hits_have_been_made_as_before() -> None:
    bucket: Bucket | None = None
    for _ in range(3):
        bucket, _ = decide(bucket, Limit(10, per=60), 1, 0)
    assert decide(bucket, Limit(100, per=60), 1, 0)[1].remaining == 96
    lowered = decide(bucket, Limit(2, per=60), 1, 0)[1]
    assert (lowered.allowed, lowered.remaining, lowered.retry_ms) == (False, 0, 60_000)  # two of four must drain


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"count": 0}, "count=0: a whole number from 1"),
        ({"count": 1.5}, "count=1.5"),
        ({"count": True}, "count=True"),
        ({"count": 1_000_001}, "count=1000001"),
        ({"count": 1, "per": 0}, "per=0: seconds, from 0.001"),
        ({"count": 1, "per": "1m"}, "per='1m'"),
        ({"count": 1, "per": math.nan}, "per=nan"),
        ({"count": 1, "per": 0.0015}, "per=0.0015: seconds in whole milliseconds"),
        ({"count": 1, "per": 32 * 86_400}, "to 2678400"),
        ({"count": 1, "burst": 0}, "burst=0"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_name(bad: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Limit(**bad)


@pytest.mark.parametrize("cost", [0, -1, 1.0, None, True, 10**7])
def test_a_cost_that_cannot_be_is_refused(cost: Any) -> None:
    with pytest.raises(ConfigurationError, match="cost="):
        check_cost(cost)


# -- limit.lua decides the same ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=BINARIES)
def server(request: pytest.FixtureRequest, launch: Callable[..., Server]) -> Server:
    return launch(request.param)


def _now_ms(server: Server) -> int:
    seconds, micros = server.ask("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def _stored(server: Server) -> Bucket | None:
    raw: Any = server.client.get("bucket")
    return Bucket(*map(int, raw.split())) if raw else None


@given(
    limit=limits, cost=costs, take=st.booleans(),
    before=st.none() | st.tuples(limits, st.integers(1, 1_000_000), st.integers(-10_000, 10_000)),
)  # fmt: skip
def test_the_script_in_redis_decides_as_the_rule_does(
    server: Server,
    limit: Limit,
    cost: int,
    take: bool,  # noqa: FBT001  an example, not an interface
    before: tuple[Limit, int, int] | None,
) -> None:
    server.client.delete("bucket")
    found = None
    if before is not None:  # hits under this or another limit, some time ago, or by a clock that was ahead
        other, hits, ago = before
        found = Bucket(min(hits * other.weight, other.size), other.weight, _now_ms(server) - ago)
        server.client.set("bucket", b"%d %d %d" % found, px=10**8)
    earliest = _now_ms(server)
    arguments = (limit.weight, limit.drain, limit.size, cost, int(take))
    reply: Any = server.client.eval(script("limit").text, 1, "bucket", *map(str, arguments))
    verdict = Verdict(bool(reply[0]), *reply[1:])
    possible = {now: decide(found, limit, cost, now, take=take) for now in range(earliest, _now_ms(server) + 1)}
    assert verdict in [expected for _, expected in possible.values()]
    stored = _stored(server)
    if take and verdict.allowed:
        if verdict.reset_ms < 1000:  # it may have expired already
            return
        assert stored is not None
        assert (stored, verdict) == possible[stored.at]
        assert 0 < server.client.pttl("bucket") <= max(1, verdict.reset_ms)  # type: ignore[operator]
    elif found is not None and earliest >= found.at:
        assert stored == found  # refused, or looked at only: nothing is written


def test_a_refused_hit_by_a_clock_that_was_put_back_sets_the_time_right(server: Server) -> None:
    limit = Limit(10, per=1)
    ahead = _now_ms(server) + 3_600_000
    server.client.set("bucket", b"%d %d %d" % (limit.size, limit.weight, ahead))
    reply: Any = server.client.eval(script("limit").text, 1, "bucket", limit.weight, limit.drain, limit.size, 1, 1)
    assert reply[:3] == [0, 0, 100]
    stored = _stored(server)
    assert stored is not None
    assert stored.at <= _now_ms(server)
