"""The tokens of tags that a warm-up stores with values: those that stood before the source was read.

An entry is valid while its tags have the tokens that it was stored with (see ``tags``). A loader knows its tags before
it reads; here they are often only known with the value. So a token is read when a tag is first seen, and if the tag was
heard to change since the source began, the source is begun anew, with that token read before. From then on a token that
is still the same proves that the tag was not invalidated.

Markers are made and prolonged only when a batch is proved: until then entries with a tag that has none are misses, and
what the listener tells of a tag is never an echo of the warm-up's own doing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cacheclient import entry
from cacheclient.clock import Clock
from cacheclient.entry import Tagged
from cacheclient.keys import KeySpace
from cacheclient.remote import Store, fetched
from cacheclient.tags import NAMESPACE
from cacheclient.warming.watch import Watch

_MAX_KNOWN: Final = 10_000  # tokens read again whenever the source is begun anew


class Tokens:
    """The tokens of one source. Every method may raise UnavailableError."""

    def __init__(self, store: Store, space: KeySpace, clock: Clock) -> None:
        self._store = store
        self._space = space
        self._clock = clock
        self._watch: Watch
        self._tokens: dict[str, bytes] = {}
        self._until: dict[str, float] = {}  # when a marker that was seen to stand expires, on the cache's clock
        self._doubtful: dict[str, None] = {NAMESPACE: None}  # tags whose token is to be known before the source is read

    async def begin(self, watch: Watch) -> None:
        """Read the tokens of the tags that are known to change; ``watch`` looks already, the source is read next."""
        self._watch = watch
        self._tokens.clear()
        self._until.clear()
        await self._read(self._doubtful)

    async def take(self, names: Iterable[str]) -> Tagged:
        """Return the tokens to store with an entry; the watch has lost if one of them is not sure."""
        wanted = (NAMESPACE, *names)
        unknown = [name for name in wanted if name not in self._tokens]
        if unknown:
            await self._read(unknown)
            self._doubt(name for name in unknown if self._watch.told(name))
        return tuple((name, self._tokens[name]) for name in wanted)

    async def stand(self, names: Iterable[str], life: float) -> bool:
        """Return whether the tags still have their tokens; see to it that their markers live ``life`` seconds from now.

        Ask when everything is heard that was told before the entries were stored. The watch has lost if they do not.
        """
        stand = True
        for name in (NAMESPACE, *names):
            first = name not in self._until
            if first and name not in self._doubtful and self._watch.told(name):
                self._doubt((name,))  # it may have changed before its token was read
                stand = False
                continue
            if not first and self._until[name] > self._clock() + life and not self._watch.told(name):
                continue
            self._watch.forget(name)  # what is told from here on is newer than the answer, or the answer's own doing
            least = None if name == NAMESPACE else life
            token, left = await self._store.mark(self._space.marker(name), self._tokens[name], least)
            self._until[name] = self._clock() + left
            if token != self._tokens[name]:
                self._doubt((name,))
                stand = False
        return stand

    async def _read(self, names: Iterable[str]) -> None:
        markers = {name: self._space.marker(name) for name in names}
        found = await fetched(self._store, list(markers.values()))
        for name, marker in markers.items():
            self._tokens[name] = found[marker] or entry.new_write_id()

    def _doubt(self, names: Iterable[str]) -> None:
        for name in names:
            self._watch.gap()
            self._doubtful[name] = None
            if len(self._doubtful) > _MAX_KNOWN:
                del self._doubtful[next(reversed(self._doubtful))]
