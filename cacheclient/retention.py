"""How long an entry lives on: another lifetime for the value that is there."""

from __future__ import annotations

from typing import Final

from cacheclient.clock import Clock
from cacheclient.entry import Stored
from cacheclient.errors import UnavailableError
from cacheclient.hearsay import Hearsay
from cacheclient.jobs import Terms
from cacheclient.journal import Journal
from cacheclient.keys import KeySpace
from cacheclient.local import Local
from cacheclient.remote import Store
from cacheclient.serializer import Serializer
from cacheclient.tags import Tags, names

_ATTEMPTS: Final = 3  # somebody else may write between the look and the change; what they wrote is then prolonged


class Retention:
    """Prolongs the entries of one cache."""

    def __init__(
        self,
        space: KeySpace,
        store: Store,
        local: Local,
        serializer: Serializer,
        tags: Tags,
        journal: Journal,
        hearsay: Hearsay,
        *,
        clock: Clock,
    ) -> None:
        self._space = space
        self._store = store
        self._local = local
        self._serializer = serializer
        self._tags = tags
        self._journal = journal
        self._hearsay = hearsay
        self._clock = clock

    async def touch(self, key: str, terms: Terms) -> bool:
        """Let the value of ``key`` live ``terms.ttl`` from now; return whether there was one and Redis agreed.

        Compare-and-set by write id (fill.lua): what was invalidated or replaced since the look at it stays so.
        """
        if not self._store.echoes:
            return self._local.prolong(key, terms.ttl, self._clock())
        full = self._space.full(key)
        try:
            for _ in range(_ATTEMPTS):
                stored = await self._standing(key, full, terms.ttl + terms.stale)
                if stored is None:
                    return False
                data = self._serializer.prolong(stored, terms.ttl)
                if await self._store.fill(full, stored.write_id, data, terms.ttl + terms.stale):
                    self._local.drop(key)  # it may have lived longer here
                    return True
        except UnavailableError:
            pass
        return False

    async def _standing(self, key: str, full: str, life: float) -> Stored | None:
        """Return the value that may be served now, with markers of its tags that will live as long; else None."""
        if key in self._journal:
            return None
        ((raw, _),) = await self._store.inspect((full,))
        stored = self._serializer.load(raw, full)
        if stored is None or self._serializer.remaining(stored) <= 0:
            return None
        tagged = stored.tags
        if self._hearsay.refutes(full, stored.written_ms, tagged):
            return None
        valid = await self._tags.stand(tagged) and await self._tags.take(names(tagged), life) == tagged
        return stored if valid else None
