"""Rate limits that the fleet shares: per user, exact, changed at any time, and honest about an outage.

::

    limiter = cache.rate_limiter("search", Limit(100, per=60, burst=20))
    decision = await limiter.hit(f"user:{user_id}")
    if not decision:
        return too_many(decision.retry_after)

The rule is in ``cacheclient.gcra``; ``cacheclient.ratelimit.fastapi`` has a dependency for FastAPI. What each promises,
and what no limiter over an asynchronously replicated Redis can, is in docs/rate-limiting.md.
"""

from cacheclient.ratelimit.decision import Decision, RateLimitedError
from cacheclient.ratelimit.headers import headers, problem
from cacheclient.ratelimit.limiter import AsyncRateLimiter
from cacheclient.ratelimit.settings import LimiterSettings, Limits, Outage, PlainLimits, limit_key
from cacheclient.ratelimit.threads import RateLimiter

__all__ = [
    "AsyncRateLimiter", "Decision", "LimiterSettings", "Limits", "Outage", "PlainLimits", "RateLimitedError",
    "RateLimiter", "headers", "limit_key", "problem",
]  # fmt: skip
