"""One run: bring a set up, let workers use it while incidents happen, come to rest, check."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from cacheclient import CacheOptions, FailsafeOptions, L2Options
from cacheclient.contract import Env
from cacheclient.errors import UnavailableError
from cacheclient.remote import Address, parse, read_secret
from cacheclient.remote.sentinels import SentinelTopology
from infra.local.control import Environment
from infra.local.programs import REDIS_NODES, SENTINEL_NODES
from tests.fuzz.audit import Audit, audit
from tests.fuzz.checker import Checker, Lapse, Verdict
from tests.fuzz.crew import Crew
from tests.fuzz.database import Database
from tests.fuzz.faults import Done, Hands
from tests.fuzz.history import Mode, hits, mode_of, reads, writes
from tests.fuzz.incidents import incidents
from tests.fuzz.limit_checker import Limited, judge_limits
from tests.fuzz.network import Network
from tests.fuzz.stage import HEAL, LOOK, stage
from tests.fuzz.worker import NAMESPACE, Result, Spec

MAX_STALENESS: Final = CacheOptions().sync.max_staleness
_LAG: Final = 3.0  # seconds for which a master acknowledges writes although no replica keeps up (min-replicas-max-lag)
# Seconds from a new master that takes writes, and a network that lets writers find it, until every writer has repeated
# its invalidations there: a question to a Sentinel that the cut swallowed is given up after one, asked again, then
# there are the connection and the debts of a minute. 3.3 were seen on two busy cores.
_REPAIR: Final = 4.5
_WATCH: Final = 0.1  # seconds between looks at who is master

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do. ``only`` names the one kind of incident to cause.

    ``down_after`` (seconds) is Sentinel's. It has to be longer than a master that is cut off takes writes. ``rest`` is
    for how many seconds all is quiet before the end is checked; the journals retry ten times a second.
    """

    seed: str
    seconds: float
    workers: int = 3
    keys: int = 200
    down_after: float = 4.0
    only: str | None = None
    rest: float = 2.5


@dataclass(slots=True)
class Change:
    """The Sentinels began to name another master ``at``, which took writes from ``writable`` on; monotonic seconds.

    A master without a replica takes no writes: neither those of callers nor what journals repeat.
    """

    at: float
    old: Address
    new: Address
    writable: float = math.inf


class Tally(NamedTuple):
    """How many writes there were, and how many of them were acknowledged."""

    made: int
    acknowledged: int


@dataclass(slots=True)
class Outcome:
    """Everything a run found out."""

    plan: Plan
    server: str
    began: float
    seconds: float
    done: list[Done]
    changes: list[Change]
    lapses: list[Lapse]
    verdict: Verdict
    final: Audit
    results: list[Result]
    writes: dict[Mode, Tally]
    limited: Limited

    @property
    def failed(self) -> bool:
        """Whether anything is not as promised."""
        errors = any(result.errors for result in self.results)
        return bool(self.verdict.violations or self.limited.violations or self.final.stale or errors)


async def fuzz(plan: Plan, say: Say, keep: Path | None = None) -> Outcome:
    """Run ``plan`` and check it. All processes end and all files go; ``keep`` is a folder in which files stay.

    Raises:
        LocalError: if the set cannot be started, or the Sentinels agree on no master when it should be whole.
        CrewError: if a worker ended or hung.
    """
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachestack-fuzz-")))
        folder.mkdir(parents=True, exist_ok=True)
        return await _run(plan, folder, say)


async def _run(plan: Plan, folder: Path, say: Say) -> Outcome:
    Database.create(folder / "database", plan.keys)
    parties = (*REDIS_NODES, *SENTINEL_NODES, *(f"worker-{number}" for number in range(plan.workers)))
    network = Network(parties)
    changes: list[Change] = []
    began = time.monotonic()
    try:
        async with stage(folder / "set", network, plan.down_after) as environment:
            say(f"{environment.state.server}; seed {plan.seed!r}, {plan.workers} workers, {plan.seconds:g} s")
            specs = [_spec(plan, worker, environment, folder) for worker in range(plan.workers)]
            async with Crew(specs, folder) as crew, _watched(environment, changes):
                done = await _incidents(plan, Hands(environment, network, crew), say)
                await crew.ask("rest")
                await _reached(crew)
                calm = time.monotonic()
                await asyncio.sleep(plan.rest)
                with Database(folder / "database") as database:
                    final = await asyncio.to_thread(audit, environment, database, NAMESPACE)
                await crew.ask("read")
                results = await crew.end()
            server = environment.state.server
    finally:
        await network.close()
    seconds = time.monotonic() - began
    lapses = lapses_of(changes, done)
    verdict, written = judge(folder, plan.workers, lapses)
    limited = judge_limits([hits(folder, worker) for worker in range(plan.workers)], lapses, calm)
    return Outcome(plan, server, began, seconds, done, changes, lapses, verdict, final, results, written, limited)


def _spec(plan: Plan, worker: int, environment: Environment, folder: Path) -> Spec:
    return Spec(
        worker=worker, workers=plan.workers, seed=plan.seed, folder=str(folder), threads=worker % 2 == 1,
        environment={**_options(worker).to_env(), **environment.client_environment, Env.NAMESPACE: NAMESPACE},
    )  # fmt: skip


def _options(worker: int) -> CacheOptions:
    """Return options under which values are often refreshed and served past their time: behind readers, and not."""
    return CacheOptions(
        l2=L2Options(early_refresh=50.0),
        failsafe=FailsafeOptions(window=20.0, throttle=0.5, revalidate=worker % 2 == 0),
    )


async def _incidents(plan: Plan, hands: Hands, say: Say) -> list[Done]:
    """Cause incidents until the time is over."""
    done: list[Done] = []
    end = time.monotonic() + plan.seconds
    for incident in incidents(plan.seed, plan.workers, plan.only):
        await asyncio.sleep(min(incident.rest, max(0.0, end - time.monotonic())))
        if time.monotonic() >= end:
            return done
        say(f"{plan.seconds - (end - time.monotonic()):5.0f} s  {incident}")
        done.append(await hands.cause(incident))
    raise AssertionError("incidents are endless")


async def _reached(crew: Crew) -> None:
    """Wait until every worker has a master, which takes a starved one long: only then can it repeat what was lost."""
    deadline = time.monotonic() + HEAL
    while not all(await crew.ask("read")) and time.monotonic() < deadline:  # noqa: ASYNC110  it asks other processes
        await asyncio.sleep(LOOK)


@contextlib.asynccontextmanager
async def _watched(environment: Environment, changes: list[Change]) -> AsyncIterator[None]:
    """Note every change of master that most Sentinels agree on, while the block runs."""
    watch = asyncio.create_task(_watch(environment, changes))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def _watch(environment: Environment, changes: list[Change]) -> None:
    """Note every change of master that most Sentinels agree on."""
    secret = read_secret(environment.sentinel_password_file)
    topology = SentinelTopology(parse(environment.url, sentinel_password=secret), 0.3, MAX_STALENESS)
    known: Address | None = None
    try:
        while True:
            with contextlib.suppress(UnavailableError):
                found = await topology.find_master()
                if known is not None and found != known:
                    changes.append(Change(time.monotonic(), known, found))
                known = found
                if (
                    changes
                    and changes[-1].writable == math.inf
                    and await asyncio.to_thread(_writable, environment, found)
                ):
                    changes[-1].writable = time.monotonic()
            await asyncio.sleep(_WATCH)
    finally:
        await topology.close()


def _writable(environment: Environment, master: Address) -> bool:
    """Whether a replica keeps up with ``master``, so that it takes writes."""
    names = {place: name for name, place in environment.redis_nodes.items()}
    good = re.search(r"min_slaves_good_slaves:(\d+)", environment.ask(names[master], "INFO", "replication"))
    return good is not None and good[1] != "0"


def lapses_of(changes: Sequence[Change], done: Sequence[Done]) -> list[Lapse]:
    """Return what unplanned changes of master may have undone; a handover may undo nothing. Pure."""
    lapses = []
    for change in changes:
        cause = next((one for one in done if one.began <= change.at <= one.ended), None)
        if cause is not None and cause.handed_over:
            continue
        hit = cause.master_hit if cause is not None and cause.master_hit is not None else change.at - _LAG
        free = cause.clients_free if cause is not None else 0.0
        lapses.append(Lapse(min(hit, change.at) - _LAG, change.at, max(change.writable, free) + _REPAIR))
    return lapses


def judge(folder: Path, workers: int, lapses: Sequence[Lapse]) -> tuple[Verdict, dict[Mode, Tally]]:
    """Check what all workers recorded; return the verdict, and the writes by mode."""
    written = [writes(folder, worker) for worker in range(workers)]
    checker = Checker(written, MAX_STALENESS, lapses)
    for worker in range(workers):
        checker.check(worker, reads(folder, worker))
    made = Counter(mode_of(write.key) for own in written for write in own)
    acknowledged = Counter(mode_of(write.key) for own in written for write in own if write.acknowledged)
    return checker.verdict, {mode: Tally(made[mode], acknowledged[mode]) for mode in Mode}


def random_seed() -> str:
    """Return a seed for a run that nobody chose one for."""
    return str(random.SystemRandom().randrange(10**6))
