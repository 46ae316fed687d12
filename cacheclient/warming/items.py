"""What a source of a warm-up is, and what it gives.

A source gives keys to load, or values. Keys are the safer half: each is loaded under a lease, as any miss is, so
nothing old can get in. A value is as old as the source's reading of it: see ``filling`` for what is done about that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from cacheclient.batch import ManyLoader
from cacheclient.missing import ABSENT

# By requirement 2.9: everything, once a night; the most used, every few hours; what a process cannot do without.
PLANS: Final = ("critical", "hot", "full")
Cursor = Any  # anything that JSON can hold; None is the beginning


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One entry to have in the cache.

    Attributes:
        key: its id.
        value: what to store; without one the key is loaded by the source's ``load_many``.
        ttl: seconds it lives from now; None: ``l2.ttl``.
        tags: names under which it can be invalidated.
        as_of: Unix seconds at which the value was read, if that is known and was before the warm-up.
        at: where the source goes on after this item; None: it cannot, and begins anew.
        where: what a person needs to find the item in its source, such as ``profiles.jsonl:17``.
    """

    key: str
    value: Any = ABSENT
    ttl: float | None = None
    tags: tuple[str, ...] = ()
    as_of: float | None = None
    at: Cursor = None
    where: str = ""


class Bad(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a source in place of an item that cannot be read: counted, told, and passed over."""

    where: str
    why: str
    at: Cursor = None


@runtime_checkable
class Source(Protocol):
    """Where a warm-up reads from. It may also have an async method ``close``, called when it has been read.

    Attributes:
        name: what reports and checkpoints call it.
        priority: sources of a plan are read one after the other, the lowest number first.
        plans: the plans that it belongs to, of ``PLANS``.
        timeout: seconds without an item after which it is given up.
        load_many: loads the items that have no value; None where all have one.
    """

    name: str
    priority: int
    plans: Collection[str]
    timeout: float
    load_many: ManyLoader[Any] | None

    def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        """Give the items after ``after`` (an ``at`` that it gave before), or all of them (None).

        What it raises ends this source, not the warm-up.
        """

    def share(self, at: Cursor) -> float | None:
        """Return how much of the whole lies before ``at``, 0 to 1; None if that is not known."""
