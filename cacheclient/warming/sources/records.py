"""From what a source reads (a mapping, as JSON, a table or a page has it) to an item. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cacheclient.missing import ABSENT
from cacheclient.warming.items import Bad, Cursor, Item


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """Which fields of a record are what.

    Attributes:
        key: the field with the key, which is put into ``key_template``.
        value: the field with the value; empty: the keys are loaded.
        ttl: the field with the seconds to live, if there is one; else ``seconds``.
        tags: of every entry; ``tags_field`` has a list of further ones.
    """

    key: str = "key"
    key_template: str = "{}"
    value: str = "value"
    ttl: str = "ttl"
    seconds: float | None = None
    tags: tuple[str, ...] = ()
    tags_field: str = "tags"

    def bare(self, key: str) -> str:
        """Return what ``key_template`` made ``key`` of."""
        head, _, tail = self.key_template.partition("{}")
        return key.removeprefix(head).removesuffix(tail)

    def item(self, record: object, *, at: Cursor, where: str) -> Item | Bad:
        """Return what ``record`` says, or why it cannot be used."""
        if not isinstance(record, Mapping):
            return Bad(where=where, why=f"a mapping with {self.key!r} is needed, not {type(record).__name__}", at=at)
        key = record.get(self.key)
        if isinstance(key, bool) or not isinstance(key, (str, int)) or key == "":
            return Bad(where=where, why=f"{self.key}={key!r}: a text or a whole number is needed", at=at)
        value: Any = ABSENT
        if self.value:
            value = record.get(self.value, ABSENT)
            if value is ABSENT:
                return Bad(where=where, why=f"{self.value!r} is missing", at=at)
        ttl, tags = record.get(self.ttl, self.seconds), record.get(self.tags_field) or ()
        if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or ttl <= 0):
            return Bad(where=where, why=f"{self.ttl}={ttl!r}: seconds above 0 are needed", at=at)
        if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
            return Bad(where=where, why=f"{self.tags_field}={tags!r}: a list of texts is needed", at=at)
        full = self.key_template.replace("{}", str(key))
        return Item(key=full, value=value, ttl=ttl, tags=(*self.tags, *tags), at=at, where=where)
