"""The command line of the drill: ``python -m tests.alert_drill --help``."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from redis import RedisError
from rich.console import Console
from rich.table import Table

from alerts.rules import ALERTS
from dashboards.preview.results import Prometheus
from infra.local.errors import LocalError
from tests.alert_drill.causes import CAUSES, Cause
from tests.alert_drill.quick import FACTOR
from tests.alert_drill.scene import Scene, scene, wait_for
from tests.alert_drill.watch import Sighting, Watch

_PATIENCE: Final = 180.0  # seconds within which an alert must fire, and resolve, at the drill's shortened times
_RECOVERY: Final = 180.0  # seconds within which the set must be whole again
# Their windows of six hours and three days remember, also shortened, what earlier causes did to lookups.
_LOOKS_BACK_LONG: Final = ("CacheLatencyBudgetBurnsSlowly", "CacheErrorBudgetBurnsSlowly")
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one cause; ``problem`` is empty if every alert fired and resolved, ``others`` fired besides."""

    cause: str
    sightings: tuple[Sighting, ...]
    others: tuple[str, ...]
    seconds: float
    problem: str = ""


def drill(cause: Cause, stage: Scene, watch: Watch) -> Outcome:
    """Cause one failure, wait until its alerts have fired, put everything right, and wait until they have resolved."""
    began, problems = time.monotonic(), []

    def noted(condition: Callable[[], bool], what: Callable[[], str], patience: float = _PATIENCE) -> None:
        try:
            wait_for(condition, "", patience)
        except TimeoutError:
            problems.append(f"waited {patience:g} s for {what()}")

    noted(lambda: not _not_as_new(stage, watch), lambda: f"a set as if new: {_not_as_new(stage, watch)}")
    watch.begin(cause.alerts)
    with stage.afterwards:
        try:
            with cause.make(stage):  # left in any case by its own end, which puts the set right again
                noted(watch.all_fired, lambda: f"{', '.join(watch.unfired())} to fire")
            if cause.after:
                watch.sightings.update({name: Sighting(name) for name in cause.after})
                noted(watch.all_fired, lambda: f"{', '.join(watch.unfired())} to fire afterwards")
            watch.end_of_cause()
            noted(lambda: watch.looked() and stage.whole(), lambda: "the set to be whole again", _RECOVERY)
            stage.forget()
            noted(watch.all_resolved, lambda: f"{', '.join(watch.unresolved())} to resolve")
        except (TimeoutError, LocalError, OSError, RedisError) as error:
            problems.append(str(error))
    seen, others = tuple(watch.sightings.values()), tuple(sorted(watch.unexpected))
    return Outcome(cause.name, seen, others, time.monotonic() - began, "; ".join(problems))


def _not_as_new(stage: Scene, watch: Watch) -> str:
    """Say what an earlier cause has left behind; empty if nothing."""
    speaking = [name for name in watch.speaking() if name not in _LOOKS_BACK_LONG]
    if speaking:
        return f"{', '.join(speaking)} speak"
    return stage.strangers() if stage.whole() else "a node is away"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drill and print its table; see ``--help``."""
    given = _parser().parse_args(arguments)
    chosen = [cause for cause in CAUSES if not given.only or cause.name in given.only]
    console, root = Console(stderr=True), Path(tempfile.mkdtemp(prefix="alert-drill-"))
    outcomes: list[Outcome] = []
    try:
        with scene(root / "local") as stage:
            watch = Watch(Prometheus(stage.environment.prometheus_url or ""))
            for number, cause in enumerate(chosen, 1):
                if lacking := cause.why_not():
                    console.print(f"{number:2}/{len(chosen)} {cause.name}: left out, {lacking}")
                    continue
                outcomes.append(drill(cause, stage, watch))
                done = outcomes[-1]
                console.print(f"{number:2}/{len(chosen)} {cause.name}: {done.problem or 'seen'} ({done.seconds:.0f} s)")
    except LocalError as error:
        console.print(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(root)
    if given.json:
        Console().print_json(json.dumps([asdict(outcome) for outcome in outcomes]))
    else:
        _show(outcomes)
    return int(any(outcome.problem for outcome in outcomes))


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table(title=f"Alerts seen live; holds and windows {FACTOR} times shorter than shipped")
    for head in ("cause", "alert", "severity", "pending", "firing", "resolved"):
        table.add_column(head, justify="right" if head in {"pending", "firing", "resolved"} else "left")
    for outcome in outcomes:
        for index, each in enumerate(outcome.sightings):
            times = (f"{t:.0f} s" if t is not None else "-" for t in (each.pending, each.firing, each.resolved))
            table.add_row("" if index else outcome.cause, each.alert, each.severity, *times)
    Console().print(table)
    seen = {s.alert for o in outcomes for s in o.sightings if s.firing is not None and s.resolved is not None}
    Console().print(f"{len(seen)} of {len(ALERTS)} alerts seen firing and resolved; promtool proves all of them")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tests.alert_drill",
        description="Causes real failures on a set of its own and shows which alerts fire and resolve. "
        "Needs Prometheus and redis_exporter; takes 30 to 60 minutes.",
        epilog="exit codes: 0 every alert fired and resolved; 1 one did not; 2 it could not start; 130 interrupted",
    )
    names = [cause.name for cause in CAUSES]
    parser.add_argument("--only", action="append", choices=names, metavar="CAUSE", help=f"one of: {', '.join(names)}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
