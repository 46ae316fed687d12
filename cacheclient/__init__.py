"""cacheclient: a two-tier cache for Python services, correct under races and failover.

L1 in the process, L2 in Redis (found through Sentinel), L3 the application's loader::

    from cacheclient import AsyncCache

    async with AsyncCache.from_url("redis+sentinel://s-0,s-1,s-2/cache-prod", namespace="profile") as cache:
        profile = await cache.get_or_load("user:42", load_profile)
"""

from typing import TYPE_CHECKING, Any, Final

from cacheclient.auditor import Versions
from cacheclient.cache import AsyncCache
from cacheclient.environment import to_env
from cacheclient.errors import (
    CacheError,
    ClosedError,
    CodecError,
    ConfigurationError,
    LoadTimeoutError,
    LockError,
    LockLostError,
    LockTimeoutError,
    UnavailableError,
)
from cacheclient.gcra import Limit
from cacheclient.lock import Lock
from cacheclient.migration import Migration
from cacheclient.missing import MISSING, Missing
from cacheclient.options import (
    TTL,
    CacheOptions,
    FailsafeOptions,
    L1Options,
    L2Options,
    LockOptions,
    SyncOptions,
    TuningOptions,
)
from cacheclient.provenance import Entry
from cacheclient.ratelimit import AsyncRateLimiter, Decision, RateLimitedError, RateLimiter
from cacheclient.stats import Stats
from cacheclient.sync import Cache

if TYPE_CHECKING:
    from cacheclient.explain import Explanation
    from cacheclient.findings import Finding, Report

__all__ = [
    "MISSING",
    "TTL",
    "AsyncCache",
    "AsyncRateLimiter",
    "Cache",
    "CacheError",
    "CacheOptions",
    "ClosedError",
    "CodecError",
    "ConfigurationError",
    "Decision",
    "Entry",
    "Explanation",
    "FailsafeOptions",
    "Finding",
    "L1Options",
    "L2Options",
    "Limit",
    "LoadTimeoutError",
    "Lock",
    "LockError",
    "LockLostError",
    "LockOptions",
    "LockTimeoutError",
    "Migration",
    "Missing",
    "RateLimitedError",
    "RateLimiter",
    "Report",
    "Stats",
    "SyncOptions",
    "TuningOptions",
    "UnavailableError",
    "Versions",
    "to_env",
]

# What `explain` and `doctor` return. Few programs name these, so their modules come with the first that does.
_LATER: Final = {
    "Explanation": "cacheclient.explain",
    "Finding": "cacheclient.findings",
    "Report": "cacheclient.findings",
}

if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _LATER:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_LATER[name]), name)
