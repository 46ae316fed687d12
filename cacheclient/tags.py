"""Tags: forget any number of entries at once, at the cost of one write.

Each tag has a random token in Redis, its marker. An entry stores the tokens that its tags had *before* its value was
loaded, and is valid only while all of them are the same. Invalidating a tag gives it a new token. A marker that expired
or was evicted counts as a new token: a miss too many, never a wrong hit. Every entry also carries the namespace's own
tag, whose name is empty: that is what ``clear`` changes.

Tokens are remembered here as long as the listener would tell of a change (the gate is open), under fences as L1 fills
are. L1 entries hold on to the Mark they were valid under, so that a changed tag ends all of them at once, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from cacheclient import entry
from cacheclient.clock import Clock, Gate
from cacheclient.entry import Tagged
from cacheclient.errors import ConfigurationError
from cacheclient.held import Mark
from cacheclient.keys import KeySpace
from cacheclient.remote import Store, fetched
from cacheclient.sharing import end_quietly, outcome

NAMESPACE: Final = ""
MAX_TAGS: Final = 16
MAX_NAME_BYTES: Final = 255
_MAX_KNOWN: Final = 100_000  # tokens remembered; past that all are asked for again
_MAX_STANDING: Final = 10_000  # sets of tokens remembered to stand, likewise


def check(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags, each once.

    Raises:
        ConfigurationError: if one is not a str of 1 to 255 UTF-8 bytes of printable characters, or there are over 16.
    """
    if isinstance(tags, str):
        raise ConfigurationError(f"tags={tags!r}: a list of names, not one str")
    names = tuple(dict.fromkeys(tags))
    for name in names:
        if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > MAX_NAME_BYTES:
            raise ConfigurationError(f"tag {name!r}: a str of 1 to {MAX_NAME_BYTES} bytes of printable characters")
    if len(names) > MAX_TAGS:
        raise ConfigurationError(f"tags: at most {MAX_TAGS}, {len(names)} were given")
    return names


def names(tagged: Tagged) -> tuple[str, ...]:
    """Return the names of an entry's tags, without the namespace's own."""
    return tuple(name for name, _ in tagged if name != NAMESPACE)


class Tags:
    """The tags of one cache."""

    def __init__(self, store: Store, space: KeySpace, gate: Gate, clock: Clock) -> None:
        """Prepare; nothing is asked yet."""
        self._store = store
        self._space = space
        self._gate = gate
        self._clock = clock
        self._known: dict[str, Mark] = {}
        self._standing: dict[Tagged, tuple[Mark, ...]] = {}  # what `guards` gave, until any token changes
        self._taken: Tagged = ()  # what `take` gave last
        self._fences: dict[str, object] = {}
        self._asking: dict[str, asyncio.Task[Mark]] = {}
        self._owed: Callable[[Iterable[str]], bool] = lambda _: False

    def distrust(self, owed: Callable[[Iterable[str]], bool]) -> None:
        """Have nothing stand for whose tags ``owed`` says that Redis may still hold an old token."""
        self._owed = owed

    async def take(self, names: Iterable[str], life: float) -> Tagged:
        """Return the tokens to store with an entry that lives ``life`` seconds. Call it before loading the value."""
        now = self._clock()
        tagged = []
        for name in (NAMESPACE, *names):
            mark = self._recall(name)
            if mark is None or mark.until < now + life:
                mark = await self._ask(name, life)
            tagged.append((name, mark.token))
        taken = tuple(tagged)
        if taken != self._taken:
            self._taken = taken
        return self._taken  # one object for all entries with the same tags: 100 bytes less for each

    async def stand(self, tagged: Tagged) -> bool:
        """Return whether every token is still its tag's, as far as Redis and this process know."""
        return (await self.stand_all((tagged,)))[0]

    async def stand_all(self, sets: Sequence[Tagged]) -> list[bool]:
        """Return the same for each of ``sets``; what is not known is asked in one go."""
        # Before asking: what is owed now may be paid when the answer comes, but the answer be older than that.
        owed = [self._owed(name for name, _ in tagged) for tagged in sets]
        marks: dict[str, Mark] = {}
        unknown: list[str] = []
        for name in {name for tagged, owes in zip(sets, owed, strict=True) if not owes for name, _ in tagged}:
            mark = self._recall(name)
            if mark is None:
                unknown.append(name)
            else:
                marks[name] = mark
        if unknown:
            marks |= await self._learn(unknown, self._read(unknown))
        return [
            not owes and all(marks[name].token == token for name, token in tagged)
            for tagged, owes in zip(sets, owed, strict=True)
        ]

    def standing(self) -> Mapping[Tagged, tuple[Mark, ...]] | None:
        """Return what ``guards`` has found to stand lately; None if nothing that is known here may be trusted now.

        For whoever has checked that nothing is owed.
        """
        return self._standing if self._clock() < self._gate.until else None

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def guards(self, tagged: Tagged) -> tuple[Mark, ...] | None:
        """Return the marks that an L1 entry must watch; None if one of them is not known any more."""
        marks = [self._known.get(name) for name, _ in tagged]
        if any(mark is None or mark.token != token for mark, (_, token) in zip(marks, tagged, strict=True)):
            return None
        # The namespace's own tag needs no guard: what changes it empties L1.
        guards = tuple(mark for mark, (name, _) in zip(marks, tagged, strict=True) if mark and name != NAMESPACE)
        if len(self._standing) >= _MAX_STANDING:
            self._standing.clear()
        self._standing[tagged] = guards
        return guards

    def changed(self, name: str) -> None:
        """Forget the token of a tag, and end the L1 entries that were valid under it."""
        self._fences.pop(name, None)
        self._standing.clear()
        mark = self._known.pop(name, None)
        if mark is not None:
            mark.stands = False

    def forget(self) -> None:
        """Forget every token: any may have changed unseen."""
        self._fences.clear()
        self._standing.clear()
        for mark in self._known.values():
            mark.stands = False
        self._known.clear()

    async def _ask(self, name: str, life: float) -> Mark:
        """Have Redis read or make the marker; who asks for one meanwhile shares the answer."""
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._mark(name, life), name=f"cacheclient-tag {name}")
            task.add_done_callback(lambda done: self._asked(name, done))
        return await outcome(task)

    async def _mark(self, name: str, life: float) -> Mark:
        least = None if name == NAMESPACE else life

        async def made() -> list[tuple[bytes, float]]:
            return [await self._store.mark(self._space.marker(name), entry.new_write_id(), least)]

        return (await self._learn((name,), made()))[name]

    async def _read(self, names: Sequence[str]) -> list[tuple[bytes, float]]:
        markers = [self._space.marker(name) for name in names]
        found = await fetched(self._store, markers)
        # No marker is a token that no entry has; and a read does not tell how long a marker lives.
        return [(found[marker] or b"", 0.0) for marker in markers]

    async def _learn(self, names: Sequence[str], asked: Awaitable[list[tuple[bytes, float]]]) -> dict[str, Mark]:
        """Return what Redis answers, and remember of it what did not change meanwhile.

        Questions that overlap share a fence, as reads of L1 do: were each to replace the one before, a tag asked for
        more often than Redis answers would never be remembered.
        """
        now, fences = self._clock(), {name: self._fences.setdefault(name, object()) for name in names}
        try:
            answers = await asked
        finally:
            fresh = {name for name, fence in fences.items() if self._fences.get(name) is fence}
            for name in fresh:
                del self._fences[name]
        marks = {name: Mark(token, now + life) for name, (token, life) in zip(names, answers, strict=True)}
        return {name: self._remember(name, mark) if name in fresh else mark for name, mark in marks.items()}

    def _asked(self, name: str, task: asyncio.Task[Mark]) -> None:
        del self._asking[name]
        end_quietly(task)

    def _recall(self, name: str) -> Mark | None:
        return self._known.get(name) if self._clock() < self._gate.until else None

    def _remember(self, name: str, mark: Mark) -> Mark:
        if len(self._known) >= _MAX_KNOWN:
            self.forget()
        old = self._known.get(name)
        if old is not None:
            if old.token == mark.token:  # L1 entries go on watching the one they know
                old.until = max(old.until, mark.until)
                return old
            old.stands = False
            self._standing.clear()
        self._known[name] = mark
        return mark
