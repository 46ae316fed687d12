"""One family of errors.

::

    CacheError
    ├── ConfigurationError (also ValueError)   a URL, option, key or namespace that cannot work
    ├── CodecError (also ValueError)           a value the codec cannot encode, or of the wrong type
    ├── LoadTimeoutError (also TimeoutError)   a loader passed its hard time limit
    ├── LockError                              a public lock used in a way that cannot work
    │   ├── LockTimeoutError (also TimeoutError)   it was not acquired in the time or attempts allowed
    │   └── LockLostError                      it expired, or was lost with a Redis node, while it was held
    ├── RateLimitedError                       a hit that had to pass was refused (``cacheclient.ratelimit``)
    ├── ClosedError                            the cache was closed, or not opened yet
    └── UnavailableError                       Redis did not answer, or refused; ``kind`` says how

A read that was given a loader never raises ``UnavailableError``: without Redis it loads. Errors of the application's
own loader pass through unchanged and are never cached.
"""

from __future__ import annotations

from cacheclient.contract import ErrorType

__all__ = [
    "CacheError",
    "ClosedError",
    "CodecError",
    "ConfigurationError",
    "LoadTimeoutError",
    "LockError",
    "LockLostError",
    "LockTimeoutError",
    "UnavailableError",
]


class CacheError(Exception):
    """Root of every error that cacheclient raises itself."""


class ConfigurationError(CacheError, ValueError):
    """A URL, option, key or namespace that cannot work; the text names it and says what is allowed."""


class CodecError(CacheError, ValueError):
    """A value that the codec cannot encode, or that is not of the cache's type.

    Bytes in Redis that cannot be decoded are a miss, never this error.
    """


class LoadTimeoutError(CacheError, TimeoutError):
    """A loader did not finish within ``LockOptions.load_timeout`` seconds; its lease is released."""


class ClosedError(CacheError):
    """The cache was used before it was opened or after it was closed."""


class LockError(CacheError):
    """A public lock was used in a way that cannot work, such as released by an object that does not hold it."""


class LockTimeoutError(LockError, TimeoutError):
    """A public lock was not acquired in the time or the attempts that the caller allowed."""


class LockLostError(LockError):
    """A public lock expired, or was lost with a Redis node, while it was held: somebody else may hold it."""


class UnavailableError(CacheError):
    """Redis did not answer in time, could not be reached, or refused the command.

    Attributes:
        kind: the closed set that ``cache_errors_total`` counts by.
        in_doubt: whether Redis may have executed the command all the same, or may yet: it was sent and not answered.
    """

    def __init__(self, message: str, kind: ErrorType = ErrorType.CONNECTION, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.in_doubt = in_doubt
