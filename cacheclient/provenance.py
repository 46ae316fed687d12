"""A value and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from cacheclient.contract import Tier

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Generic[T]):
    """A value and where it came from.

    Attributes:
        value: what ``get`` returns.
        tier: the tier that answered.
        age: seconds since it was written to L2, by the Redis server's clock.
        remaining: seconds for which the tier that answered will go on serving it, unless something happens to it.
        write_id: the id of that write, in hex.
        stale: why it is past its time (``load_failed``), or not proved to be within it (``offline``); empty if neither.
        tags: what it can be invalidated by.
        size: bytes in Redis, envelope included.
        codec: how it is encoded there: ``msgpack``, ``json+compressed``, ...
    """

    value: T
    tier: Tier
    age: float
    remaining: float
    write_id: str
    stale: str = ""
    tags: tuple[str, ...] = ()
    size: int = 0
    codec: str = ""
