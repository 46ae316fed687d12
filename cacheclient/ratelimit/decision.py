"""What was decided of a hit, and the error that says no."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Self

from cacheclient.contract import DecidedBy
from cacheclient.errors import CacheError
from cacheclient.gcra import NEVER, Limit, Verdict

__all__ = ["Decision", "RateLimitedError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a hit may pass, and what is left. Truth value: ``allowed``.

    Attributes:
        allowed: whether it may.
        limit: the limit it was held against; None: it is not limited.
        decided_by: ``redis``; ``memory`` (refused here, because Redis has said until when); ``outage`` (Redis could not
            be asked); ``nobody`` (not limited).
        remaining: single hits that would pass right after it. Exact from Redis; from memory as of Redis' last answer;
            None where nobody knows.
        retry_after: seconds until the same hit would pass if nobody else came; 0 if it passed, infinite if it costs
            more than the whole burst.
        reset_after: seconds until the whole burst is to be had again; None where nobody knows.
    """

    allowed: bool
    limit: Limit | None
    decided_by: DecidedBy
    remaining: int | None = None
    retry_after: float = 0.0
    reset_after: float | None = None

    def __bool__(self) -> bool:
        return self.allowed

    @classmethod
    def of(cls, verdict: Verdict, limit: Limit, decided_by: DecidedBy) -> Self:
        """Return the decision that is this verdict."""
        return cls(
            allowed=verdict.allowed, limit=limit, decided_by=decided_by, remaining=verdict.remaining,
            retry_after=math.inf if verdict.retry_ms == NEVER else verdict.retry_ms / 1000,
            reset_after=verdict.reset_ms / 1000,
        )  # fmt: skip


UNLIMITED: Final = Decision(allowed=True, limit=None, decided_by=DecidedBy.NOBODY)


class RateLimitedError(CacheError):
    """A hit that had to pass was refused.

    Attributes:
        decision: why, and when it would pass.
    """

    def __init__(self, name: str, decision: Decision) -> None:
        why = "Redis cannot be asked" if decision.decided_by is DecidedBy.OUTAGE else f"the limit is {decision.limit}"
        again = "it never passes" if decision.retry_after == math.inf else f"again in {decision.retry_after:.3g} s"
        super().__init__(f"rate limit {name}: refused, {why}; {again}")
        self.name = name
        self.decision = decision

    def __reduce__(self) -> tuple[type[RateLimitedError], tuple[str, Decision]]:
        return RateLimitedError, (self.name, self.decision)
