"""What rate limits promise (docs/rate-limiting.md), held against every hit that was recorded. Pure.

limit    what Redis let pass is never more than the limit allows, in any span of time. Hits that an unplanned change of
         master may have undone (``Lapse``) are not counted: as many more may pass, once.
lapse    of those, no more than each of the masters between which it changed would have let pass.
early    Redis refuses nobody whose hits did not fill the bucket, be it with hits of which nobody knows.
told     remaining, retry_after and reset_after are of one bucket, and what a process refuses from memory is what Redis
         had told it, until the same moment.
outage   without Redis hits pass, are refused, or are counted in the process alone, as the limiter was told.
blind    when all is healed, every process has Redis decide again.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cacheclient import Limit
from cacheclient.contract import DecidedBy
from tests.fuzz.checker import EXAMPLES, Lapse
from tests.fuzz.history import Hit
from tests.fuzz.limits import DECIDERS, LIMITS, OUTAGES, SUBJECTS

_BRIEF: Final = 0.1  # seconds within which a hit has to be decided for its moment to be known well enough
_ROUNDED: Final = 0.003  # seconds: Redis and the process count in whole milliseconds, each by its own clock
_LATE: Final = 30.0  # seconds after which a master that hung may still count a hit that nobody waits for
_UNLUCKY: Final = 20  # hits in a row that a sound limiter may make in vain when all is calm, on a busy machine
_RETRY: Final = 1.0  # seconds that a limiter that is closed tells to wait


class LimitRule(StrEnum):
    """Which promise was broken."""

    LIMIT = "limit"
    LAPSE = "lapse"
    EARLY = "early"
    TOLD = "told"
    OUTAGE = "outage"
    BLIND = "blind"


@dataclass(slots=True)
class Limited:
    """What the hits of a run show.

    Attributes:
        outcomes: hits by (outage, "allowed" or "refused", who decided).
        more: hits that passed beyond the limit because a change of master had undone others, by outage.
        broken: broken promises, by "outage/rule".
        examples: the first of them.
    """

    outcomes: Counter[tuple[str, str, DecidedBy]] = field(default_factory=Counter)
    more: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """Broken promises in all."""
        return self.broken.total()

    def violations_of(self, outage: str) -> int:
        """Broken promises of one limiter."""
        return sum(count for name, count in self.broken.items() if name.startswith(f"{outage}/"))

    def blame(self, rule: LimitRule, found: Iterable[Hit]) -> None:
        """Take note of hits that break ``rule``."""
        for hit in found:
            self.broken[f"{OUTAGES[hit.limiter]}/{rule}"] += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{rule}: {OUTAGES[hit.limiter]} {SUBJECTS[hit.subject]} {_by(hit)} {hit}")


def judge_limits(workers: Sequence[Sequence[Hit]], lapses: Sequence[Lapse], calm: float) -> Limited:
    """Judge the hits of all workers; ``calm`` is the moment from which on every one of them can reach Redis."""
    found = Limited()
    for hit in (hit for own in workers for hit in own):
        found.outcomes[OUTAGES[hit.limiter], "allowed" if hit.allowed else "refused", _by(hit)] += 1
    buckets: defaultdict[tuple[int, int, int], list[list[Hit]]] = defaultdict(lambda: [[] for _ in workers])
    for number, own in enumerate(workers):
        for hit in own:
            buckets[hit.limiter, hit.subject, hit.turn][number].append(hit)
    for (limiter, subject, _), bucket in buckets.items():
        limit = LIMITS[SUBJECTS[subject]]
        _judge_fleet(found, [hit for seen in bucket for hit in seen], limit, lapses)
        for seen in bucket:
            _judge_worker(found, seen, limit, OUTAGES[limiter])
    for hits in workers:
        found.blame(LimitRule.BLIND, _blind(hits, calm))
    return found


def too_many(hits: Iterable[Hit], limit: Limit, masters: int = 1) -> list[Hit]:
    """Return the hits that so many buckets together cannot have let pass.

    This is the rule itself in its other form (virtual scheduling), on the moments at which hits began. Each was decided
    up to ``_BRIEF`` later; those that took longer (their process was frozen) are left out, which can only spare some.
    """
    every = limit.per / limit.count / masters
    patience = (limit.most * masters - 1) * every + _BRIEF + _ROUNDED
    full, found = -math.inf, []
    for hit in sorted((hit for hit in hits if hit.end - hit.begin <= _BRIEF), key=lambda hit: hit.begin):
        if full - hit.begin > patience:
            found.append(hit)
        else:
            full = max(full, hit.begin) + every
    return found


def too_early(hits: Sequence[Hit], limit: Limit) -> list[Hit]:
    """Return what Redis refused although fewer hits than fill a bucket can have been counted while one runs empty."""
    counted = [hit for hit in hits if _by(hit) is DecidedBy.OUTAGE or (_by(hit) is DecidedBy.REDIS and hit.allowed)]
    begins = sorted(hit.begin for hit in counted)
    ends = sorted(hit.end + (_LATE if _by(hit) is DecidedBy.OUTAGE else 0.0) for hit in counted)
    memory = limit.most * limit.per / limit.count + _ROUNDED

    def at_most(hit: Hit) -> int:
        return bisect_right(begins, hit.end) - bisect_left(ends, hit.begin - memory)

    refused = (hit for hit in hits if _by(hit) is DecidedBy.REDIS and not hit.allowed)
    return [hit for hit in refused if at_most(hit) < limit.most]


def told_well(hit: Hit, limit: Limit) -> bool:
    """Whether the figures of a hit are those of one bucket, before or after a single hit of weight one."""
    retry, reset = round(hit.retry * 1000), round(hit.reset * 1000)
    least, most = (reset - 1) * limit.drain + 1, reset * limit.drain  # of what is in the bucket, in weights
    fullest = (limit.size - least) // limit.weight
    remaining = hit.remaining in range(max(0, (limit.size - most) // limit.weight), fullest + 1)
    if hit.allowed:
        return remaining and retry == 0 and limit.weight <= most and least <= limit.size
    waits = [-(-(level + limit.weight - limit.size) // limit.drain) for level in (least, most)]
    return hit.remaining == 0 and retry > 0 and waits[0] <= retry <= waits[1]


def _judge_fleet(found: Limited, hits: Sequence[Hit], limit: Limit, lapses: Sequence[Lapse]) -> None:
    """Judge what all workers saw of one bucket."""
    passed = [hit for hit in hits if hit.allowed and _by(hit) is DecidedBy.REDIS]
    kept = (hit for hit in passed if not any(_within(hit, lapse) for lapse in lapses))
    found.blame(LimitRule.LIMIT, too_many(kept, limit))
    for hit in too_many(passed, limit):
        found.more[OUTAGES[hit.limiter]] += 1
    for lapse in lapses:
        masters = 1 + sum(other.lost_from <= lapse.lost_to and lapse.lost_from <= other.lost_to for other in lapses)
        found.blame(LimitRule.LAPSE, too_many((hit for hit in passed if _within(hit, lapse)), limit, masters))
    found.blame(LimitRule.EARLY, too_early(hits, limit))


def _judge_worker(found: Limited, hits: Sequence[Hit], limit: Limit, outage: str) -> None:
    """Judge what one worker saw of one bucket."""
    decided = [hit for hit in hits if outage == "local" or _by(hit) is not DecidedBy.OUTAGE]
    found.blame(LimitRule.TOLD, (hit for hit in decided if not told_well(hit, limit)))
    found.blame(LimitRule.TOLD, _never_told(hits))
    blind = [hit for hit in hits if _by(hit) is DecidedBy.OUTAGE]
    if outage == "local":
        found.blame(LimitRule.OUTAGE, too_many((hit for hit in blind if hit.allowed), limit))
    else:
        expected = (True, -1, 0.0, -1.0) if outage == "open" else (False, -1, _RETRY, -1.0)
        found.blame(
            LimitRule.OUTAGE,
            (hit for hit in blind if (hit.allowed, hit.remaining, hit.retry, hit.reset) != expected),
        )


def _never_told(hits: Iterable[Hit]) -> Iterator[Hit]:
    """Return what was refused from memory, but not until the moment of which Redis had spoken last."""
    told: Hit | None = None
    for hit in hits:
        if _by(hit) is DecidedBy.REDIS and not hit.allowed:
            told = hit
        elif _by(hit) is DecidedBy.MEMORY and (hit.allowed or told is None or not _same_moment(hit, told)):
            yield hit


def _same_moment(one: Hit, other: Hit) -> bool:
    """Whether the moments at which two refused hits may come again can be the same."""
    return (
        one.begin + one.retry <= other.end + other.retry + _ROUNDED
        and other.begin + other.retry <= one.end + one.retry + _ROUNDED
    )


def _blind(hits: Iterable[Hit], calm: float) -> list[Hit]:
    """Return a hit of each limiter that had enough of them when all was calm, and none that Redis had decided."""
    quiet: defaultdict[int, list[Hit]] = defaultdict(list)
    for hit in hits:
        if hit.begin >= calm:
            quiet[hit.limiter].append(hit)
    return [
        own[-1] for own in quiet.values() if len(own) >= _UNLUCKY and all(_by(hit) is DecidedBy.OUTAGE for hit in own)
    ]


def _within(hit: Hit, lapse: Lapse) -> bool:
    return hit.begin <= lapse.lost_to and lapse.lost_from <= hit.end


def _by(hit: Hit) -> DecidedBy:
    return DECIDERS[hit.by]
