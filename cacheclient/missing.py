"""MISSING: nothing is cached, told apart from a cached None."""

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
