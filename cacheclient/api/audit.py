"""The audit log: who changed what, as one JSON object a line, and in a stream that keeps about the last 10,000.

The logger ``cacheclient.audit`` has every line, those of refused attempts too; the stream has what administrators did,
so that whoever is refused cannot push it out. Tokens and values are in neither.
"""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from cacheclient.contract import AUDIT_LENGTH, Record
from cacheclient.core import Core
from cacheclient.errors import CacheError

LOGGER: Final = "cacheclient.audit"
_log = logging.getLogger(LOGGER)
_MAX_TEXT: Final = 512


@dataclass(slots=True)
class Action:
    """What a request does. The endpoint fills in what it alone knows: the target, and how many keys it was."""

    name: str
    target: str = ""
    keys: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line. ``time`` is Unix seconds; ``client`` the address that the request came from."""

    time: float
    who: str
    action: str
    target: str
    keys: int | None
    status: int
    request_id: str
    client: str
    pod: str
    namespace: str

    def fields(self) -> dict[str, str]:
        """Return it as a stream has it: texts."""
        return {name: "" if value is None else str(value)[:_MAX_TEXT] for name, value in asdict(self).items()}


async def write(cache: Core[Any], who: str, action: Action, *, status: int, request_id: str, client: str) -> None:
    """Log what was done, or refused; what Redis does not take is in the log all the same."""
    line = Line(
        time=round(time.time(), 3), who=who, action=action.name, target=action.target, keys=action.keys, status=status,
        request_id=request_id, client=client, pod=os.uname().nodename, namespace=cache.space.namespace,
    )  # fmt: skip
    _log.info("%s", json.dumps(asdict(line), ensure_ascii=True))
    if not who:
        return
    try:
        await cache.records.append(cache.space.record(Record.AUDIT), line.fields(), AUDIT_LENGTH)
    except CacheError as error:
        _log.warning("%s", json.dumps({"request_id": request_id, "problem": f"not in the audit stream: {error}"}))
