"""What is left in Redis when all has come to rest, compared with the database."""

from __future__ import annotations

from typing import NamedTuple

import redis

from cacheclient import entry
from cacheclient.codec import MsgpackCodec
from cacheclient.contract import RedisUser
from cacheclient.keys import KeySpace
from infra.local.control import Environment
from tests.fuzz.database import Database
from tests.fuzz.faces import Row, name
from tests.fuzz.history import mode_of
from tests.fuzz.stage import named_master


class Stale(NamedTuple):
    """An entry in Redis that will not go away by itself."""

    key: int
    mode: str
    stored: int
    committed: int

    def __str__(self) -> str:
        return f"key {self.key} ({self.mode}): version {self.stored} in Redis, {self.committed} in the database"


class Audit(NamedTuple):
    """How many values Redis holds, and which of them are stale."""

    values: int
    stale: list[Stale]


def audit(environment: Environment, database: Database, namespace: str) -> Audit:
    """Compare every key on the master with the database. Writers have to rest."""
    space, keys = KeySpace(namespace), range(len(database))
    host, port = environment.redis_nodes[named_master(environment)]
    password = environment.password_file.read_text(encoding="ascii").strip()
    with redis.Redis(host, port, username=RedisUser.APP, password=password, protocol=3) as client:
        stored = client.mget([space.full(name(key)) for key in keys])
        envelopes = [entry.unpack(raw) if isinstance(raw, bytes) else None for raw in stored]
        tags = sorted({name for found in envelopes if found for name, _ in found.tags})
        tokens = dict(zip(tags, client.mget([space.marker(name) for name in tags]) if tags else (), strict=True))
    codec = MsgpackCodec(Row)
    standing = [found if found and all(tokens[n] == t for n, t in found.tags) else None for found in envelopes]
    rows = [(key, codec.decode(found.payload)) for key, found in zip(keys, standing, strict=True) if found]
    return Audit(len(rows), [_stale(key, row, database) for key, row in rows if row != Row(key, database[key])])


def _stale(key: int, row: Row, database: Database) -> Stale:
    return Stale(key, mode_of(key), row.version, database[key])
