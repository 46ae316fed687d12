"""What each tier holds of one key now, and so what a lookup would find. It looks only: counts and changes nothing.

(Redis itself takes the look for a use of the key, as any read.)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from cacheclient import entry
from cacheclient.clock import Clock, Gate
from cacheclient.codec import codec_name
from cacheclient.entry import KEPT, NEGATIVE
from cacheclient.errors import UnavailableError
from cacheclient.flights import Flights
from cacheclient.hearsay import Hearsay
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.remote import Held, Store
from cacheclient.serializer import Serializer
from cacheclient.tags import NAMESPACE, names

L1Status = Literal["absent", "value", "expired", "suspect", "tag changed"]
L2Status = Literal[
    "absent", "value", "stale", "tag changed", "void", "lease", "tombstone", "unreadable", "unavailable", "none"
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class L1State:
    """What this process holds.

    Attributes:
        status: ``value``: it answers if the gate is open. ``suspect``: it answers once L2 has confirmed its write.
        remaining: seconds it lives here.
        age: seconds since it was written to L2.
        write_id: of that write, in hex.
        size: bytes, encoded.
        tags: what it can be invalidated by.
    """

    status: L1Status
    remaining: float | None = None
    age: float | None = None
    write_id: str = ""
    size: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TagState:
    """A tag of an entry, and whether its token is still the one that the entry was stored with."""

    name: str
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class L2State:
    """What Redis holds.

    Attributes:
        status: ``lease``: somebody is loading. ``tombstone``: it was invalidated. ``stale``: past its time, kept in
            case a loader fails. ``void``: another process has invalidated it, and a failover undid that.
            ``unreadable``: no entry that this cache can decode; a miss. ``none``: no Redis.
        expires: seconds until Redis drops it; None if it does not.
        remaining: seconds until the value is stale, negative if it is.
        age: seconds since it was written.
        write_id: in hex; a lease and a tombstone have one, too.
        size: bytes.
        codec: how the value is encoded.
        negative: the source is known to have nothing.
        kept: past its time, and served because a load failed.
        load_time: seconds its loader took, 0 if that is not known.
        tags: the namespace's own first, with the name ``(namespace)``.
        problem: why Redis could not be asked.
    """

    status: L2Status
    expires: float | None = None
    remaining: float | None = None
    age: float | None = None
    write_id: str = ""
    size: int = 0
    codec: str = ""
    negative: bool = False
    kept: bool = False
    load_time: float = 0.0
    tags: tuple[TagState, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All of it.

    Attributes:
        key: the id.
        redis_key: with namespace and version.
        answer: what ``get`` would find now: ``l1``, ``l2`` or ``miss``.
        gate_open: whether L1 may answer at all: the listener has proved itself within ``sync.max_staleness``.
        owed: whether an own invalidation has not got through yet, so that Redis is not asked.
        flight: seconds since a load that is in flight in this process began to read; None if there is none.
        refreshing: whether somebody in the fleet is replacing the value.
        l1: this process.
        l2: Redis.
    """

    key: str
    redis_key: str
    answer: Literal["l1", "l2", "miss"]
    gate_open: bool
    owed: bool
    flight: float | None
    refreshing: bool
    l1: L1State
    l2: L2State

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can have it."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """Return it as people read it, a fact a line."""
        lines = [f"{self.redis_key}: {_ANSWERS[self.answer]}", f"  L1  {_described(self.l1)}"]
        if not self.gate_open:
            lines.append("      the gate is closed: nothing has proved lately that no change was missed")
        lines += self.shared()
        if self.owed:
            lines.append("      not asked: an invalidation of this process has not got through yet")
        if self.flight is not None:
            lines.append(f"  L3  a load has been in flight here for {self.flight:.3g} s")
        return "\n".join(lines)

    def shared(self) -> list[str]:
        """Return the lines about what all processes share."""
        lines = [f"  L2  {_described(self.l2)}"]
        lines += [f"      tag {tag.name}: {'valid' if tag.valid else 'changed'}" for tag in self.l2.tags]
        if self.refreshing:
            lines.append("      being replaced by a reader of the fleet")
        return lines


_ANSWERS = {"l1": "L1 answers", "l2": "L2 answers", "miss": "a miss"}


class Explainer:
    """Explains the keys of one cache. ``serializer`` is one that counts for nobody."""

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        flights: Flights,
        journal: Journal,
        hearsay: Hearsay,
        *,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._space = space
        self._store = store
        self._local = local
        self._serializer = serializer
        self._flights = flights
        self._journal = journal
        self._hearsay = hearsay
        self._gate = gate
        self._clock = clock

    async def explain(self, key: str) -> Explanation:
        """Return what is held of ``key``; Redis away is a part of the answer, not an error."""
        full = self._space.full(key)
        try:
            held, claim = await self._store.inspect((full, self._space.claim(key)))
            l2 = await self._l2(held, full)
        except UnavailableError as error:
            held, claim, l2 = None, None, L2State(status="unavailable", problem=str(error))
        l1, gate_open, owed = self._l1(key), self._clock() < self._gate.until, key in self._journal
        l1_answers = l1.status == "value" and gate_open
        l2_answers = l2.status == "value" and not owed
        return Explanation(
            key=key,
            redis_key=full,
            answer="l1" if l1_answers else "l2" if l2_answers else "miss",
            gate_open=gate_open,
            owed=owed,
            flight=self._flights.reading_for(key),
            refreshing=claim is not None and claim.raw is not None,
            l1=l1,
            l2=l2,
        )

    def _l1(self, key: str) -> L1State:
        item, now = self._local.table.get(key), self._clock()
        if item is None:
            return L1State(status="absent")
        status: L1Status = "value"
        if item.ends <= now:
            status = "expired"
        elif item.expires <= now:
            status = "suspect"
        elif not all(mark.stands for mark in item.guards):
            status = "tag changed"
        return L1State(
            status=status, remaining=item.ends - now, age=self._serializer.age(item.written_ms),
            write_id=item.write_id.hex(), size=item.size, tags=names(item.tags),
        )  # fmt: skip

    async def _l2(self, held: Held, full: str) -> L2State:
        if not self._store.echoes:
            return L2State(status="none")
        raw, expires = held.raw, None if held.left == float("inf") else held.left
        if raw is None:
            return L2State(status="absent")
        if entry.is_marker(raw):
            status: L2Status = "lease" if raw[:1] == entry.LEASE else "tombstone"
            return L2State(status=status, expires=expires, write_id=raw[1:].hex(), size=len(raw))
        stored = self._serializer.load(raw, full)
        if stored is None:
            return L2State(status="unreadable", expires=expires, size=len(raw))
        tags = await self._tags(stored.tags)
        remaining = self._serializer.remaining(stored)
        status = "value" if remaining > 0 else "stale"
        if self._hearsay.refutes(full, stored.written_ms, stored.tags):
            status = "void"
        elif not all(tag.valid for tag in tags):
            status = "tag changed"
        return L2State(
            status=status,
            expires=expires,
            remaining=remaining,
            age=self._serializer.age(stored.written_ms),
            write_id=stored.write_id.hex(),
            size=len(raw),
            codec=codec_name(stored.codec_id),
            negative=bool(stored.flags & NEGATIVE),
            kept=bool(stored.flags & KEPT),
            load_time=stored.load_time,
            tags=tags,
        )

    async def _tags(self, tagged: entry.Tagged) -> tuple[TagState, ...]:
        markers = await self._store.inspect([self._space.marker(name) for name, _ in tagged])
        return tuple(
            TagState(name=name if name != NAMESPACE else "(namespace)", valid=marker.raw == token)
            for (name, token), marker in zip(tagged, markers, strict=True)
        )


def _described(state: L1State | L2State) -> str:
    """Return the facts of a tier in one line."""
    facts: list[str] = [state.status]
    if state.remaining is not None:
        left = state.remaining
        facts.append(f"{left:.3g} s to live" if left > 0 else f"{-left:.3g} s past its time")
    if state.age is not None:
        facts.append(f"written {state.age:.3g} s ago")
    if isinstance(state, L2State):
        facts += _stored_facts(state)
    facts += [f"{state.size} bytes"] * bool(state.size) + [f"write {state.write_id}"] * bool(state.write_id)
    return ", ".join(facts)


def _stored_facts(state: L2State) -> list[str]:
    facts = [state.codec, "the source has nothing" * state.negative, "kept because a load failed" * state.kept]
    if state.expires is not None:
        facts.append(f"gone in {state.expires:.3g} s")
    return [fact for fact in (*facts, state.problem) if fact]
