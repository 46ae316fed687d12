"""MISSING: nothing is cached, told apart from a cached None; and ABSENT, the caches' own "look further"."""

from __future__ import annotations

from typing import Final, Literal, final


@final
class Missing:
    """The type of MISSING; it is falsy and prints as its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> Literal[False]:
        return False


# ``await cache.get(key, MISSING) is MISSING`` is true only if no tier has the key.
MISSING: Final = Missing()

# L1 does not have the key. Not MISSING, because a cached MISSING is a hit: the source is known to have nothing.
ABSENT: Final = object()
