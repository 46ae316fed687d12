"""What the masters say of their memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from cacheclient.errors import UnavailableError
from cacheclient.remote.link import Connection
from cacheclient.sizing import RedisMemory

_NAMES: Final = "used_memory|maxmemory|used_memory_startup|mem_clients_normal|evicted_keys"
_FIELD: Final = re.compile(rf"^({_NAMES}):(\d+)\r?$", re.MULTILINE)
_KEYS: Final = re.compile(r"^db\d+:keys=(\d+)", re.MULTILINE)


async def redis_memory(connections: Iterable[Connection]) -> RedisMemory:
    """Return the memory and keys of all masters together, other namespaces' included.

    Raises:
        UnavailableError: if one does not answer, may not be asked, or answers something else.
    """
    used = allowed = keys = fixed = evicted = 0
    for connection in connections:
        info = await connection.reads.call("INFO")
        if not isinstance(info, bytes):  # a proxy, perhaps
            raise UnavailableError(f"INFO was answered by {str(info)[:40]}")
        text = info.decode("utf-8", "replace")
        said = {name: int(value) for name, value in _FIELD.findall(text)}
        used += said.get("used_memory", 0)
        allowed += said.get("maxmemory", 0)
        fixed += said.get("used_memory_startup", 0) + said.get("mem_clients_normal", 0)
        evicted += said.get("evicted_keys", 0)
        keys += sum(map(int, _KEYS.findall(text)))
    return RedisMemory(used, allowed, keys, fixed, evicted)
