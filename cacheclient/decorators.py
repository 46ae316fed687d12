"""Functions whose results are cached: ``@cache.cached("profile:{browser}:{major}")``.

The decorated function keeps its signature, its types and ``__wrapped__``, and gains ``key``, ``invalidate`` and
``refresh``, which take the arguments of a call. A hit costs the key (see ``template``) and a look into L1. On methods,
``self`` is not part of the key: all instances share the entries, so name in the template what sets them apart.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

from cacheclient.errors import ConfigurationError
from cacheclient.jobs import KeepOptions, LoadOptions
from cacheclient.keys import MAX_ID_BYTES
from cacheclient.missing import ABSENT
from cacheclient.options import CacheOptions
from cacheclient.tags import MAX_NAME_BYTES, MAX_TAGS
from cacheclient.template import compiled, compiled_tag

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class _Asynchronous(Protocol):
    """What is needed of ``AsyncCache``."""

    @property
    def peek(self) -> Callable[[str], Any]:
        """Look into L1."""

    def get_or_load(
        self, key: str, load: Callable[[str], Awaitable[Any]], **options: Unpack[LoadOptions]
    ) -> Awaitable[Any]:
        """Load what no tier has."""

    async def invalidate(self, key: str) -> bool:
        """Forget a key."""


class _Synchronous(Protocol):
    """What is needed of ``Cache``."""

    def get_or_load(self, key: str, load: Callable[[str], Any], **options: Unpack[LoadOptions]) -> Any:
        """Load what no tier has."""

    def invalidate(self, key: str) -> bool:
        """Forget a key."""


class _Rule(Generic[P]):
    """Under which key, and how, the calls of one function are cached.

    Attributes:
        key: the key of a call, as a function of its arguments.
    """

    def __init__(
        self, function: Callable[P, Any], template: str, ignore: Collection[str], options: KeepOptions
    ) -> None:
        if isinstance(ignore, str):
            raise ConfigurationError(f"ignore={ignore!r}: a list of parameters, not one str")
        self.key: Callable[P, str] = compiled(template, function, limit=MAX_ID_BYTES, ignore=ignore)
        _check(options)
        self._tags = _tag_functions(options.get("tags", ()), function)
        self._options = cast("LoadOptions", {**options, "tags": ()})

    def options(self, *args: P.args, **kwargs: P.kwargs) -> LoadOptions:
        """Return the options of a call's load."""
        if not self._tags:
            return self._options
        return {**self._options, "tags": tuple(tag(*args, **kwargs) for tag in self._tags)}


class AsyncCached(Generic[P, R]):
    """An async function whose results are cached.

    Attributes:
        key: the key of a call, as a function of its arguments.
    """

    __wrapped__: Callable[P, Coroutine[Any, Any, R]]

    def __init__(self, cache: _Asynchronous, function: Callable[P, Coroutine[Any, Any, R]], rule: _Rule[P]) -> None:
        functools.update_wrapper(self, function)
        self._cache = cache
        self._peek = cache.peek
        self._rule = rule
        self.key: Callable[P, str] = rule.key
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call: a cached one, or what the function returns now."""
        key = self.key(*args, **kwargs)
        value = self._peek(key)
        if value is not ABSENT:
            return cast("R", value)
        return await self._load(key, *args, **kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Make the fleet forget the result of this call; as ``AsyncCache.invalidate``."""
        return await self._cache.invalidate(self.key(*args, **kwargs))

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now, whatever is cached, and keep its result: ``fresh=True`` of ``get_or_load``."""
        options: LoadOptions = {**self._rule.options(*args, **kwargs), "fresh": True}
        return cast(
            "R", await self._cache.get_or_load(self.key(*args, **kwargs), self._loader(args, kwargs), **options)
        )

    def _load(self, key: str, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self._cache.get_or_load(key, self._loader(args, kwargs), **self._rule.options(*args, **kwargs))

    def _loader(self, args: Any, kwargs: Any) -> Callable[[str], Awaitable[R]]:
        return lambda _: self.__wrapped__(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: AsyncCached[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> AsyncMethod[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else AsyncMethod(cast("AsyncCached[..., R]", self), instance)


class AsyncMethod(Generic[P, R]):
    """A cached method of one object."""

    __slots__ = ("__self__", "__wrapped__")

    def __init__(self, cached: AsyncCached[..., R], instance: object) -> None:
        self.__wrapped__ = cached
        self.__self__ = instance

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Return the result of the call: a cached one, or what the method returns now."""
        return self.__wrapped__(self.__self__, *args, **kwargs)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call."""
        return self.__wrapped__.key(self.__self__, *args, **kwargs)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Make the fleet forget the result of this call, for all instances."""
        return await self.__wrapped__.invalidate(self.__self__, *args, **kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method now, whatever is cached, and keep its result."""
        return await self.__wrapped__.refresh(self.__self__, *args, **kwargs)


class Cached(Generic[P, R]):
    """A plain function whose results are cached; blocks the calling thread.

    Attributes:
        key: the key of a call, as a function of its arguments.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, cache: _Synchronous, function: Callable[P, R], rule: _Rule[P]) -> None:
        functools.update_wrapper(self, function)
        self._cache = cache
        self._rule = rule
        self.key: Callable[P, str] = rule.key

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call: a cached one, or what the function returns now, in a thread of the pool."""
        return self._get(False, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Make the fleet forget the result of this call; as ``Cache.invalidate``."""
        return self._cache.invalidate(self.key(*args, **kwargs))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function now, whatever is cached, and keep its result: ``fresh=True`` of ``get_or_load``."""
        return self._get(True, *args, **kwargs)

    def _get(self, fresh: bool, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: FBT001
        def load(_: str) -> R:
            return self.__wrapped__(*args, **kwargs)

        options: LoadOptions = {**self._rule.options(*args, **kwargs), "fresh": fresh}
        return cast("R", self._cache.get_or_load(self.key(*args, **kwargs), load, **options))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Cached[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Method[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else Method(cast("Cached[..., R]", self), instance)


class Method(Generic[P, R]):
    """A cached method of one object."""

    __slots__ = ("__self__", "__wrapped__")

    def __init__(self, cached: Cached[..., R], instance: object) -> None:
        self.__wrapped__ = cached
        self.__self__ = instance

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result of the call: a cached one, or what the method returns now."""
        return self.__wrapped__(self.__self__, *args, **kwargs)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call."""
        return self.__wrapped__.key(self.__self__, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Make the fleet forget the result of this call, for all instances."""
        return self.__wrapped__.invalidate(self.__self__, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method now, whatever is cached, and keep its result."""
        return self.__wrapped__.refresh(self.__self__, *args, **kwargs)


def async_cached(
    cache: _Asynchronous, function: Callable[P, Coroutine[Any, Any, R]], template: str, ignore: Collection[str],
    options: KeepOptions,
) -> AsyncCached[P, R]:  # fmt: skip
    """Return ``function`` with its results in ``cache``; raise ConfigurationError if that cannot work."""
    if not inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f"{_name(function)}: AsyncCache.cached is for `async def`; plain ones have Cache.cached"
        )
    return AsyncCached(cache, function, _Rule(function, template, ignore, options))


def sync_cached(
    cache: _Synchronous, function: Callable[P, R], template: str, ignore: Collection[str], options: KeepOptions
) -> Cached[P, R]:
    """Return ``function`` with its results in ``cache``; raise ConfigurationError if that cannot work."""
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigurationError(f"{_name(function)}: Cache.cached is for plain functions; AsyncCache.cached for async")
    return Cached(cache, function, _Rule(function, template, ignore, options))


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _check(options: KeepOptions) -> None:
    unknown = options.keys() - KeepOptions.__annotations__.keys()
    if unknown:
        raise ConfigurationError(f"{min(unknown)}: no such option; {', '.join(KeepOptions.__annotations__)}")
    every = CacheOptions()
    every.l2.life(options.get("ttl"))
    every.l2.life(options.get("negative_ttl"), "negative_ttl")
    every.failsafe.allowance(options.get("stale"))
    every.lock.limit(options.get("load_timeout"))


def _tag_functions(templates: Iterable[str], function: Callable[..., Any]) -> tuple[Callable[..., str], ...]:
    if isinstance(templates, str):
        raise ConfigurationError(f"tags={templates!r}: a list of templates, not one str")
    tags = tuple(compiled_tag(template, function, limit=MAX_NAME_BYTES) for template in templates)
    if len(tags) > MAX_TAGS:
        raise ConfigurationError(f"tags: at most {MAX_TAGS}, {len(tags)} were given")
    return tags
