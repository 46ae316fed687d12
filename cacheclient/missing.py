"""MISSING: nothing is cached, told apart from a cached None; and ABSENT, the caches' own "look further"."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, final


@final
class Missing(Enum):
    """The type of MISSING; it is falsy and prints as its name.

    An enumeration of one, because type checkers narrow by ``is`` only what they know to have a single value (PEP 484,
    "Support for singleton types in unions"): past ``if value is MISSING: return`` they know that ``value`` is there.
    """

    MISSING = object()  # no value that a codec could take for one

    def __repr__(self) -> str:
        return self.name

    def __bool__(self) -> Literal[False]:
        return False

    def __reduce_ex__(self, protocol: object) -> str:  # type: ignore[override]  # typeshed's Enum returns a tuple
        return self.name  # the module's own MISSING, in whatever process it is unpickled


# ``await cache.get(key, MISSING) is MISSING`` is true only if no tier has the key.
MISSING: Final = Missing.MISSING

# L1 does not have the key. Not MISSING, because a cached MISSING is a hit: the source is known to have nothing.
ABSENT: Final = object()
