"""One source of a warm-up: read in batches at the pace that Redis bears, and gone on with where it was.

A source is opened anew at its last proved position when the connection to Redis broke, so that nothing is stored that
may have been invalidated unheard.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

from cacheclient.cache import AsyncCache
from cacheclient.errors import CacheError, UnavailableError
from cacheclient.warming.filling import Filling, SourceError
from cacheclient.warming.items import Bad, Item, Source
from cacheclient.warming.place import Place, Places
from cacheclient.warming.report import Outcome, SourceReport
from cacheclient.warming.settings import PlanSettings
from cacheclient.warming.watch import Watch

_PAUSES: Final = (0.05, 0.2, 1.0, 5.0, 15.0)  # seconds between attempts while Redis does not answer
_NOTED: Final = 1.0  # seconds between two notes of where it stands
_REOPENED: Final = 0.1  # seconds before a source is opened anew


class Resting(Protocol):
    """What says how long to rest: a ``Pace``."""

    def pause(self, keys: int, busy: float) -> float:
        """Return the seconds to rest after ``keys`` in ``busy`` seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all sources of one warm-up."""

    plan: str
    settings: PlanSettings
    pace: Resting
    places: Places
    resume: bool
    dry_run: bool
    tell: Callable[[], None]
    hot: Callable[[list[str]], None]


class Running:
    """Carries out one source."""

    def __init__(self, cache: AsyncCache[Any], source: Source, terms: Terms, report: SourceReport) -> None:
        self._cache = cache
        self._source = source
        self._terms = terms
        self._report = report
        self._name = f"{terms.plan}:{source.name}"
        self._noted = monotonic()
        self._lost = False

    async def run(self) -> None:
        """Read the source to its end; ``report`` says how that ended.

        Raises:
            UnavailableError: if Redis did not answer for 20 seconds.
        """
        began, report = monotonic(), self._report
        try:
            await self._read(await self._recall())
            report.outcome = Outcome.DONE
        except asyncio.CancelledError:
            report.outcome, report.error = Outcome.LATE, "interrupted"
            raise
        except UnavailableError as error:
            report.outcome, report.error = Outcome.FAILED, f"Redis: {error}"
            raise
        except CacheError:
            raise
        except Exception as error:  # noqa: BLE001  a source may raise anything: it ends this source alone
            report.outcome = Outcome.FAILED
            report.error = str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}".strip()
        finally:
            if (close := getattr(self._source, "close", None)) is not None:
                await close()
            report.seconds = monotonic() - began
            self._terms.tell()

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _recall(self) -> Place:
        place = await self._terms.places.recall(self._name) if self._terms.resume else None
        if place is None:
            return Place()
        report = self._report
        report.resumed = True
        for name in ("read", "written", "skipped", "failed"):
            setattr(report, name, getattr(place, name))
        return place

    async def _read(self, place: Place) -> None:
        if place.done:
            return
        settings = self._terms.settings
        filling = Filling(
            self._cache, self._source, self._report, place.at, renew=settings.renew, dry_run=self._terms.dry_run
        )
        failures = 0
        while True:
            before = filling.at
            try:
                async with filling.begin() as watch, self._proving(filling):
                    ended = await self._pass(filling, watch)
                if ended:
                    await self._note(filling, done=True)
                    return
                await asyncio.sleep(_REOPENED)
            except UnavailableError:
                failures = 0 if filling.at != before else failures
                if failures == len(_PAUSES):
                    raise
                await asyncio.sleep(_PAUSES[failures])
                failures += 1

    async def _pass(self, filling: Filling, watch: Watch) -> bool:
        """Read the source from where it is proved; return whether that was to its end."""
        async with contextlib.aclosing(self._batches(filling.at)) as batches:
            async for batch in batches:
                began = monotonic()
                self._terms.hot(await filling.put(batch))
                await filling.settle(wait=False)
                if watch.lost:
                    return False
                if monotonic() - self._noted > _NOTED:
                    await self._note(filling)
                await asyncio.sleep(self._terms.pace.pause(len(batch), monotonic() - began))
        await filling.settle(wait=True)
        return not watch.lost

    @contextlib.asynccontextmanager
    async def _proving(self, filling: Filling) -> AsyncGenerator[None]:
        """See to it that what was stored when the source failed, or the time was up, is proved and counted, too."""
        try:
            yield
        except UnavailableError:  # it will be taken back
            raise
        except BaseException:
            with contextlib.suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(2 * self._cache.options.sync.max_staleness):
                    await filling.settle(wait=True)
                    await self._note(filling)
            raise

    async def _note(self, filling: Filling, *, done: bool = False) -> None:
        report, self._noted = self._report, monotonic()
        report.share = 1.0 if done else self._source.share(filling.at)
        if not self._terms.dry_run:
            counts = (report.read, report.written, report.skipped, report.failed)
            await self._terms.places.note(self._name, Place(filling.at, *counts, done=done))
        self._terms.tell()

    async def _batches(self, after: Any) -> AsyncGenerator[list[Item | Bad]]:
        """Yield what the source gives, in batches.

        Raises:
            SourceError: if it gives nothing for too long.
        """
        size, seconds = self._terms.settings.batch, self._source.timeout
        batch: list[Item | Bad] = []
        items = aiter(self._source.items(after))
        try:
            while True:
                try:
                    async with asyncio.timeout(seconds) as limit:
                        item = await anext(items)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    if not limit.expired():
                        raise
                    if batch:
                        yield batch
                    raise SourceError(f"gave nothing for {seconds:g} s") from None
                batch.append(item)
                if len(batch) == size:
                    yield batch
                    batch = []
            if batch:
                yield batch
        finally:
            if (aclose := getattr(items, "aclose", None)) is not None:
                await aclose()
