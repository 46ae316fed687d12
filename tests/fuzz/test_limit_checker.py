"""The checker of rate limits finds what breaks a promise, and lets pass what breaks none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pytest

from cacheclient.contract import DecidedBy
from cacheclient.gcra import Bucket, decide
from tests.fuzz.checker import Lapse
from tests.fuzz.history import Hit
from tests.fuzz.limit_checker import Limited, LimitRule, judge_limits, told_well
from tests.fuzz.limits import DECIDERS, LIMITS, OUTAGES, SUBJECTS

OPEN, CLOSED, LOCAL = range(len(OUTAGES))
QUICK, SLOW = (SUBJECTS.index(name) for name in ("quick", "slow"))
NEVER_CALM: Final = 1e9
LAPSE: Final = Lapse(lost_from=9.5, lost_to=10.5, repaired_by=15.0)


class Server:
    """Decides hits by the rule itself, on time that a test gives; ``copy`` is what a replica has."""

    def __init__(self, found: Bucket | None = None, subject: int = SLOW) -> None:
        self._bucket, self._subject = found, subject

    def copy(self) -> Server:
        return Server(self._bucket, self._subject)

    def hit(self, at: float, limiter: int = OPEN) -> Hit:
        bucket, said = decide(self._bucket, LIMITS[SUBJECTS[self._subject]], 1, round(at * 1000))
        if said.allowed:
            self._bucket = bucket
        return Hit(
            limiter, self._subject, 1, DECIDERS.index(DecidedBy.REDIS), said.allowed, said.remaining,
            said.retry_ms / 1000, said.reset_ms / 1000, at - 0.001, at + 0.001,
        )  # fmt: skip

    def hits(self, begin: float, count: int, every: float = 0.05) -> list[Hit]:
        return [self.hit(begin + every * number) for number in range(count)]


def blind(limiter: int, at: float, *, allowed: bool) -> Hit:
    by = DECIDERS.index(DecidedBy.OUTAGE)
    return Hit(limiter, SLOW, 1, by, allowed, -1, 0.0 if allowed else 1.0, -1.0, at, at + 0.05)


def from_memory(told: Hit, at: float) -> Hit:
    """Return what the process says that was ``told``: nothing but the time is another."""
    passed = round(at - told.begin, 3)
    by = DECIDERS.index(DecidedBy.MEMORY)
    return told._replace(by=by, retry=told.retry - passed, reset=told.reset - passed, begin=at, end=at)


def judged(*workers: Sequence[Hit], lapses: Sequence[Lapse] = (), calm: float = NEVER_CALM) -> Limited:
    return judge_limits(workers, lapses, calm)


@pytest.mark.parametrize("subject", [QUICK, SLOW])
@pytest.mark.parametrize("every", [0.01, 0.11, 0.7, 1.3])
def test_a_sound_limiter_breaks_nothing(subject: int, every: float) -> None:
    hits = Server(subject=subject).hits(10.0, 300, every)
    assert not judged(hits[::2], hits[1::2]).broken


def test_one_hit_too_many_is_found() -> None:
    hits = Server().hits(10.0, 40)
    refused = next(hit for hit in hits if not hit.allowed)
    assert judged([*hits, refused._replace(allowed=True)]).broken[f"open/{LimitRule.LIMIT}"] == 1


def test_two_masters_at_once_are_found_where_nothing_excuses_them() -> None:
    one, other = Server().hits(20.0, 20), Server().hits(20.01, 20)
    found = judged(one, other)
    assert set(found.broken) == {f"open/{LimitRule.LIMIT}"}
    assert found.more["open"] == found.violations


def failed_over(lost: int, again: int) -> list[Hit]:
    """Return the hits of a bucket of twenty, of which a failover at 10.5 loses the last ``lost``."""
    old = Server()
    before = old.hits(9.0, 10, 0.001)
    copy = old.copy()
    return [*before, *old.hits(10.0, lost, 0.001), *copy.hits(10.6, again, 0.001)]


def test_as_many_more_may_pass_as_a_lapse_undid() -> None:
    found = judged(failed_over(lost=10, again=20), lapses=[LAPSE])
    assert (found.violations, found.more["open"]) == (0, 10)
    assert judged(failed_over(lost=10, again=20)).broken == {f"open/{LimitRule.LIMIT}": 10}


def test_a_lapse_undoes_nothing_from_before_it() -> None:
    hits = [*failed_over(lost=10, again=0), *Server().hits(10.6, 20, 0.001)]  # the new master has forgotten all
    assert judged(hits, lapses=[LAPSE]).broken == {f"open/{LimitRule.LIMIT}": 10}


def test_no_more_than_two_masters_let_pass_is_excused() -> None:
    hits = [hit for server in (Server(), Server(), Server()) for hit in server.hits(9.9, 20, 0.001)]
    assert judged(hits[:40], lapses=[LAPSE]).violations == 0
    assert judged(hits, lapses=[LAPSE]).broken[f"open/{LimitRule.LAPSE}"] > 10


def test_a_refusal_of_who_was_not_over_the_limit_is_found() -> None:
    hits = Server().hits(10.0, 30)
    counted = [hit for hit in hits if hit.allowed]
    assert judged([*counted[-19:], hits[-1]]).broken == {f"open/{LimitRule.EARLY}": 1}
    assert not judged([*counted[-19:], blind(OPEN, 9.0, allowed=True), hits[-1]]).broken, "that one may have counted"


@pytest.mark.parametrize(
    "change",
    [
        lambda hit: hit._replace(remaining=hit.remaining + 1),
        lambda hit: hit._replace(remaining=-1),
        lambda hit: hit._replace(reset=hit.reset + 11),
        lambda hit: hit._replace(retry=0.1 if hit.allowed else 0.0),
        lambda hit: hit._replace(retry=hit.retry + 0.002),
        lambda hit: hit._replace(allowed=not hit.allowed),
    ],
)
def test_figures_that_are_not_of_one_bucket_are_found(change: Callable[[Hit], Hit]) -> None:
    hits = Server().hits(10.0, 30)
    limit = LIMITS[SUBJECTS[SLOW]]
    for hit in (hits[3], hits[-1]):
        assert told_well(hit, limit)
        assert not told_well(change(hit), limit)


def test_what_is_refused_from_memory_is_what_redis_said_last() -> None:
    hits = Server().hits(10.0, 25)
    told = hits[-1]
    assert not told.allowed
    known = from_memory(told, told.end + 0.2)
    assert not judged([*hits, known]).broken
    for wrong in (known._replace(begin=known.begin + 0.1, end=known.end + 0.1), known._replace(begin=0, end=0)):
        assert judged([*hits, wrong]).broken == {f"open/{LimitRule.TOLD}": 1}
    assert judged(hits, [known]).broken == {f"open/{LimitRule.TOLD}": 1}, "another process was told"


@pytest.mark.parametrize(("limiter", "allowed", "sound"), [
    (OPEN, True, True), (OPEN, False, False), (CLOSED, False, True), (CLOSED, True, False),
])  # fmt: skip
def test_without_redis_hits_pass_as_told(limiter: int, *, allowed: bool, sound: bool) -> None:
    found = judged([blind(limiter, 10.0, allowed=allowed)])
    assert found.broken == ({} if sound else {f"{OUTAGES[limiter]}/{LimitRule.OUTAGE}": 1})


def test_without_redis_each_process_counts_alone() -> None:
    def alone(begin: float) -> list[Hit]:
        by = DECIDERS.index(DecidedBy.OUTAGE)
        return [hit._replace(limiter=LOCAL, by=by) for hit in Server().hits(begin, 25)]

    assert not judged(alone(10.0), alone(10.0)).broken
    assert set(judged([*alone(10.0), *alone(10.0)]).broken) == {f"local/{LimitRule.OUTAGE}"}


def test_who_never_has_redis_decide_again_is_found() -> None:
    hits = [blind(OPEN, 20.0 + number / 10, allowed=True) for number in range(20)]
    assert not judged(hits).broken
    assert judged(hits, calm=19.0).broken == {f"open/{LimitRule.BLIND}": 1}
    assert not judged(hits[1:], calm=19.0).broken, "a busy machine has no time for an answer"
    assert not judged([*hits, Server().hit(22.0)], calm=19.0).broken
