"""S2: what a cache tells of its L1 at other sizes, beside what L1 of those sizes does on the same access traces."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Final

from bench.figures import OURS, Check, Limit, Outcome, Series
from bench.hit_ratio import ours
from bench.rounds import Setting
from bench.traces import read
from cacheclient import L1Options
from cacheclient.clock import Gate
from cacheclient.contract import SIZES
from cacheclient.entry import Stored
from cacheclient.local import Local
from cacheclient.missing import ABSENT
from cacheclient.options import TuningOptions
from cacheclient.sizing import MASK, Curve, Follower
from cacheclient.stats import Histogram, TierStats

SHARE: Final = 0.05  # of the distinct keys of the trace: the size of L1
EXACT: Final = "an L1 of that size"
_SETTLE: Final = 5_000  # lookups between two looks, as the tuner has them every ten seconds


async def other_sizes(setting: Setting) -> Outcome:
    """S2: the mean difference over the traces and sizes; in points of the hit ratio."""
    if setting.traces is None:
        return Outcome(skipped="it replays access traces: give their folder with --traces")
    series, off = [], []
    for name, keys in read(setting.traces).items():
        asked = keys[:20_000] if setting.quick else keys
        room = max(8, round(SHARE * len(set(asked))))
        setting.tell(f"S2 {name}")
        curve = told(asked, room, TuningOptions().sample)
        for size, factor in SIZES.items():
            exact = ours(asked, max(1, round(room * factor))) / len(asked)
            series.append(
                Series(
                    f"{name} at {size}",
                    "%",
                    {OURS: [100 * curve.hit_rate(size)], EXACT: [100 * exact]},
                    higher_is_better=True,
                )
            )
            off.append(100 * abs(curve.hit_rate(size) - exact))
    return Outcome(
        tuple(series),
        (
            Check("mean difference to the simulation of all keys", Limit(1.0, "points", at_most=True), (mean(off),)),
            Check("largest difference", Limit(5.0, "points", at_most=True), (max(off),)),
        ),
    )


def told(trace: Sequence[int], room: int, sample: int) -> Curve:
    """Return the curve after a whole trace, of an L1 that the cache drives: look, and on a miss fill."""
    follower, stats = Follower(sample, room, 2**40, 86_400), TierStats()
    local = Local(L1Options(max_entries=room, max_bytes=2**40, ttl=86_400, jitter=0), stats, 0.0, follower)
    peek = local.reader(Gate(), lambda: 0.0, Histogram())
    stored = Stored(b"", 0, 0, 0, 0.0, b"", size=1)
    curve: Curve | None = None
    for turn, number in enumerate(trace, 1):
        key = str(number)
        if peek(key) is ABSENT:
            stats.misses += 1
            if hash(key) & MASK < follower.below:
                follower.missed(key, 1, 0.0, 86_400)
            local.commit(key, local.begin(key), stored, 0.0, 86_400)
        if not turn % _SETTLE or turn == len(trace):
            curve = follower.settle(0.0, (stats.lookups, stats.hits), (0, 0)).get("l1")
    assert curve is not None, "a trace has more lookups than are needed to tell anything"  # noqa: S101
    return curve
