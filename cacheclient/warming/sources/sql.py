"""Rows of PostgreSQL: keys or entries from a query, through a cursor on the server, so that any number of rows fits.

The cursor shows the database as it was when the query began. What is invalidated from then on is heard (``filling``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cacheclient.batch import ManyLoader
from cacheclient.codec.protocol import optional
from cacheclient.warming.filling import SourceError
from cacheclient.warming.items import Bad, Cursor, Item
from cacheclient.warming.sources.records import Fields

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.rows import DictRow

AFTER: Final = "after"
_PART: Final = 500  # rows in one answer
_CONNECT: Final = 10  # seconds, whole ones, as libpq has it


@dataclass(slots=True, kw_only=True)
class Sql:
    """A source of PostgreSQL.

    Attributes:
        dsn: gives the connection string, such as ``postgresql://reader@db/shop``: asked for each connection.
        query: gives a row an item, in the columns that ``fields`` names. With ``%(after)s`` in it, which is NULL at
            first and then the last key, an interrupted warm-up goes on there, if it orders by that column.
        load_query: for keys without values: rows with key and value of those in ``%(keys)s``, a list of texts, such as
            ``select id as key, profile as value from users where id = any(%(keys)s::bigint[])``.
        load_many: loads the keys, if ``load_query`` does not.
    """

    name: str
    dsn: Callable[[], str]
    query: str
    priority: int = 2
    plans: Collection[str] = ("full", "hot")
    load_query: str = ""
    fields: Fields = field(default_factory=Fields)
    timeout: float = 30.0
    load_many: ManyLoader[Any] | None = None
    _loads: AsyncConnection[DictRow] | None = field(default=None, init=False, repr=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.load_query and self.load_many is None:
            self.load_many = self._load

    async def items(self, after: Cursor) -> AsyncIterator[Item | Bad]:
        """Run the query; ``after`` is the last key, where it knows what to do with it.

        Raises:
            SourceError: if the database cannot be reached, or refuses.
        """
        asked = f"%({AFTER})s" in self.query
        with _explained():
            async with await self._connect() as connection, connection.cursor(f"warming_{id(self)}") as cursor:
                cursor.itersize = _PART
                await cursor.execute(self.query.encode(), {AFTER: after} if asked else None)
                number = 0
                async for row in cursor:
                    number += 1
                    last = row.get(self.fields.key) if asked else None
                    at = last if isinstance(last, (str, int)) else None
                    yield self.fields.item(row, at=at, where=f"row {number}")

    def share(self, at: Cursor) -> float | None:  # noqa: ARG002
        """Return None: only the database knows."""
        return None

    async def close(self) -> None:
        """Close the connection that loads."""
        connection, self._loads = self._loads, None
        if connection is not None:
            await connection.close()

    async def _load(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """Return the values of ``keys``, in one query."""
        wanted = {self.fields.bare(key): key for key in keys}
        async with self._turn:
            if self._loads is None or self._loads.closed:
                self._loads = await self._connect(autocommit=True)
            found = await (await self._loads.execute(self.load_query.encode(), {"keys": list(wanted)})).fetchall()
        rows = ((wanted.get(str(row[self.fields.key])), row[self.fields.value or "value"]) for row in found)
        return {key: value for key, value in rows if key is not None}

    async def _connect(self, *, autocommit: bool = False) -> AsyncConnection[DictRow]:
        psycopg, rows = optional("psycopg", "warm"), optional("psycopg.rows", "warm")
        connection: AsyncConnection[DictRow] = await psycopg.AsyncConnection.connect(
            self.dsn(), autocommit=autocommit, row_factory=rows.dict_row, connect_timeout=_CONNECT,
            application_name="cachestack-warming",
        )  # fmt: skip
        return connection


@contextlib.contextmanager
def _explained() -> Any:
    """Give errors of the database in one line, without the connection string: it may hold a password."""
    psycopg = optional("psycopg", "warm")
    try:
        yield
    except psycopg.Error as error:
        raise SourceError("PostgreSQL: " + " ".join(str(error).split())) from None
