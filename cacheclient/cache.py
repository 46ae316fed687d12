"""AsyncCache: the order of the tiers.

A read looks into L1, which answers only while the gate is open (see ``listener``); then into L2, together with every
other read of this event-loop tick; then, if a loader is given, one process of the fleet loads (see ``flights``) and the
others take its value. Redis away is a slower cache, not an error: reads with a loader load, reads without one miss.

An L1 hit is one call of ``peek`` (see ``local``): no lock, no key formatting and no metrics library on that path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeGuard, TypeVar, Unpack, overload

from cacheclient import tags as tag_names
from cacheclient.batch import Batch, ManyLoader
from cacheclient.connect import Settings, target_of
from cacheclient.core import T
from cacheclient.decorators import AsyncCached, async_cached
from cacheclient.entry import Stored
from cacheclient.environment import environment
from cacheclient.jobs import RELOADING, Job, KeepOptions, Loader, LoadOptions, Terms, due_early
from cacheclient.lock import Lock, LockSettings, lock_key
from cacheclient.missing import ABSENT, MISSING, Missing
from cacheclient.provenance import Entry
from cacheclient.ratelimit import AsyncRateLimiter, LimiterSettings, Limits
from cacheclient.reads import Found
from cacheclient.remote import Holder
from cacheclient.stats import Stats
from cacheclient.writes import Writes

if TYPE_CHECKING:
    from cacheclient.explain import Explanation
    from cacheclient.findings import Report

D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


class AsyncCache(Writes[T]):
    """A two-tier cache for one namespace, for asyncio. Open it with ``async with``.

    It is generic in the type of its values: ``from_url(..., type=Profile)`` gives an ``AsyncCache[Profile]``.
    Values that L1 returns are shared between callers: treat them as read-only, or set ``l1.copy``.
    """

    @overload
    @classmethod
    def from_url(
        cls, url: str, *, namespace: str, version: int = 1, type: type[V], **settings: Unpack[Settings]
    ) -> AsyncCache[V]: ...
    @overload
    @classmethod
    def from_url(
        cls, url: str, *, namespace: str, version: int = 1, type: Any = Any, **settings: Unpack[Settings]
    ) -> AsyncCache[Any]: ...
    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str,
        version: int = 1,
        type: Any = Any,  # noqa: A002  the word msgspec and the field use
        **settings: Unpack[Settings],
    ) -> AsyncCache[Any]:
        """Return a cache, not yet open.

        Args:
            url: ``redis+sentinel://s-0,s-1,s-2/set``, ``redis+cluster://host,host``, ``redis://host``, the same with
                ``rediss`` (TLS), ``memory://``.
            namespace: first part of every key; one namespace is one kind of value.
            version: rises with the schema of the values; pods of two versions do not read each other's entries.
            type: what values are decoded to: any type msgspec knows.
            settings: codec, options and credentials, see ``Settings``.

        Raises:
            ConfigurationError: if any of this cannot work.
        """
        target, rest = target_of(url, settings)
        return cls(target, namespace=namespace, version=version, type=type, **rest)

    @overload
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: type[V]) -> AsyncCache[V]: ...
    @overload
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: Any = Any) -> AsyncCache[Any]: ...
    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, type: Any = Any) -> AsyncCache[Any]:  # noqa: A002
        """Return the cache that the environment describes (``contract.Env``), as the deployed pods do.

        Raises:
            ConfigurationError: if a variable is missing or cannot be used.
        """
        return cls.from_url(type=type, **environment(environ))

    # -- reads --------------------------------------------------------------------------------------------------------

    @overload
    async def get(self, key: str) -> T | None: ...
    @overload
    async def get(self, key: str, default: D) -> T | D: ...
    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``; pass ``MISSING`` to tell a cached None from no entry."""
        value = self.peek(key)
        if value is ABSENT:
            if not self._open:
                self._check_open()
            stored, fresh = await self._read(key)
            value = stored.value if stored is not None and fresh else MISSING
        return default if value is MISSING else value

    async def get_many(self, keys: Iterable[str]) -> dict[str, T]:
        """Return the values of those ``keys`` that are cached; all L2 reads travel together."""
        self._check_open()
        found = {key: self.peek(key) for key in keys}
        reads = [(key, self._read(key)) for key, value in found.items() if value is ABSENT]
        for key, read in reads:
            stored, fresh = await read
            found[key] = stored.value if stored is not None and fresh else MISSING
        return {key: value for key, value in found.items() if value is not MISSING}

    async def exists(self, key: str) -> bool:
        """Return whether ``key`` has a value that ``get`` would return; counts as a lookup, and fills L1 as one."""
        return await self.get(key, MISSING) is not MISSING

    async def delete(self, key: str) -> bool:
        """Invalidate ``key``, and return whether it had a value just before.

        It promises what ``invalidate`` does, at the price of a lookup more: call that if the answer does not matter.
        """
        existed = await self.exists(key)
        await self.invalidate(key)
        return existed

    @overload
    async def get_or_load(self, key: str, load: Callable[[str], Awaitable[T]], **options: Unpack[LoadOptions]) -> T: ...
    @overload
    async def get_or_load(
        self, key: str, load: Callable[[str], Awaitable[T | Missing]], **options: Unpack[LoadOptions]
    ) -> T | Missing: ...
    async def get_or_load(
        self,
        key: str,
        load: Callable[[str], Awaitable[Any]],
        *,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
        stale: float | None = None,
        load_timeout: float | None = None,
        fresh: bool = False,
    ) -> Any:
        """Return the value of ``key``; if no tier has it, ``await load(key)`` once in the fleet and keep it.

        Args:
            key: the id; the namespace and version are added.
            load: the loader (L3), an async function of the key. Its errors pass through and are never cached. It may
                return MISSING: the source has nothing.
            ttl: seconds the value lives in L2; the default is ``l2.ttl``.
            negative_ttl: seconds for which "the source has nothing" is remembered; by default it is not.
            tags: names under which the value can be invalidated, see ``invalidate_tag``.
            stale: seconds past its time for which this call takes the value if the loader fails, and for which what it
                loads is kept for such calls; the default is ``failsafe.window``, 0 means never.
            load_timeout: seconds the loader may take; the default is ``lock.load_timeout``.
            fresh: load now, whatever the tiers have, by a load that began after this call; its errors are raised. Until
                it ends the others get the old value. It is stored unless the key changed meanwhile.

        Callers who wait for the same load share it, with the options of the first.

        Raises:
            LoadTimeoutError: if the loader took more than ``load_timeout``.
            CodecError: if the loaded value cannot be encoded, or is not of the cache's type.
        """
        if fresh:
            return await self._load_anew(key, load, self._terms(ttl, negative_ttl, tags, stale, load_timeout))
        value = self.peek(key)
        if value is not ABSENT:
            return value
        if not self._open:
            self._check_open()
        began = perf_counter()
        found = await self._read(key)
        if self._settles(found):
            return found[0].value
        return await self._beyond_l2(
            found, began, key, load,
            ttl=ttl, negative_ttl=negative_ttl, tags=tags, stale=stale, load_timeout=load_timeout,
        )  # fmt: skip

    def _settles(self, found: Found) -> TypeGuard[tuple[Stored, float]]:
        """Return whether a read of L2 gave what ``get_or_load`` returns without more ado. Any thread may ask."""
        stored, left = found
        return stored is not None and left > 0 and not due_early(left, stored.load_time, self._eagerness)

    async def _beyond_l2(
        self, found: Found, began: float, key: str, load: Loader, **options: Unpack[LoadOptions]
    ) -> Any:
        """Go on with ``get_or_load`` after a read of L2 that did not settle it, begun at ``began`` (perf_counter)."""
        stored, left = found
        terms = self._terms(
            options.get("ttl"), options.get("negative_ttl"), options.get("tags", ()), options.get("stale"),
            options.get("load_timeout"),
        )  # fmt: skip
        if stored is not None and not left and -self._parts.serializer.remaining(stored) > terms.stale:
            stored = None
        if stored is not None and (left or self.options.failsafe.revalidate):
            self._parts.flights.reload(Job(key, load, terms, seen=stored))
            if not left:
                self._stats.stale_served[RELOADING] += 1
            return stored.value
        # While Redis lacks the tombstone of an own invalidation, what it holds must not be asked for.
        leased = key not in self._invalidation.journal
        landed = await self._parts.flights.fly(Job(key, load, terms, leased, stored))
        if landed.stale:
            self._stats.stale_served[landed.stale] += 1
        self._stats.all_lookups.observe(perf_counter() - began)
        return self._own(key, landed.value)

    async def get_or_load_many(
        self, keys: Iterable[str], load_many: ManyLoader[T], **options: Unpack[LoadOptions]
    ) -> dict[str, T | Missing | Exception]:
        """Return a value, or the exception of its load, for each of ``keys``; what is missing is loaded in one call.

        Args:
            keys: the ids.
            load_many: an async function of the missing ids, which returns a mapping from id to value. An id that it
                leaves out is MISSING; an exception as value is that id's error.
            options: as in ``get_or_load``; the same for all keys.
        """
        wanted = list(dict.fromkeys(keys))
        batch = Batch(load_many)
        options["tags"] = tag_names.check(options.get("tags", ()))  # once: an iterator has only one pass
        found = await batch.gather([(key, partial(self.get_or_load, key, batch.load, **options)) for key in wanted])
        answers: dict[str, T | Missing | Exception] = {}
        for key, value in zip(wanted, found, strict=True):
            if isinstance(value, BaseException) and not isinstance(value, Exception):
                raise value  # a cancelled or interrupted caller, not an answer
            answers[key] = value
        return answers

    async def get_entry(self, key: str) -> Entry[T] | None:
        """Return the value of ``key`` with its provenance, or None. Counts as a lookup."""
        self._check_open()
        return await self._parts.reader.entry(key)

    def cached(
        self, template: str, *, ignore: Collection[str] = (), **options: Unpack[KeepOptions]
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], AsyncCached[P, R]]:
        """Decorate an async function, so that its results are cached under the key that its arguments give.

        Args:
            template: the key, with the parameters in braces: ``"profile:{browser}:{major}"``, see
                ``cacheclient.template``. It is checked against the function's signature at once.
            ignore: parameters that are not part of the key.
            options: as in ``get_or_load``; tags are templates, too.

        Raises:
            ConfigurationError: if the template does not fit the function, or an option cannot be.
        """
        return lambda function: async_cached(self, function, template, ignore, options)

    def lock(self, name: str, **settings: Unpack[LockSettings]) -> Lock:
        """Return the distributed lock ``name`` of this namespace, not yet taken; see ``cacheclient.lock``."""
        self._check_open()
        key, outcomes = lock_key(self.space.namespace, name), self._stats.locks
        return Lock(self._parts.shared.locks, key, outcomes=outcomes, **settings)

    async def lock_holder(self, name: str) -> Holder | None:
        """Return who holds the lock ``name`` now, None if nobody does.

        Raises:
            UnavailableError: if Redis did not answer.
        """
        self._check_open()
        return await self._parts.shared.locks.holder(lock_key(self.space.namespace, name))

    def rate_limiter(self, name: str, limit: Limits = None, **settings: Unpack[LimiterSettings]) -> AsyncRateLimiter:
        """Return a limiter of how often each subject may do ``name`` in the fleet; see ``AsyncRateLimiter``.

        It may be made before the cache is opened. Make one for each name: it remembers who is over the limit.

        Args:
            name: what is limited; limiters of one name and namespace share what they count.
            limit: for every subject, or a function of the subject, plain or async; None: given with each hit.
            settings: ``outage`` and ``remember``.

        Raises:
            ConfigurationError: if an argument cannot be.
        """
        return AsyncRateLimiter(
            self._parts.shared.limits, self.space.namespace, name, limit,
            clock=self._clock, outcomes=self._stats.rate_limited, ready=self._check_open, **settings,
        )  # fmt: skip

    # -- observation ------------------------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of all counters: can be pickled, merged over processes and subtracted."""
        return self._stats - Stats()  # no Python code runs while a counter is copied, so any thread may ask

    async def explain(self, key: str) -> Explanation:
        """Return what each tier holds of ``key`` now, and what a lookup would find. Changes and counts nothing."""
        self._check_open()
        return await self._parts.explainer().explain(key)

    async def doctor(self) -> Report:
        """Look at everything this cache stands on: Sentinels, master, rights, memory, clocks, listener, latency.

        Returns:
            What was found, each with its fix where one is needed. Redis away is a finding, not an error.
        """
        self._check_open()
        return await self._parts.doctor().examine()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _load_anew(self, key: str, load: Loader, terms: Terms) -> Any:
        self._check_open()
        self.space.full(key)
        leased = key not in self._invalidation.journal
        return self._own(key, (await self._parts.flights.fly(Job(key, load, terms, leased, anew=True))).value)

    def _own(self, key: str, value: Any) -> Any:
        """Return what one of those gets who share a load: with ``l1.copy`` a value of its own."""
        return self._parts.serializer.copy(value, self.space.full(key)) if self.options.l1.copy else value
