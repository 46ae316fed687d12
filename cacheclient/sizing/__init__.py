"""What hit rate the tiers would have at other sizes: estimated while they run, from a sample of their keys.

``curve`` is the answer. ``miniature`` simulates L1 by its own policy; ``distances`` estimates L2's reuse distances
(SHARDS); ``follower`` feeds both. Pure: time and counters are brought by the caller.
"""

from __future__ import annotations

from cacheclient.sizing.curve import Curve
from cacheclient.sizing.follower import MASK, Follower, RedisMemory
from cacheclient.sizing.miniature import Tick

__all__ = ["MASK", "Curve", "Follower", "RedisMemory", "Tick"]
