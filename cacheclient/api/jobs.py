"""Pre-warms as jobs: started by one pod, told of by all, because their records are in Redis.

The pod that runs a job writes its record anew every few seconds. A record that was not, for a while, is of a pod that
is gone: its job is lost. One job of a plan runs at a time; whoever asks for another gets that one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from pydantic import ValidationError

from cacheclient.api.bodies import PLANS, PRIORITIES, Job, Prewarm, State
from cacheclient.contract import Record
from cacheclient.core import Core
from cacheclient.errors import UnavailableError
from cacheclient.events import Priority


class Told(Protocol):
    """A report that tells its figures; with an ``outcome`` of ``failed`` or ``late`` among them, the job failed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures."""


# Runs a plan (critical, hot, full), and returns figures about it.
Warm = Callable[[str], Awaitable[Mapping[str, Any] | Told]]
KEPT: Final = 86_400.0  # seconds for which a job is told of
_BEAT: Final = 5.0
_LOST: Final = 30.0  # seconds without a beat after which a job is taken for lost
_FAILED: Final = frozenset({"failed", "late"})
_log = logging.getLogger("cacheclient")


def new_job(wanted: Prewarm, now: float, *, runs: bool) -> Job:
    """Return the record of a job that begins; one that nobody here runs is announced to the fleet."""
    return Job(
        id=uuid.uuid4().hex, type=wanted.type, plan=PLANS[wanted.type],
        priority=Priority(wanted.priority) if wanted.priority else PRIORITIES[wanted.type],
        state="running" if runs else "announced", created=now, updated=now, pod=os.uname().nodename,
    )  # fmt: skip


def judged(job: Job, now: float) -> Job:
    """Return the job as it is to be told: one that runs nowhere any more is lost."""
    gone = job.state == "running" and now - job.updated > _LOST
    return job.model_copy(update={"state": "lost"}) if gone else job


def ended(job: Job, state: State, now: float, **facts: Any) -> Job:
    """Return the record of a job that has ended."""
    return job.model_copy(update={"state": state, "updated": now, **facts})


def reported(job: Job, report: Mapping[str, Any] | Told, now: float) -> Job:
    """Return the record of a job that has come to its end."""
    told = dict(report) if isinstance(report, Mapping) else report.to_dict()
    figures = json.loads(json.dumps(told, default=str))
    if figures.get("outcome") in _FAILED:
        why = f"{figures['outcome']}: {figures.get('error') or 'see the report'}"
        return ended(job, "failed", now, report=figures, problem=why)
    return ended(job, "done", now, report=figures)


class Jobs:
    """The jobs of one API. ``cache`` gives the cache when it is open; without ``warm`` the fleet is asked to act."""

    def __init__(
        self,
        cache: Callable[[], Core[Any]],
        warm: Warm | None,
        *,
        beat: float = _BEAT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cache = cache
        self._warm = warm
        self._beat = beat
        self._now = now
        self._own: dict[str, tuple[Job, asyncio.Task[Job]]] = {}

    async def start(self, wanted: Prewarm) -> Job:
        """Begin a job, or return the one of the same plan that runs already.

        Raises:
            UnavailableError: if Redis cannot be told of it; then nothing has begun.
        """
        job = new_job(wanted, self._now(), runs=self._warm is not None)
        await self._keep(job)
        if self._warm is None:
            self._cache().request_prewarm(job.plan, priority=job.priority)
            return job
        holder = await self._cache().records.create(self._turn(job.plan), job.id.encode(), _LOST)
        if holder is not None:
            running = await self.find(holder.decode())
            if running is not None and running.state == "running":
                await self._cache().records.remove(self._key(job.id))
                return running
        self._own[job.id] = (job, asyncio.create_task(self._run(job, self._warm), name=f"cacheclient-job {job.id}"))
        return job

    async def finished(self, job: Job, within: float) -> Job:
        """Return the job when it has ended, or as it is after ``within`` seconds."""
        deadline = self._now() + within
        while job.state == "running" and (left := deadline - self._now()) > 0:
            if job.id in self._own:
                await asyncio.wait([self._own[job.id][1]], timeout=left)
            else:  # it runs in another pod
                await asyncio.sleep(min(left, 0.2))
            job = await self.find(job.id) or job
        return job

    async def find(self, job_id: str) -> Job | None:
        """Return a job; None if there is none of this id, or it was more than a day ago.

        Raises:
            UnavailableError: if it is not this pod's and Redis does not answer.
        """
        if job_id in self._own:
            job, task = self._own[job_id]
            return task.result() if task.done() else judged(job, self._now())
        data = await self._cache().records.read(self._key(job_id))
        if data is None:
            return None
        try:
            return judged(Job.model_validate_json(data), self._now())
        except ValidationError:  # of another release
            return None

    async def close(self) -> None:
        """Cancel what runs here."""
        tasks = [task for _, task in self._own.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _run(self, job: Job, warm: Warm) -> Job:
        heart = asyncio.create_task(self._beating(job), name=f"cacheclient-job-beat {job.id}")
        try:
            job = reported(job, await warm(job.plan), self._now())
        except asyncio.CancelledError:
            job = ended(job, "cancelled", self._now(), problem="this pod was stopped")
        except Exception as error:  # noqa: BLE001  whatever the sources raise, the job has an end that is told of
            _log.exception("cacheclient: the pre-warm %s failed", job.plan)
            job = ended(job, "failed", self._now(), problem=f"{type(error).__name__}: {error}"[:500])
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        with contextlib.suppress(UnavailableError):
            await self._keep(job)
            await self._cache().records.remove(self._turn(job.plan))
        self._forget_some()
        return job

    async def _beating(self, job: Job) -> None:
        while True:
            await asyncio.sleep(self._beat)
            job = job.model_copy(update={"updated": self._now()})
            self._own[job.id] = (job, self._own[job.id][1])
            with contextlib.suppress(UnavailableError):
                await self._keep(job)
                await self._cache().records.put(self._turn(job.plan), job.id.encode(), _LOST)

    def _forget_some(self) -> None:
        """Leave the older of this pod's jobs to their records."""
        done = [job_id for job_id, (_, task) in self._own.items() if task.done()]
        for job_id in done[:-10]:
            del self._own[job_id]

    async def _keep(self, job: Job) -> None:
        await self._cache().records.put(self._key(job.id), job.model_dump_json().encode(), KEPT)

    def _key(self, job_id: str) -> str:
        return self._cache().space.record(Record.JOB, job_id)

    def _turn(self, plan: str) -> str:
        return self._cache().space.record(Record.JOB, f"of-{plan}")
