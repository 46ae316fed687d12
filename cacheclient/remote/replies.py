"""What Redis refuses, as our errors: the one place where an error reply gets its kind."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from cacheclient.contract import ErrorType
from cacheclient.errors import UnavailableError
from cacheclient.remote.address import Address

# First word of the error reply -> what the cache counts. A master that is being demoted, is loading or has lost its
# replicas answers these; the caller goes on without Redis.
_KINDS: Final = {
    "READONLY": ErrorType.READONLY,
    "MASTERDOWN": ErrorType.READONLY,
    "OOM": ErrorType.OOM,
    "MISCONF": ErrorType.MISCONF,
    "NOREPLICAS": ErrorType.NOREPLICAS,
    "LOADING": ErrorType.CONNECTION,
    # Of a node of a Redis Cluster: another is the master of that slot; none is, or this one is cut off.
    "MOVED": ErrorType.READONLY,
    "CLUSTERDOWN": ErrorType.CONNECTION,
}
_REDIRECTION: Final = re.compile(r"Redis refused: (MOVED|ASK) \d+ (\S+):(\d+)")


class Redirection(NamedTuple):
    """Who has the slot now, or (``asking``) has those of its keys that have moved already."""

    address: Address
    asking: bool


def refused(text: str) -> UnavailableError:
    """Return the error for an error reply of Redis."""
    return UnavailableError(f"Redis refused: {text}", _KINDS.get(text.partition(" ")[0], ErrorType.OTHER))


def timed_out(seconds: float) -> UnavailableError:
    """Return the error for a command that was not answered within ``seconds``."""
    return UnavailableError(f"no answer from Redis within {seconds * 1000:.0f} ms", ErrorType.TIMEOUT)


def redirection(error: UnavailableError) -> Redirection | None:
    """Return where a node of a Redis Cluster sends the caller to; None if it does not, or does not say the host."""
    found = _REDIRECTION.match(str(error))
    if found is None:
        return None
    word, host, port = found.groups()
    return Redirection(Address(host, int(port)), asking=word == "ASK")
