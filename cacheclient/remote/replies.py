"""What Redis refuses, as our errors: the one place where an error reply gets its kind."""

from __future__ import annotations

from typing import Final

from cacheclient.contract import ErrorType
from cacheclient.errors import UnavailableError

# First word of the error reply -> what the cache counts. A master that is being demoted, is loading or has lost its
# replicas answers these; the caller goes on without Redis.
_KINDS: Final = {
    "READONLY": ErrorType.READONLY,
    "MASTERDOWN": ErrorType.READONLY,
    "OOM": ErrorType.OOM,
    "MISCONF": ErrorType.MISCONF,
    "NOREPLICAS": ErrorType.NOREPLICAS,
    "LOADING": ErrorType.CONNECTION,
}


def refused(text: str) -> UnavailableError:
    """Return the error for an error reply of Redis."""
    return UnavailableError(f"Redis refused: {text}", _KINDS.get(text.partition(" ")[0], ErrorType.OTHER))


def timed_out(seconds: float) -> UnavailableError:
    """Return the error for a command that was not answered within ``seconds``."""
    return UnavailableError(f"no answer from Redis within {seconds * 1000:.0f} ms", ErrorType.TIMEOUT)
