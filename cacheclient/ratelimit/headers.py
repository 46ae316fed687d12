"""What HTTP says of a limit, for any framework: header fields and a problem document. Pure.

The fields are those of the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers, from
version 8 on: structured fields, whose parameters are the quota q, the window w, what remains r and the seconds t until
more is to be had), and Retry-After of RFC 9110. The problem document is of RFC 9457, with the type of that draft.
"""

from __future__ import annotations

import math
from typing import Any, Final

from cacheclient.contract import DecidedBy
from cacheclient.ratelimit.decision import Decision

PROBLEM_JSON: Final = "application/problem+json"
_QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
_REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


def headers(name: str, decision: Decision) -> dict[str, str]:
    """Return the header fields of a response under the limit ``name``; none if it is not limited.

    Seconds are whole and rounded up: who waits that long is not refused for having come too early.
    """
    limit, found = decision.limit, {}
    if limit is not None:
        found["RateLimit-Policy"] = f'"{name}";q={limit.count};w={_whole(limit.per)}'
    if decision.remaining is not None and decision.reset_after is not None:
        more = decision.reset_after if decision.allowed else decision.retry_after
        wait = "" if more == math.inf else f";t={_whole(more)}"
        found["RateLimit"] = f'"{name}";r={decision.remaining}{wait}'
    if not decision.allowed and decision.retry_after < math.inf:
        found["Retry-After"] = str(_whole(decision.retry_after))
    return found


def problem(name: str, decision: Decision) -> dict[str, Any]:
    """Return the problem document (RFC 9457) of a refusal: 429, or 503 if the limit could not be looked at."""
    if decision.decided_by is DecidedBy.OUTAGE and decision.remaining is None:
        return {
            "type": _REDUCED_CAPACITY, "title": "The rate limit cannot be checked at the moment", "status": 503,
            "detail": f"requests under {name!r} are refused until it can be",
        }  # fmt: skip
    again = "it costs more than the limit ever allows"
    if decision.retry_after < math.inf:
        again = f"again in {_whole(decision.retry_after)} s"
    return {
        "type": _QUOTA_EXCEEDED, "title": "Too many requests", "status": 429,
        "detail": f"{name}: {decision.limit}; {again}", "violated-policies": [name],
    }  # fmt: skip


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds)) if seconds > 0 else 0
