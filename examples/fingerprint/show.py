"""The show: an undisturbed run, a planned stop and a SIGKILL of the master, all under traffic."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import apify_fingerprint_datapoints

from cacheclient.contract import Tier
from examples.fingerprint import report, store
from examples.fingerprint.checker import Findings, Floors
from examples.fingerprint.crew import Crew
from examples.fingerprint.failures import Drill, events
from examples.fingerprint.messages import PROFILES, Assignment, Play, Target
from examples.fingerprint.profiles import Profile, ProfileSampler
from examples.fingerprint.stage import WRITER, Stage
from examples.fingerprint.trace import Trace
from examples.fingerprint.traffic import ZipfMix
from examples.fingerprint.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from examples.fingerprint.report import Failure, Row, Traffic
    from examples.fingerprint.view import Screen
    from examples.fingerprint.watch import Nodes

READY_SECONDS: Final = 30.0
MIX_SECONDS: Final = 60.0  # the mix ends here even if the machine is too slow to play all of it
PACED_CALLERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is played.

    Attributes:
        source: where the users to look up come from.
        readers: reader processes.
        lookups: lookups of all readers together in the mix; a trace is played once instead.
        callers: concurrent callers in each reader in the mix, which goes as fast as it can.
        rate: lookups per second of all readers together in the phases after the mix.
        steady: seconds of the undisturbed phase at that rate, from which latencies are taken.
        updates: rows changed and invalidated per second.
        failures: whether the master is stopped and killed.
        calm: seconds of traffic before each event and after its end.
    """

    source: ZipfMix | Trace = field(default_factory=ZipfMix)
    readers: int = 4
    lookups: int = 500_000
    callers: int = 8
    rate: float = 6_000.0
    steady: float = 8.0
    updates: float = 40.0
    failures: bool = True
    calm: float = 2.0

    def paced(self, phase: str, *, ledger: bool) -> Play:
        """Return the order for a phase at the given rate, with or without a ledger of writes."""
        return Play(
            phase=phase,
            rate=self.rate,
            callers=PACED_CALLERS,
            updates=self.updates,
            ledger=ledger,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All figures of a show."""

    mix: Traffic
    steady: Traffic
    failures: list[Failure]
    notes: list[str]
    decides: bool  # whether the hit rates do: those of a trace say as much about the trace

    @property
    def acceptance(self) -> list[Row]:
        """Rows of the undisturbed run."""
        return [
            *report.hit_rates(self.mix.stats, decides=self.decides),
            *report.throughput(self.mix),
            *report.latencies(self.steady.stats),
            *report.correctness(self.mix.findings.plus(self.steady.findings)),
        ]

    @property
    def findings(self) -> Findings:
        """What all readers found in all phases."""
        parts = [self.mix.findings, self.steady.findings, *(failure.findings for failure in self.failures)]
        return reduce(Findings.plus, parts)

    @property
    def aftermath(self) -> list[Row]:
        """Rows of the events."""
        return [row for failure in self.failures for row in report.aftermath(failure)]

    @property
    def exit_code(self) -> report.ExitCode:
        """What the show ends with."""
        return report.exit_code([*self.acceptance, *self.aftermath])

    def to_dict(self) -> dict[str, Any]:
        """Return rows and figures for JSON."""
        stats, steady = self.mix.stats, self.steady.stats
        return {
            "exit_code": self.exit_code,
            "acceptance": [asdict(row) for row in self.acceptance],
            "failures": [asdict(row) for row in self.aftermath],
            "notes": self.notes,
            "mix": {
                "seconds": self.mix.seconds,
                "requests_per_second": self.mix.rate,
                **(stats.to_dict() if stats else {}),
            },
            "reads": {"changed": self.findings.changed, "wrong": self.findings.wrong},
            "steady": {
                "seconds": self.steady.seconds,
                "p95_seconds": steady.latency(Tier.ALL).quantile(0.95) if steady else None,
            },
            "ledgers": {
                failure.event: {"at": failure.at, **asdict(failure.ledger)}
                for failure in self.failures
                if failure.ledger
            },
        }


def play(plan: Plan, target: Target, nodes: Nodes, down_after: float, folder: Path, screen: Screen) -> Result:
    """Play the whole plan on ``nodes``, with files below ``folder``; ``down_after`` (seconds) is the Sentinels'.

    Raises:
        ChildProcessError: if the readers cannot work.
        TimeoutError: if the processes do not become ready, or Redis does not answer.
    """
    assignment = prepare(plan, target, folder, screen)
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(nodes))
        crew = stack.enter_context(Crew(folder))
        stack.enter_context(screen)
        stage = Stage(crew, screen, watch)
        for number in range(plan.readers):
            crew.start(f"reader-{number + 1}", "examples.fingerprint.reader", replace(assignment, reader=number))
        crew.start(WRITER, "examples.fingerprint.writer", replace(assignment, reader=plan.readers))
        stage.gather(READY_SECONDS)
        mix, steady = _mix(stage, plan), _steady(stage, plan)
        drills = events(nodes, down_after) if plan.failures else []
        failures = [
            Drill(stage, watch, nodes, event, plan.calm).run(plan.paced(event.name, ledger=True)) for event in drills
        ]
    decides = not isinstance(plan.source, Trace)
    return Result(mix=mix, steady=steady, failures=failures, notes=stage.notes, decides=decides)


def prepare(plan: Plan, target: Target, folder: Path, screen: Screen) -> Assignment:
    """Build the database and the floors; return what all processes have in common."""
    folder.mkdir(parents=True, exist_ok=True)
    database, floors, users = folder / "profiles.sqlite", folder / "floors", plan.source.users
    sampler = ProfileSampler(apify_fingerprint_datapoints.get_fingerprint_network())
    size = store.build(database, users, sampler, seed=users)
    Floors.create(floors, users)
    screen.say(f"database: {users:,} users' fingerprints, {size / users:,.0f} bytes each, in SQLite (L3)")
    screen.say(f"lookups: {plan.source.describe()}")
    asyncio.run(_forget(target))
    return Assignment(
        target=target, run=int(time.time()), database=database, floors=floors, source=plan.source, reader=0,
        readers=plan.readers,
    )  # fmt: skip


async def _forget(target: Target) -> None:
    """Have everybody forget the profiles, so that no run reads what one before it left in Redis.

    Raises:
        TimeoutError: if Redis does not acknowledge it.
    """
    async with target.cache(*PROFILES, Profile, l1_entries=0) as profiles:
        if not await profiles.clear():
            raise TimeoutError(f"{target.url} does not acknowledge that old entries are forgotten")


def _mix(stage: Stage, plan: Plan) -> Traffic:
    """Play the mix from cold, as fast as it goes."""
    stage.say(f"mix: {plan.readers} readers with {plan.callers} callers each, cold caches, as fast as it goes")
    lookups = len(plan.source.accesses) if isinstance(plan.source, Trace) else plan.lookups
    phase = stage.begin(Play(phase="mix", lookups=lookups, callers=plan.callers, updates=plan.updates))
    if not stage.go_on(phase, lambda: stage.finished(phase), MIX_SECONDS):
        stage.note(f"the mix was ended after {phase.elapsed:.0f} s, before all of it was played")
    return stage.end(phase)


def _steady(stage: Stage, plan: Plan) -> Traffic:
    """Play at the given rate, undisturbed."""
    stage.say(f"steady: {plan.rate:,.0f} lookups per second")
    phase = stage.begin(plan.paced("steady", ledger=False))
    stage.go_on(phase, lambda: False, plan.steady)
    return stage.end(phase)
