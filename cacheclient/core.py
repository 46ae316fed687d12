"""What every method of a cache stands on: its parts, and their opening and closing."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Generic, Self, TypeVar

from cacheclient import tags as tag_names
from cacheclient.auditor import Versions
from cacheclient.clock import Clock, boottime
from cacheclient.codec import Codec, for_name
from cacheclient.connect import ask_for_prewarm, assemble
from cacheclient.errors import ClosedError
from cacheclient.events import Event, Priority
from cacheclient.jobs import Terms
from cacheclient.keys import Glob, KeySpace
from cacheclient.options import CacheOptions
from cacheclient.remote import Records, Target
from cacheclient.shared import Connect, connect

T = TypeVar("T")


class Core(Generic[T]):
    """One cache, opened and closed; what can be asked of it is in the classes below this one."""

    def __init__(
        self,
        target: Target,
        *,
        namespace: str,
        version: int = 1,
        type: type[T] | Any = Any,  # noqa: A002  the word msgspec and the field use
        codec: str | Codec = "msgpack",
        options: CacheOptions | None = None,
        clock: Clock = boottime,
        connect: Connect = connect,
        versions: Versions | None = None,
    ) -> None:
        """Prepare a cache; nothing is opened before ``start``. See ``AsyncCache.from_url`` for the parameters.

        ``clock`` and ``connect`` are for tests (``cacheclient.testing``): the time, and what brings the shared side.
        """
        self.options = options or CacheOptions()
        self._type = type
        self.space = KeySpace(namespace, version)
        chosen = for_name(codec, type) if isinstance(codec, str) else codec
        self._parts = parts = assemble(target, self.space, chosen, self.options, clock, connect, versions)
        self._stats = parts.stats
        self._clock = clock
        self._invalidation = parts.invalidation
        # Look into L1 only: the value, or ABSENT. Counts a hit, but no miss. Any thread may call it.
        self.peek = parts.reader.peek
        self._read = parts.reader.read
        self._eagerness = self.options.l2.early_refresh
        self._open = self._closed = False

    async def start(self) -> None:
        """Open the cache. Waits at most ``l2.connect_timeout`` for Redis, which may be away."""
        if self._open or self._closed:
            raise ClosedError("a cache is opened once: make another one")
        self._open = True
        self._invalidation.journal.start()
        self._parts.tuner.start()
        if self._parts.shared.link is not None:
            try:
                await self._parts.shared.link.start()
            except BaseException:  # cancelled while waiting for Redis: nobody will call close
                await self.close()
                raise

    async def close(self) -> None:
        """Cancel loads in flight, send what is owed to Redis once more, and close every connection. Twice is fine."""
        if not self._open:
            return
        self._open, self._closed = False, True
        self._parts.hearing.close()
        await self._parts.tuner.close()
        await self._parts.auditor.close()
        await self._parts.revalidation.close()
        await self._parts.flights.close()
        await self._parts.reader.close()
        await self._parts.tags.close()
        await self._invalidation.journal.close()
        if self._parts.shared.listener is not None:
            await self._parts.shared.listener.close()
        if self._parts.shared.link is not None:
            await self._parts.shared.link.close()
        self._parts.local.flush()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    @contextlib.asynccontextmanager
    async def lifespan(self, application: object) -> AsyncIterator[None]:  # noqa: ARG002  one like another
        """Be open while an ASGI application runs: ``FastAPI(lifespan=cache.lifespan)``, and Starlette's."""
        async with self:
            yield

    def disown(self) -> None:
        """Take note, in a forked child, that another process opened this and will close it."""
        self._open = False

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            warnings.warn(f"cache {self.space.prefix!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def on_prewarm(self, callback: Callable[[Event], None]) -> None:
        """Have ``callback`` called with each prewarm event of the fleet that may concern this namespace.

        It runs on the event loop and must not block: start a task for what takes long. What it raises is logged.
        """
        self._parts.hearing.on_prewarm(callback)

    def request_prewarm(self, plan: str = "", *, pattern: str = "*", priority: Priority = Priority.NORMAL) -> None:
        """Ask every process of the fleet to pre-warm, this one too: those that registered with ``on_prewarm`` are told.

        An event may be lost, as any: nobody answers.

        Args:
            plan: which entries, in words that those who act understand.
            pattern: a glob over ids; it is confined to this namespace and version.
            priority: how soon.

        Raises:
            ConfigurationError: if the pattern cannot be one.
        """
        self._check_open()
        whole = self.space.prefix + Glob(pattern).pattern
        ask_for_prewarm(self._invalidation, self._parts.hearing, whole, priority, plan)

    @property
    def records(self) -> Records:
        """Where small facts are kept that pods share beside the entries, such as the jobs of the HTTP API."""
        self._check_open()
        return self._parts.shared.records

    def _terms(
        self,
        ttl: float | None,
        negative_ttl: float | None = None,
        tags: Iterable[str] = (),
        stale: float | None = None,
        load_timeout: float | None = None,
    ) -> Terms:
        options = self.options
        return Terms(
            options.l2.life(ttl),
            None if negative_ttl is None else options.l2.life(negative_ttl, "negative_ttl"),
            tag_names.check(tags),
            options.failsafe.allowance(stale),
            options.lock.limit(load_timeout),
        )

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("the cache is not open: use it inside `async with`, or call start()")
