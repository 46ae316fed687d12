"""What L1 holds: entries, the marks of their tags, and the fences of fills under way. Their rules are in ``local``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cacheclient.entry import KEPT, UNPROVEN, Stored, Tagged
from cacheclient.queues import GONE
from cacheclient.sizing import Tick


class Mark:
    """A tag's token as this process knows it; ``stands`` turns false when the tag changed, ``until`` is its expiry."""

    __slots__ = ("stands", "token", "until")

    def __init__(self, token: bytes, until: float) -> None:
        self.token = token
        self.until = until
        self.stands = True


def check_of(guards: tuple[Mark, ...], tick: Tick | None) -> Callable[[], object] | None:
    """Return what a hit must ask of an entry with these guards; ``tick`` counts it."""
    if not guards:
        return tick
    if tick is None:
        return lambda: all(mark.stands for mark in guards)
    return lambda: all(mark.stands for mark in guards) and tick()


class Item(msgspec.Struct, eq=False, gc=False):
    """One entry of L1.

    ``expires`` is on the cache's clock (seconds), and so is ``ends``, which is the same while the entry is suspect;
    ``size`` is the encoded size in bytes. ``tags`` are the tokens stored with it, ``guards`` what is watched of them.
    ``check`` is called at each hit, and must be true: whether the guards stand, and for a key that is followed (see
    ``sizing``) what counts its use. None, as for most entries: there is nothing to check.

    A Struct, because one is made for every fill: it takes a third of the time of a class. No value knows its entry, so
    none can be in a cycle that the collector of garbage would have to find.
    """

    key: str
    value: Any
    expires: float
    ends: float
    size: int
    write_id: bytes
    written_ms: int
    kept: bool
    tags: Tagged
    guards: tuple[Mark, ...]
    check: Callable[[], object] | None
    frequency: int = 0
    place: int = GONE

    def unproven(self, value: Any, now: float, now_ms: int) -> Stored:
        """Return the entry as a read of L2 would, with the mark that nothing proves it fresh."""
        lifetime = now_ms - self.written_ms + round((self.ends - now) * 1000)
        flags = UNPROVEN | KEPT if self.kept else UNPROVEN
        return Stored(
            self.write_id, 0, self.written_ms, lifetime, 0.0, b"", flags, self.tags, size=self.size, value=value
        )


class Fence:
    """Stands from before a read until the fill after it, unless the key is dropped meanwhile.

    Keys that are read together have one in common. ``others`` counts, by key, later readers that share it.
    """

    __slots__ = ("others",)

    def __init__(self) -> None:
        self.others: dict[str, int] = {}
