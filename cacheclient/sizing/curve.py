"""A miss-ratio curve: the hit rate of a tier at several times its size."""

from __future__ import annotations

import msgspec

from cacheclient.contract import SIZES


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Lookups of about the last ten minutes, and how many more of them a larger tier would have answered.

    At its own size the rate is the measured one. At the others it differs from that by what the sample tells, so that
    what is wrong with all simulations alike, such as a very popular key that is followed or not, cancels out.

    Attributes:
        lookups: that reached the tier; recent ones weigh more.
        hits: those that it answered.
        gained: by label of ``contract.SIZES``: hits more than that (negative: fewer) at this size.
        followed: keys that are followed: the size of the sample.
        working_set_bytes: what a tier would hold in which nothing is ever evicted, only expires; at least, for L1.
        capacity_bytes: what it may hold at its own size.
    """

    lookups: float
    hits: float
    gained: tuple[tuple[str, float], ...]
    followed: int
    working_set_bytes: float
    capacity_bytes: float

    def hit_rate(self, size: str) -> float:
        """Return the estimate at a size, a label of ``contract.SIZES``; 0 to 1."""
        return min(1.0, max(0.0, (self.hits + dict(self.gained)[size]) / self.lookups))

    def __add__(self, other: Curve) -> Curve:
        """Return the curve of two processes together."""
        theirs = dict(other.gained)
        return Curve(
            lookups=self.lookups + other.lookups,
            hits=self.hits + other.hits,
            gained=tuple((size, gain + theirs[size]) for size, gain in self.gained),
            followed=self.followed + other.followed,
            working_set_bytes=self.working_set_bytes + other.working_set_bytes,
            capacity_bytes=self.capacity_bytes + other.capacity_bytes,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the figures for JSON: hit rates by size, and what they stand on."""
        return {
            "hit_rate": {size: round(self.hit_rate(size), 4) for size in SIZES},
            "lookups": round(self.lookups),
            "followed_keys": self.followed,
            "working_set_mb": round(self.working_set_bytes / 2**20, 3),
            "capacity_mb": round(self.capacity_bytes / 2**20, 3),
        }
