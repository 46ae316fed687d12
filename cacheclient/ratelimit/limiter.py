"""The rate limiter for asyncio: who decides on a hit, and what happens when Redis cannot."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from cacheclient.clock import Clock, boottime
from cacheclient.contract import DecidedBy
from cacheclient.errors import ConfigurationError, UnavailableError
from cacheclient.gcra import Limit, check_cost
from cacheclient.ratelimit.decision import UNLIMITED, Decision, RateLimitedError
from cacheclient.ratelimit.refusals import Refusals
from cacheclient.ratelimit.settings import (
    Limits,
    Outage,
    check_limit,
    check_settings,
    check_wait,
    limit_key,
    subject_of,
)
from cacheclient.remote import LimitStore, LocalLimits

P = ParamSpec("P")
R = TypeVar("R")

_RETRY: Final = 1.0  # seconds after which to try again when nobody can say: as long as a client waits for a master
_log = logging.getLogger("cacheclient")


class AsyncRateLimiter:
    """Limits how often each subject (a user, a client, an API key) may do something, in the fleet as a whole.

    Made by ``AsyncCache.rate_limiter``. One object serves all tasks of one event loop.
    """

    def __init__(
        self,
        store: LimitStore,
        namespace: str,
        name: str,
        limit: Limits = None,
        *,
        outage: Outage = "open",
        remember: int = 10_000,
        clock: Clock = boottime,
        outcomes: Counter[str] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a limiter; nothing is sent.

        Args:
            store: where the buckets are.
            namespace: first part of every key.
            name: what is limited, such as ``search``: a lower-case letter, then up to 63 of a-z 0-9 _ . -
            limit: for every subject; or a function (plain or async) of the subject, asked at each hit: cache what it
                looks up. None, here or from the function: not limited.
            outage: what becomes of hits while Redis cannot decide: ``open`` lets them pass, ``closed`` refuses them,
                ``local`` limits in each process by itself.
            remember: subjects at most of which the process remembers that they are over their limit.
            clock: seconds that never go back.
            outcomes: what is counted, by ``"outcome/decided_by"`` (``contract.RATE_LIMITED``).
            ready: raises ClosedError while hits cannot be sent.

        Raises:
            ConfigurationError: if one of them cannot be.
        """
        check_settings(name, limit, outage, remember)
        self.name = name
        self._store = store
        self._namespace = namespace
        self._limit = limit
        self._outage = outage
        self._refusals = Refusals(remember, clock)
        self._clock = clock
        self._outcomes: Counter[str] = Counter() if outcomes is None else outcomes
        self._ready = ready
        self._fallback = LocalLimits(clock)
        self._blind = False

    async def hit(self, subject: str, cost: int = 1, *, limit: Limit | None = None) -> Decision:
        """Count a hit of ``subject`` and return whether it may pass, and what is left.

        A subject that is known to be over its limit is refused without asking Redis, for exactly as long as Redis would
        refuse it. A refused hit costs the subject nothing.

        Args:
            subject: who; any str.
            cost: how many hits this one counts as, 1 to 1,000,000.
            limit: in place of the limiter's own.

        Raises:
            ConfigurationError: if an argument cannot be.
            ClosedError: if the cache is not open.
        """
        key, limit = await self._asked(subject, cost, limit)
        if limit is None:
            return UNLIMITED
        known = self._refusals.known(key, limit, cost)
        if known is not None:
            return self._count(Decision.of(known, limit, DecidedBy.MEMORY))
        asked = self._clock()
        try:
            verdict = await self._store.hit(key, limit, cost)
        except UnavailableError as error:
            return self._count(self._blindly(key, limit, cost, error))
        self._blind = False
        self._refusals.note(key, limit, cost, verdict, asked)
        return self._count(Decision.of(verdict, limit, DecidedBy.REDIS))

    async def peek(self, subject: str, cost: int = 1, *, limit: Limit | None = None) -> Decision:
        """Return what ``hit`` would, as Redis has it now, without counting it.

        Raises:
            UnavailableError: if Redis does not answer.
            ConfigurationError: if an argument cannot be.
        """
        key, limit = await self._asked(subject, cost, limit)
        if limit is None:
            return UNLIMITED
        return Decision.of(await self._store.hit(key, limit, cost, take=False), limit, DecidedBy.REDIS)

    async def acquire(self, subject: str, cost: int = 1, *, limit: Limit | None = None, wait: float = 0.0) -> Decision:
        """Count a hit that must pass; wait for that at most ``wait`` seconds. Those who wait are served in no order.

        Raises:
            RateLimitedError: if it does not pass in time, or never can; its ``decision`` says when it would.
            ConfigurationError: if an argument cannot be.
        """
        check_wait(wait)
        until = self._clock() + wait
        while True:
            decision = await self.hit(subject, cost, limit=limit)
            if decision.allowed:
                return decision
            if self._clock() + decision.retry_after > until:
                raise RateLimitedError(self.name, decision)
            await asyncio.sleep(decision.retry_after)

    async def reset(self, subject: str) -> None:
        """Give ``subject`` its whole burst back. Other processes may refuse it until the time that they were told.

        Raises:
            UnavailableError: if Redis does not answer.
            ConfigurationError: if ``subject`` cannot be one.
        """
        self._ready()
        key = limit_key(self._namespace, self.name, subject)
        await self._store.forget(key)
        await self._fallback.forget(key)
        self._refusals.forget(key)

    def limited(
        self, subject: str, *, cost: int = 1, wait: float = 0.0
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
        """Decorate an async function, so that calls past the limit raise RateLimitedError, or wait.

        Args:
            subject: who calls, with parameters of the function in braces: ``"user:{user_id}"``. It need not name any.
            cost: how many hits a call counts as.
            wait: seconds that a call waits for its turn at most.

        Raises:
            ConfigurationError: at decoration, if the template does not fit the function.
        """
        check_cost(cost)
        check_wait(wait)

        def decorate(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
            if not inspect.iscoroutinefunction(function):
                name = getattr(function, "__qualname__", repr(function))
                raise ConfigurationError(f"{name}: AsyncRateLimiter.limited is for `async def`")
            who = subject_of(subject, function)

            @functools.wraps(function)
            async def limited(*args: P.args, **kwargs: P.kwargs) -> R:
                await self.acquire(who(*args, **kwargs), cost, wait=wait)
                return await function(*args, **kwargs)

            return limited

        return decorate

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _asked(self, subject: str, cost: int, given: Limit | None) -> tuple[str, Limit | None]:
        """Return the key and the limit of a hit."""
        self._ready()
        check_cost(cost)
        key = limit_key(self._namespace, self.name, subject)
        found: Any = self._limit if given is None else given
        if callable(found):
            found = found(subject)
            if inspect.isawaitable(found):
                found = await found
        return key, check_limit(self.name, found)

    def _blindly(self, key: str, limit: Limit, cost: int, error: UnavailableError) -> Decision:
        if not self._blind:
            self._blind = True  # said once, until Redis decides again
            _log.warning("cacheclient: rate limit %r is decided without Redis (%s): %s", self.name, self._outage, error)
        if self._outage == "local":
            return Decision.of(self._fallback.decide(key, limit, cost), limit, DecidedBy.OUTAGE)
        allowed = self._outage == "open"
        return Decision(
            allowed=allowed, limit=limit, decided_by=DecidedBy.OUTAGE, retry_after=0.0 if allowed else _RETRY
        )

    def _count(self, decision: Decision) -> Decision:
        self._outcomes[f"{'allowed' if decision.allowed else 'refused'}/{decision.decided_by}"] += 1
        return decision
