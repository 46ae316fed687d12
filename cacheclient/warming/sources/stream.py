"""Entries of a Redis stream, the newest first: what the application noted that it served, or computed.

An entry of the stream is one item, in its fields; of several for one key the newest counts, since the first that is
read is stored. The stream lives in the cache's own Redis. A value counts as read when its entry was added.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cacheclient.batch import ManyLoader
from cacheclient.remote import Records
from cacheclient.warming.items import Bad, Cursor, Item
from cacheclient.warming.sources.records import Fields

_PART: Final = 200


@dataclass(slots=True, kw_only=True)
class Stream:
    """A source of a stream.

    Attributes:
        records: gives the cache's records, such as ``lambda: cache.records``: asked when it is read.
        key: the whole Redis key of the stream.
        limit: entries read at most.
        max_age: seconds; entries that were added before are not read.
        fields: which fields are what. The value is JSON.
    """

    name: str
    records: Callable[[], Records]
    key: str
    priority: int = 4
    plans: Collection[str] = ("hot", "full")
    limit: int = 100_000
    max_age: float = 86_400.0
    fields: Fields = field(default_factory=Fields)
    timeout: float = 30.0
    load_many: ManyLoader[Any] | None = None

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        """Read backwards; ``after`` is (id of the last entry, how many were read).

        Raises:
            UnavailableError: if Redis does not answer.
        """
        last, read = ("", 0) if after is None else after
        oldest = time.time() - self.max_age
        while read < self.limit:
            part = await self.records().newest(self.key, last, min(_PART, self.limit - read))
            if not part:
                return
            for last, entry in part:
                read += 1
                added = int(last.partition("-")[0]) / 1000
                if added < oldest:
                    return
                yield self._item(entry, last, added, at=[last, read])

    def share(self, at: Cursor) -> float | None:
        """Return the entries read over ``limit``."""
        return 0.0 if at is None else min(1.0, at[1] / self.limit)

    def _item(self, entry: Mapping[str, str], name: str, added: float, *, at: Cursor) -> Item | Bad:
        record: dict[str, Any] = dict(entry)
        try:
            for column in (self.fields.value, self.fields.ttl, self.fields.tags_field):
                if column in record:
                    record[column] = msgspec.json.decode(record[column])
        except msgspec.DecodeError as error:
            return Bad(where=name, why=f"no JSON: {error}", at=at)
        item = self.fields.item(record, at=at, where=name)
        return msgspec.structs.replace(item, as_of=added) if isinstance(item, Item) else item
