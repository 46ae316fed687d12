"""What scaling Redis up would be worth, in numbers. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from cacheclient.contract import SIZES
from cacheclient.sizing import Curve

_WORTH: Final = 0.01  # of the hit rate: what less than this is gained for is no reason to pay for memory


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Redis' memory: bytes used and allowed (0: no limit), and dollars for a GiB of it for a month on one server."""

    used: int
    allowed: int
    per_gib_month: float


def suggestion(curve: Curve | None, memory: Memory | None, wanted: float) -> str:
    """Return what to do about an L2 hit rate below ``wanted``, and what it costs."""
    if memory is None:
        return "Redis has not told of its memory: no size can be suggested"
    if not memory.allowed:
        return f"Redis uses {_gib(memory.used)} and has no memory limit: size is not what is missing"
    if curve is None:
        return f"Redis uses {_gib(memory.used)} of {_gib(memory.allowed)}; too few lookups to tell what more is worth"
    rates = {size: curve.hit_rate(size) for size in SIZES if SIZES[size] > 1}
    enough = [size for size, rate in rates.items() if rate >= wanted]
    best = enough[0] if enough else max(rates, key=lambda size: (round(rates[size], 2), -SIZES[size]))
    told = f"working set {_gib(curve.working_set_bytes)}, Redis uses {_gib(memory.used)} of {_gib(memory.allowed)}"
    largest = max(rates, key=lambda size: SIZES[size])
    if rates[largest] - curve.hit_rate("1x") < _WORTH:
        return (
            f"{told}; even {largest} the memory would have only {rates[largest]:.1%}: look for lifetimes that are "
            "too short, invalidations and keys that are asked for once"
        )
    more = memory.allowed * (SIZES[best] - 1)
    return (
        f"{told}; {best} the memory ({_gib(memory.allowed * SIZES[best])}) would have {rates[best]:.1%}, for "
        f"${more / 2**30 * memory.per_gib_month:,.2f} more a month on each server"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
