"""Which master serves which hash slot of a Redis Cluster: what a node says, and what most masters say. Pure.

A key's slot is CRC-16 of the key, or of what stands between its first braces, modulo 16,384 (Redis documentation,
"Redis cluster specification").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from cacheclient.remote.address import Address

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS


def slot_of(key: str | bytes) -> int:
    """Return the hash slot of a Redis key."""
    return key_slot(key.encode() if isinstance(key, str) else key)


class Range(NamedTuple):
    """Slots ``first`` to ``last``, both included, and the master that serves them."""

    first: int
    last: int
    master: Address


class View(NamedTuple):
    """What one node says: the ranges in order, and every node that it named, replicas too."""

    ranges: tuple[Range, ...]
    nodes: frozenset[Address]

    @property
    def masters(self) -> frozenset[Address]:
        """The masters that serve slots."""
        return frozenset(part.master for part in self.ranges)


def parse_view(reply: Sequence[Any], asked: Address) -> View:
    """Return the view in the reply to CLUSTER SLOTS of the node ``asked``.

    A node that does not know its own address, or is not to tell it, leaves it empty: then it is the one asked.
    """
    ranges, nodes = [], set()
    for first, last, *members in reply:
        addresses = [Address(_text(host) or asked.host, int(port)) for host, port, *_ in members]
        ranges.append(Range(int(first), int(last), addresses[0]))
        nodes.update(addresses)
    return View(tuple(sorted(ranges)), frozenset(nodes))


def agree(views: Sequence[View], voters: int) -> tuple[Range, ...] | None:
    """Return the ranges that more than half of ``voters`` masters name; None if they differ on any slot (yet).

    A slot that most say nobody serves is in no range.
    """
    ranges, count = Counter(view.ranges for view in views).most_common(1)[0] if views else ((), 0)
    if 2 * count > voters:
        return ranges
    edges = sorted({edge for view in views for part in view.ranges for edge in (part.first, part.last + 1)})
    agreed = []
    for first, after in pairwise(edges):
        votes = Counter(_master_of(first, view.ranges) for view in views)
        master, count = votes.most_common(1)[0]
        if 2 * count <= voters:
            return None
        if master is not None:
            agreed.append(Range(first, after - 1, master))
    return tuple(agreed) if agreed else None


def succession(before: Mapping[Any, frozenset[int]], ranges: Iterable[Range]) -> dict[Address, Any]:
    """Return which shard each master in ``ranges`` continues: the one whose slots it serves most of.

    ``before`` has the slots of each shard known so far. A master that continues none is not in the result.
    """
    overlaps = sorted(
        (
            (len(slots & new), master, shard)
            for shard, slots in before.items()
            for master, new in served(ranges).items()
        ),
        key=lambda found: -found[0],
    )
    heirs: dict[Address, Any] = {}
    for overlap, master, shard in overlaps:
        if overlap and master not in heirs and shard not in heirs.values():
            heirs[master] = shard
    return heirs


def served(ranges: Iterable[Range]) -> dict[Address, frozenset[int]]:
    """Return the slots of each master."""
    slots: dict[Address, set[int]] = {}
    for first, last, master in ranges:
        slots.setdefault(master, set()).update(range(first, last + 1))
    return {master: frozenset(found) for master, found in slots.items()}


def _master_of(slot: int, ranges: Iterable[Range]) -> Address | None:
    return next((part.master for part in ranges if part.first <= slot <= part.last), None)


def _text(host: bytes | str | None) -> str:
    return host.decode() if isinstance(host, bytes) else host or ""
