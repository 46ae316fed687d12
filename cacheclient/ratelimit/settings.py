"""What may be said of a rate limiter, and where its buckets are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypedDict

from cacheclient.errors import ConfigurationError
from cacheclient.gcra import Limit
from cacheclient.template import compiled_tag

Outage = Literal["open", "closed", "local"]
Limits = Limit | Callable[[str], Limit | Awaitable[Limit | None] | None] | None  # of AsyncRateLimiter
PlainLimits = Limit | Callable[[str], Limit | None] | None  # of RateLimiter

_OUTAGES: Final = ("open", "closed", "local")
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:@/+=-]{1,128}")  # no braces: they would choose the slot in a Redis Cluster
_MAX_SUBJECT: Final = 256  # bytes of a decorator's subject


class LimiterSettings(TypedDict, total=False):
    """What may be said of a rate limiter besides its name and limit; see ``AsyncRateLimiter``."""

    outage: Outage
    remember: int


def limit_key(namespace: str, name: str, subject: str) -> str:
    """Return the Redis key of a subject: ``namespace:limit:<name>:<subject>``, the same for all versions.

    A subject that is long, or not plain ASCII, is replaced by ``#`` and its BLAKE2b hash: any str may be one, so that
    it may come from a request.

    Raises:
        ConfigurationError: if ``subject`` is not a str with at least one character.
    """
    if not isinstance(subject, str) or not subject:
        raise ConfigurationError(f"rate limit subject={subject!r:.80}: a str of at least one character")
    if not _PLAIN.fullmatch(subject):
        digest = hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=16)
        subject = f"#{digest.hexdigest()}"
    return f"{namespace}:limit:{name}:{subject}"


def check_settings(name: str, limit: Limits, outage: Outage = "open", remember: int = 10_000) -> None:
    """Raise ConfigurationError, naming what is wrong and what is allowed."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"rate limit name={name!r:.80}: a lower-case letter, then up to 63 of a-z 0-9 _ . -")
    if not callable(limit):
        check_limit(name, limit)
    if outage not in _OUTAGES:
        raise ConfigurationError(f"rate limit {name}: outage={outage!r}: one of {', '.join(_OUTAGES)}")
    if isinstance(remember, bool) or not isinstance(remember, int) or not 0 <= remember <= 10**7:
        raise ConfigurationError(f"rate limit {name}: remember={remember!r}: a whole number from 0 to 10000000")


def check_limit(name: str, limit: object) -> Limit | None:
    """Return ``limit``; raise ConfigurationError unless it is a Limit or None."""
    if limit is None or isinstance(limit, Limit):
        return limit
    raise ConfigurationError(f"rate limit {name}: limit={limit!r:.80}: a Limit, a function that returns one, or None")


def check_wait(seconds: float) -> None:
    """Raise ConfigurationError unless these are seconds to wait."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 86_400:  # noqa: PLR2004
        raise ConfigurationError(f"rate limit wait={seconds!r}: seconds, from 0 to 86400")


def subject_of(template: str, function: Callable[..., Any]) -> Callable[..., str]:
    """Return the subject of a call of ``function`` as a function of its arguments; see ``cacheclient.template``.

    Raises:
        ConfigurationError: if the template does not fit the function.
    """
    return compiled_tag(template, function, limit=_MAX_SUBJECT)
