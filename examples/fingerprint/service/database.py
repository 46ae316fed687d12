"""The database of the service (L3): fingerprints and visits, the report that is asked for, and its price.

A report says how much a user stands out: of all who come with the same browser and platform, how many share so many
further properties, and how often those visit and fail. It joins and aggregates thousands of rows, as such questions do,
and takes some tens of milliseconds; nothing is added to make it slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import psycopg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

USERS: Final = 60_000
VISITS: Final = 5  # a user, on average
_SCHEMA: Final = """
DROP TABLE IF EXISTS visit, fingerprint;
CREATE TABLE fingerprint (
  user_id int PRIMARY KEY, version int NOT NULL DEFAULT 1, browser int NOT NULL, platform int NOT NULL,
  language int NOT NULL, timezone int NOT NULL, screen int NOT NULL, gpu int NOT NULL, fonts int NOT NULL
);
CREATE TABLE visit (user_id int NOT NULL, day date NOT NULL, country int NOT NULL, failed boolean NOT NULL);
SELECT setseed(0.42);
INSERT INTO fingerprint
SELECT n, 1, (6 * random() ^ 2)::int, (4 * random() ^ 2)::int, (40 * random() ^ 3)::int, (30 * random() ^ 2)::int,
       (200 * random() ^ 2)::int, (500 * random() ^ 2)::int, (2000 * random() ^ 2)::int
FROM generate_series(0, {users} - 1) AS n;
INSERT INTO visit
SELECT (({users} - 1) * random())::int, current_date - (90 * random())::int, (50 * random() ^ 3)::int, random() < 0.03
FROM generate_series(1, {visits});
CREATE INDEX ON fingerprint (browser, platform);
CREATE INDEX ON visit (user_id);
ANALYZE;
"""
_REPORT: Final = """
WITH alike AS (
  SELECT f.user_id, (f.language = me.language)::int + (f.timezone = me.timezone)::int + (f.screen = me.screen)::int
         + (f.gpu = me.gpu)::int + (f.fonts = me.fonts)::int AS likeness
  FROM fingerprint me JOIN fingerprint f USING (browser, platform) WHERE me.user_id = %(user)s
)
SELECT likeness, count(DISTINCT user_id), count(visit.day), count(DISTINCT visit.country),
       count(*) FILTER (WHERE visit.failed)
FROM alike LEFT JOIN visit USING (user_id) GROUP BY likeness ORDER BY likeness DESC
"""
_USER: Final = (
    "SELECT version, browser, platform, language, timezone, screen, gpu, fonts FROM fingerprint WHERE user_id = %s"
)
_CHANGE: Final = "UPDATE fingerprint SET version = version + 1, screen = %s WHERE user_id = %s RETURNING version"


def build(dsn: str, users: int = USERS) -> None:
    """Create the tables in place of older ones and fill them: the same rows every time."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in _SCHEMA.format(users=users, visits=users * VISITS).split(";"):
            if statement.strip():
                connection.execute(statement.encode())


class Database:
    """Some connections that the requests of one process share."""

    def __init__(self, dsn: str, connections: int = 8) -> None:
        self._dsn = dsn
        self._connections = connections
        self._free: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            # One process for each query: what parallel workers would win, the other queries would lose.
            options = "-c max_parallel_workers_per_gather=0 -c jit=off"
            self._free.put_nowait(await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, options=options))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for _ in range(self._connections):
            await (await self._free.get()).close()

    async def report(self, user: int) -> bytes | None:
        """Return the report on ``user`` as JSON; None if there is no such user."""
        async with self._connection() as connection:
            me = await (await connection.execute(_USER, (user,))).fetchone()
            if me is None:
                return None
            rows = await (await connection.execute(_REPORT, {"user": user})).fetchall()
        properties = dict(
            zip(("browser", "platform", "language", "timezone", "screen", "gpu", "fonts"), me[1:], strict=True)
        )
        alike = [
            {"likeness": row[0], "users": row[1], "visits": row[2], "countries": row[3], "failed": row[4]}
            for row in rows
        ]
        return msgspec.json.encode({"user": user, "version": me[0], "fingerprint": properties, "alike": alike})

    async def change(self, user: int, screen: int) -> int | None:
        """Give ``user`` another screen and return the new version of the row; None if there is no such user."""
        async with self._connection() as connection:
            row = await (await connection.execute(_CHANGE, (screen, user))).fetchone()
        return None if row is None else int(row[0])

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)
