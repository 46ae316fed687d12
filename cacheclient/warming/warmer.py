"""Warm-ups of one cache: by hand, by a schedule, and at the start of an application.

::

    warmer = Warmer(cache, read_plans("warm.toml").sources())
    report = await warmer.run("hot")

    async with AsyncCache.from_env() as cache, Warmer(cache, sources) as warmer:
        await warmer.at_start(deadline=20)  # ready now, or still warming: ``warmer.state`` says which
        ...

One warm-up of a plan runs in the fleet at a time: a lock sees to that. What is there already is not read from its
source a second time, so a second one costs little.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Self

from cacheclient.cache import AsyncCache
from cacheclient.contract import WARMED_AT, Record
from cacheclient.errors import CacheError, ConfigurationError, LockTimeoutError, UnavailableError
from cacheclient.events import Event
from cacheclient.lock import Lock, lock_key
from cacheclient.warming import hottest
from cacheclient.warming.items import PLANS, Source
from cacheclient.warming.pace import Limits
from cacheclient.warming.place import Places, SharedPlaces
from cacheclient.warming.probe import paced
from cacheclient.warming.report import Outcome, Progress, Report, SourceReport
from cacheclient.warming.running import Running, Terms
from cacheclient.warming.settings import DEFAULTS, PlanSettings, checked, plan_name

_LOCK: Final = 30.0  # seconds after which the lock of a process that died is free; one that lives extends it
_REMEMBERED: Final = 30 * 86_400.0  # seconds for which the time of a success is kept
_log = logging.getLogger("cacheclient")


class Warmer:
    """The warm-ups of one cache.

    Attributes:
        sources: what is read, in that order.
        last: the report of the last warm-up of each plan, one under way included.
    """

    def __init__(
        self,
        cache: AsyncCache[Any],
        sources: Iterable[Source],
        *,
        plans: Mapping[str, PlanSettings] | None = None,
        places: Places | None = None,
        follow: bool = True,
    ) -> None:
        """Prepare the warm-ups of ``cache``.

        Args:
            cache: what is warmed; open it before ``run``.
            sources: what is read, by priority and then by name.
            plans: how each plan is carried out, where it differs from ``settings.DEFAULTS``.
            places: where it is noted how far they have come; by default in Redis.
            follow: whether this process pulls into L1 what warm-ups in the fleet name as hot, and carries out a plan
                that somebody asks the fleet for (``request_prewarm``) if it has sources for it.

        Raises:
            ConfigurationError: if a source or a plan cannot be.
        """
        self.sources = _ordered(sources)
        self.last: dict[str, Report] = {}
        self._cache = cache
        self._plans = {name: checked((plans or {}).get(plan_name(name), DEFAULTS[name]), name) for name in PLANS}
        for name in plans or {}:
            plan_name(name)
        if cache.options.lock.lease <= cache.options.sync.max_staleness:
            raise ConfigurationError(
                f"lock.lease={cache.options.lock.lease:g}: more than sync.max_staleness "
                f"({cache.options.sync.max_staleness:g}) where a warm-up runs: it must hear of what tombstones forget"
            )
        self._places = places
        self._follower = hottest.Follower(cache) if follow else None
        self._asked: dict[str, asyncio.Task[Report]] = {}
        if follow:
            cache.on_prewarm(self._heard)
        self._starting: asyncio.Task[Report] | None = None
        self._state = "nothing to wait for"
        self._ready = True

    # -- running ------------------------------------------------------------------------------------------------------

    async def run(
        self,
        plan: str,
        *,
        resume: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
        wait: float = 0.0,
    ) -> Report:
        """Carry out a plan and return what was done; what fails in a source is in the report, and ends it alone.

        Args:
            plan: critical, hot or full.
            resume: go on where one was interrupted within the last hour, if one was.
            dry_run: read everything, and write nothing.
            progress: called with the report so far, about once a second, on the event loop.
            wait: seconds to wait for another process that carries it out.

        Raises:
            ConfigurationError: if there is no such plan.
            ClosedError: if the cache is not open.
        """
        settings, report = self._plans[plan_name(plan)], Report(plan, dry_run=dry_run)
        # Not the cache's own ``lock``: that one counts what it did not get, and somebody else warming is no trouble.
        key = lock_key(self._cache.space.namespace, f"warming:{plan}")
        lock = Lock(self._cache._parts.shared.locks, key, timeout=_LOCK, wait=wait, auto_extend=True)  # noqa: SLF001
        began, self.last[plan] = monotonic(), report
        try:
            if not dry_run:
                await lock.acquire()
            await self._all(report, settings, resume=resume, progress=progress)
        except LockTimeoutError as error:
            away = isinstance(error.__cause__, UnavailableError)
            report.outcome = Outcome.FAILED if away else Outcome.ELSEWHERE
            report.error = f"Redis: {error.__cause__}" if away else "another process carries it out"
        except UnavailableError as error:
            report.outcome, report.error = Outcome.FAILED, f"Redis: {error}"
        finally:
            report.seconds = monotonic() - began
            if report.outcome is Outcome.RUNNING:  # cancelled, or an error that is raised
                report.outcome = Outcome.LATE
            await _give_back(lock)
        _log.info("cacheclient: warm-up %s: %s", plan, summary(report))
        return report

    async def _all(self, report: Report, settings: PlanSettings, *, resume: bool, progress: Progress | None) -> None:
        """Carry out every source of the plan, one after the other, within the deadline."""
        hot: dict[str, None] = {}

        def keep(keys: list[str]) -> None:
            for key in keys if len(hot) < settings.l1 else ():
                hot[key] = None

        places = self._places or SharedPlaces(self._cache.records, self._cache.space)
        sources = [source for source in self.sources if report.plan in source.plans]
        try:
            async with asyncio.timeout(settings.deadline) as limit, paced(self._ask, Limits(settings.rate)) as pace:
                terms = Terms(
                    plan=report.plan, settings=settings, pace=pace, places=places, resume=resume,
                    dry_run=report.dry_run, tell=lambda: progress and progress(report), hot=keep,
                )  # fmt: skip
                await self._each(sources, terms, report)
        except TimeoutError:
            if not limit.expired():
                raise
            report.outcome, report.error = Outcome.LATE, f"not done within {settings.deadline:g} s"
        else:
            failed = any(one.outcome is not Outcome.DONE for one in report.sources)
            report.outcome = Outcome.FAILED if failed else Outcome.DONE
        if not report.dry_run:
            await self._conclude(report, places, sources, list(hot)[: settings.l1])

    async def _each(self, sources: Sequence[Source], terms: Terms, report: Report) -> None:
        for source in sources:
            one = SourceReport(source.name)
            report.sources.append(one)
            await Running(self._cache, source, terms, one).run()

    async def _conclude(self, report: Report, places: Places, sources: Sequence[Source], hot: Sequence[str]) -> None:
        """Tell the fleet what is hot; of a plan that is done, remember when, and not where it stood.

        What is warm stays so, whether Redis takes these notes or not.
        """
        try:
            await hottest.publish(self._cache, report.plan, hot)
            if report.outcome is Outcome.DONE:
                for source in sources:
                    await places.forget(f"{report.plan}:{source.name}")
                stamp = str(int(time.time())).encode()
                await self._cache.records.put(WARMED_AT[report.plan], stamp, _REMEMBERED)
        except UnavailableError as error:
            _log.warning("cacheclient: warm-up %s: Redis did not take the note that it is over: %s", report.plan, error)

    async def _ask(self) -> object:
        space = self._cache.space
        return await self._cache._parts.shared.store.write_ids([space.record(Record.WARMING, "probe")])  # noqa: SLF001

    def _heard(self, event: Event) -> None:
        """Carry out the plan that somebody asks the fleet for: the first process to get the lock does."""
        plan = event.plan
        if plan in self._asked or not any(plan in source.plans for source in self.sources):
            return
        task = asyncio.create_task(self.run(plan, resume=True), name=f"cacheclient-warming {plan}")
        self._asked[plan] = task
        task.add_done_callback(lambda done: self._answered(plan, done))

    def _answered(self, plan: str, task: asyncio.Task[Report]) -> None:
        self._asked.pop(plan, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("cacheclient: warm-up %s, which was asked for, failed: %s", plan, error)

    # -- at the start of an application -------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the application may serve: false only between ``at_start`` and its deadline."""
        return self._ready

    @property
    def state(self) -> str:
        """What the start waits for, or how that ended, in words."""
        return self._state

    async def at_start(self, plan: str = "critical", *, deadline: float = 20.0) -> Report | None:
        """Warm up before the application serves, for at most ``deadline`` seconds; return the report if it is done.

        After the deadline the application goes on without it, and the warm-up behind it. Nothing that fails in Redis
        or a source is raised: a cold cache is slow, not wrong.

        Raises:
            ConfigurationError: if there is no such plan.
        """
        plan_name(plan)
        self._ready, self._state = False, f"warming: {plan}"
        task = asyncio.create_task(self.run(plan, wait=deadline), name=f"cacheclient-warming {plan}")
        self._starting = task
        task.add_done_callback(lambda done: self._started(plan, done))
        await asyncio.wait({task}, timeout=deadline)
        self._ready = True
        if task.done():
            return task.result() if not task.cancelled() and task.exception() is None else None
        self._state = f"serving cold: {plan} was not warm within {deadline:g} s, and goes on"
        _log.warning("cacheclient: %s", self._state)
        return None

    def _started(self, plan: str, task: asyncio.Task[Report]) -> None:
        if task.cancelled():
            self._state = f"{plan} was given up"
        elif (error := task.exception()) is not None:
            self._state = f"{plan} failed: {error}"
            _log.warning("cacheclient: warm-up %s", self._state)
        else:
            self._state = f"{plan}: {summary(task.result())}"

    async def close(self) -> None:
        """End what goes on behind the application. Twice is fine."""
        behind = [*self._asked.values(), *((self._starting,) if self._starting is not None else ())]
        for task in behind:
            task.cancel()
        await asyncio.gather(*behind, return_exceptions=True)
        if self._follower is not None:
            await self._follower.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


def summary(report: Report) -> str:
    """Return a report in one line."""
    totals = report.to_dict()
    counts = ", ".join(f"{totals[name]} {name}" for name in ("written", "skipped", "failed"))
    why = f" ({report.error})" if report.error else ""
    return f"{report.outcome}{why}: {counts} of {totals['read']} read in {report.seconds:.1f} s"


def _ordered(sources: Iterable[Source]) -> tuple[Source, ...]:
    given = sorted(sources, key=lambda source: (source.priority, source.name))
    names = [source.name for source in given]
    for source in given:
        if names.count(source.name) > 1:
            raise ConfigurationError(f"source {source.name!r}: two have this name")
        unknown = set(source.plans) - set(PLANS)
        if unknown or not source.plans:
            raise ConfigurationError(
                f"source {source.name!r}: plans={sorted(source.plans)}: some of {', '.join(PLANS)}"
            )
    return tuple(given)


async def _give_back(lock: Lock) -> None:
    try:
        if lock.remaining:
            await lock.release()
    except CacheError as error:
        _log.warning("cacheclient: the lock of a warm-up expires by itself: %s", error)
