"""cacheclient: a two-tier cache for Python services, correct under races and failover.

L1 in the process, L2 in Redis (found through Sentinel), L3 the application's loader::

    from cacheclient import AsyncCache

    async with AsyncCache.from_url("redis+sentinel://s-0,s-1,s-2/cache-prod", namespace="profile") as cache:
        profile = await cache.get_or_load("user:42", load_profile)
"""

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
from cacheclient.explain import Explanation
from cacheclient.findings import Finding, Report
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
