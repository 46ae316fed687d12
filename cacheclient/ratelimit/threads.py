"""The rate limiter for threads: as ``AsyncRateLimiter``, which says what each method promises."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast

from cacheclient.errors import ConfigurationError
from cacheclient.gcra import Limit, check_cost
from cacheclient.ratelimit.decision import UNLIMITED, Decision
from cacheclient.ratelimit.limiter import AsyncRateLimiter
from cacheclient.ratelimit.settings import (
    LimiterSettings,
    PlainLimits,
    check_limit,
    check_settings,
    check_wait,
    subject_of,
)

P = ParamSpec("P")
R = TypeVar("R")


class _Makes(Protocol):
    """What is needed of ``AsyncCache``."""

    def rate_limiter(self, name: str, limit: None = None, **settings: Unpack[LimiterSettings]) -> AsyncRateLimiter:
        """Return a limiter."""


class _Loop(Protocol):
    """What is needed of ``runtime.Runtime``: the background loop of one process."""

    @property
    def cache(self) -> _Makes:
        """The cache that lives there."""

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run it there and wait for it."""


class RateLimiter:
    """Limits how often each subject may do something, in the fleet as a whole. Blocks the calling thread.

    Made by ``Cache.rate_limiter``. Any number of threads may share one.
    """

    def __init__(
        self,
        here: Callable[[], _Loop],
        name: str,
        limit: PlainLimits = None,
        **settings: Unpack[LimiterSettings],
    ) -> None:
        """Prepare a limiter. A function as ``limit`` is a plain one, and runs in the calling thread.

        ``here`` returns the loop of this process; it raises ClosedError while there is none.

        Raises:
            ConfigurationError: if an argument cannot be.
        """
        check_settings(name, limit, **settings)
        self.name = name
        self._here = here
        self._limit = limit
        self._settings = settings
        self._made: tuple[_Loop, AsyncRateLimiter] | None = None

    def hit(self, subject: str, cost: int = 1, *, limit: Limit | None = None) -> Decision:
        """Count a hit of ``subject`` and return whether it may pass, and what is left."""
        return self._ask(subject, limit, lambda limiter, held: limiter.hit(subject, cost, limit=held))

    def peek(self, subject: str, cost: int = 1, *, limit: Limit | None = None) -> Decision:
        """Return what ``hit`` would, without counting it; raise UnavailableError if Redis does not answer."""
        return self._ask(subject, limit, lambda limiter, held: limiter.peek(subject, cost, limit=held))

    def acquire(self, subject: str, cost: int = 1, *, limit: Limit | None = None, wait: float = 0.0) -> Decision:
        """Count a hit that must pass, waiting at most ``wait`` seconds; raise RateLimitedError if it does not."""
        check_wait(wait)
        return self._ask(subject, limit, lambda limiter, held: limiter.acquire(subject, cost, limit=held, wait=wait))

    def reset(self, subject: str) -> None:
        """Give ``subject`` its whole burst back."""
        loop, limiter = self._on()
        loop.run(limiter.reset(subject))

    def limited(self, subject: str, *, cost: int = 1, wait: float = 0.0) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a plain function; see ``AsyncRateLimiter.limited``."""
        check_cost(cost)
        check_wait(wait)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if not callable(function) or inspect.iscoroutinefunction(function):
                name = getattr(function, "__qualname__", repr(function))
                raise ConfigurationError(
                    f"{name}: RateLimiter.limited is for plain functions; async ones have their own"
                )
            who = subject_of(subject, function)

            @functools.wraps(function)
            def limited(*args: P.args, **kwargs: P.kwargs) -> R:
                self.acquire(who(*args, **kwargs), cost, wait=wait)
                return function(*args, **kwargs)

            return limited

        return decorate

    def _on(self) -> tuple[_Loop, AsyncRateLimiter]:
        """Return the loop and the limiter of this process; after a fork they are others."""
        loop, made = self._here(), self._made
        if made is None or made[0] is not loop:
            self._made = made = loop, loop.cache.rate_limiter(self.name, **self._settings)
        return made

    def _ask(
        self,
        subject: str,
        given: Limit | None,
        ask: Callable[[AsyncRateLimiter, Limit], Coroutine[Any, Any, Decision]],
    ) -> Decision:
        loop, limiter = self._on()
        found: Any = self._limit if given is None else given
        if callable(found):
            found = found(subject)
            if inspect.isawaitable(found):
                cast("Coroutine[Any, Any, Any]", found).close()
                raise ConfigurationError(f"rate limit {self.name}: for threads the limit's function is a plain one")
        limit = check_limit(self.name, found)
        return UNLIMITED if limit is None else loop.run(ask(limiter, limit))
