"""Who is looked up, and in which order: a zipf mix whose popular users change slowly.

Popularity on the web follows zipf's law: the user of rank r comes with a probability proportional to 1 / r ** skew.
Breslau et al. (1999, "Web caching and Zipf-like distributions") found exponents from 0.64 to 0.83 in six traces; the
default is 0.75. Popularity also drifts, and a mix without drift would flatter a cache that never forgets: so after each
block of lookups a few of the most popular ranks go to users drawn from all.

Everything follows from the seed. The readers share the ranking and its drift and draw their own lookups from it, as
servers behind one load balancer do.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_USERS: Final = 80_000  # their profiles fit the local Redis, which must evict no entry of the ledger
BLOCK: Final = 500  # lookups of one reader between two steps of the drift


@dataclass(frozen=True, slots=True, kw_only=True)
class ZipfMix:
    """The parameters of a mix.

    Attributes:
        users: users in all; each may come up.
        skew: the exponent of zipf's law; 0 is uniform.
        top: ranks that the drift changes: the popular users.
        drift: popular ranks that get another user after each block of 500 lookups of a reader.
        seed: makes the mix repeatable.

    Raises:
        ValueError: if the parameters do not describe a mix.
    """

    users: int = 25_000
    skew: float = 0.75
    top: int = 1_000
    drift: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (("users", 1, MAX_USERS), ("skew", 0, 3), ("top", 1, self.users), ("drift", 0, BLOCK)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)}: from {low:,} to {high:,}")

    def lookups(self, reader: int) -> Iterator[int]:
        """Return the endless sequence of users that ``reader`` (any number) looks up."""
        # Two generators: all readers must see the same drift, and each its own draw.
        ranking = random.Random(self.seed)  # noqa: S311  repeatable input, not a secret
        draw = random.Random(f"{self.seed}/{reader}")  # noqa: S311
        users = list(range(self.users))
        ranking.shuffle(users)
        weights = list(accumulate((rank + 1) ** -self.skew for rank in range(self.users)))
        while True:
            yield from draw.choices(users, cum_weights=weights, k=BLOCK)
            for _ in range(self.drift):
                popular, other = ranking.randrange(self.top), ranking.randrange(self.users)
                users[popular], users[other] = users[other], users[popular]

    def describe(self) -> str:
        """Return the mix in one line, for the report."""
        return (
            f"zipf {self.skew:g} over {self.users:,} users, {self.drift} of the {self.top:,} most popular change every "
            f"{BLOCK} lookups of a reader, seed {self.seed}"
        )
