"""P3: how often L1 has what is asked for, on real access traces, against other replacement policies.

Ours is the ``Local`` that every cache uses, driven as the cache drives it: look, and on a miss fill under a fence. LRU
is an OrderedDict, W-TinyLFU is theine's, and Belady's algorithm, which knows the future, is the ceiling of them all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from statistics import mean
from typing import Final

import theine

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.rounds import BenchError, Setting
from bench.traces import read
from cacheclient.clock import Gate
from cacheclient.entry import Stored
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.options import L1Options
from cacheclient.stats import Histogram, TierStats

SHARES: Final = (0.01, 0.05, 0.10)  # of the distinct keys of the trace
TLFU: Final = "W-TinyLFU (theine)"
BELADY: Final = "Belady (knows the future)"
Policy = Callable[[Sequence[int], int], int]


def ours(trace: Sequence[int], capacity: int) -> int:
    """Return the hits of our L1 with room for ``capacity`` entries."""
    local = Local(L1Options(max_entries=capacity, max_bytes=2**40, ttl=86_400, jitter=0), TierStats())
    peek = local.reader(Gate(), lambda: 0.0, Histogram())
    stored = Stored(b"", 0, 0, 0, 0.0, b"", size=1)
    hits = 0
    for number in trace:
        key = str(number)
        if peek(key) is ABSENT:
            local.commit(key, local.begin(key), stored, 0.0, 86_400)
        else:
            hits += 1
    return hits


def lru(trace: Sequence[int], capacity: int) -> int:
    """Return the hits of least-recently-used."""
    held: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in held:
            hits += 1
            held.move_to_end(key)
        else:
            held[key] = None
            if len(held) > capacity:
                held.popitem(last=False)
    return hits


def tlfu(trace: Sequence[int], capacity: int) -> int:
    """Return the hits of theine's W-TinyLFU."""
    cache = theine.Cache[int, bool](capacity, nolock=True)
    hits = 0
    for key in trace:
        if cache.get(key)[1]:
            hits += 1
        else:
            cache.set(key, value=True)
    cache.close()
    return hits


def belady(trace: Sequence[int], capacity: int) -> int:
    """Return the hits of the optimum: throw out what is asked for again last (Belady 1966).

    The heap holds every use's next use; outdated ones stay in it until they surface, and are then skipped.
    """
    next_use, upcoming = [0] * len(trace), dict.fromkeys(trace, len(trace))
    for position in range(len(trace) - 1, -1, -1):
        next_use[position] = upcoming[trace[position]]
        upcoming[trace[position]] = position
    held: dict[int, int] = {}
    furthest: list[tuple[int, int]] = []
    hits = 0
    for key, following in zip(trace, next_use, strict=True):
        hits += key in held
        held[key] = following
        heappush(furthest, (-following, key))
        while len(held) > capacity:
            use, victim = heappop(furthest)
            if held.get(victim) == -use:
                del held[victim]
    return hits


POLICIES: Final[dict[str, Policy]] = {OURS: ours, "LRU": lru, TLFU: tlfu, BELADY: belady}


async def hit_ratio(setting: Setting) -> Outcome:
    """P3: the mean hit ratio over the traces and three sizes; in points, so differences and no ratios."""
    if setting.traces is None:
        return Outcome(skipped="it replays access traces: give their folder with --traces")
    traces = read(setting.traces)
    series = tuple(_replay(setting, name, keys) for name, keys in traces.items())
    means = {policy: [mean(one.middle(policy) for one in series)] for policy in POLICIES}
    overall = Series("mean over the traces", "%", means, higher_is_better=True)
    best = [one.middle(OURS) - one.middle(TLFU) for one in series]
    return Outcome(
        (overall, *series),
        (
            _points(f"points over {TLFU}", means, TLFU, -1.0),
            _points("points over LRU", means, "LRU", 5.0),
        ),
        (f"ahead of {TLFU} on {sum(gain >= 0 for gain in best)} of {len(best)} traces (the stretch: on all)",),
    )


def _replay(setting: Setting, name: str, keys: Sequence[int]) -> Series:
    """Return each policy's hit ratio in percent at each size: the figures of one trace."""
    if setting.quick:
        keys = keys[:20_000]
    footprint = len(set(keys))
    rounds: dict[str, list[float]] = {}
    for policy, hits in POLICIES.items():
        setting.tell(f"P3 {name}: {policy}")
        ratios = [100 * hits(keys, max(1, round(share * footprint))) / len(keys) for share in SHARES]
        rounds[policy] = [mean(ratios)]
    if max(took[0] for took in rounds.values()) > rounds[BELADY][0]:
        raise BenchError(f"trace {name}: a policy beats the optimum, so hits are counted wrongly")
    return Series(f"{name}, mean of {len(SHARES)} sizes", "%", rounds, higher_is_better=True)


def _points(what: str, means: dict[str, list[float]], reference: str, bar: float) -> Check:
    return Check(what, Limit(bar, "points"), (means[OURS][0] - means[reference][0],))
