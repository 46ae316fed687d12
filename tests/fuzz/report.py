"""What a run found, for people and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from cacheclient.contract import DecidedBy
from tests.fuzz.history import Mode
from tests.fuzz.limit_checker import Limited
from tests.fuzz.limits import OUTAGES
from tests.fuzz.run import Outcome

_STALE_SHOWN = 10


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return every figure of the report."""
    verdict, plan = outcome.verdict, outcome.plan
    return {
        "seed": plan.seed,
        "server": outcome.server,
        "seconds": round(outcome.seconds, 1),
        "workers": plan.workers,
        "keys": plan.keys,
        "failed": outcome.failed,
        "reads": verdict.reads,
        "checked": verdict.checked.total(),
        "violations": verdict.violations,
        "consistency": verdict.consistency,
        "lapses": [[_since(outcome.began, moment) for moment in lapse] for lapse in outcome.lapses],
        "stale_at_end": len(outcome.final.stale),
        "values_at_end": outcome.final.values,
        "incidents": dict(Counter(done.incident.name for done in outcome.done)),
        "not_whole_in_time": [str(done.incident) for done in outcome.done if not done.whole],
        "changes_of_master": len(outcome.changes),
        "unplanned": len(outcome.lapses),
        "handed_over": sum(done.handed_over for done in outcome.done),
        "modes": {
            mode.value: {
                "writes": outcome.writes[mode].made,
                "acknowledged": outcome.writes[mode].acknowledged,
                "checked": verdict.checked[mode],
                "violations": sum(count for name, count in verdict.broken.items() if name.startswith(f"{mode}/")),
                "excused": verdict.excused[mode],
            }
            for mode in Mode
        },
        "limits": {outage: _limits(outcome.limited, outage) for outage in OUTAGES},
        "limits_broken": dict(outcome.limited.broken),
        "limit_examples": outcome.limited.examples,
        "versions_undone_by_crashes": len(verdict.undone),
        "longest_lapse_seconds": round(verdict.longest_lapse, 3),
        "broken": dict(verdict.broken),
        "examples": [str(violation) for violation in verdict.examples],
        "stale": [str(stale) for stale in outcome.final.stale],
        "load_time_outs": sum(result.time_outs for result in outcome.results),
        "errors": dict(sum((Counter(result.errors) for result in outcome.results), Counter())),
        "error_examples": [example for result in outcome.results for example in result.examples],
        "l1_hits": sum(result.l1_hits for result in outcome.results),
        "loads": sum(result.loads for result in outcome.results),
    }


def as_text(outcome: Outcome) -> str:
    """Return the report for people."""
    return "\n".join(_lines(as_json(outcome)))


def _since(began: float, moment: float) -> float | None:
    return None if math.isinf(moment) else round(moment - began, 2)


def _limits(limited: Limited, outage: str) -> dict[str, int]:
    """Return what became of the hits of one limiter."""
    by = {
        f"{outcome}_by_{decider}": limited.outcomes[outage, outcome, decider]
        for outcome in ("allowed", "refused")
        for decider in (DecidedBy.REDIS, DecidedBy.MEMORY, DecidedBy.OUTAGE)
    }
    return {**by, "more_after_a_lapse": limited.more[outage], "violations": limited.violations_of(outage)}


def _lines(found: dict[str, Any]) -> Iterator[str]:
    verdict = "FAILED" if found["failed"] else "passed"
    yield f"{verdict}: seed {found['seed']!r}, {found['seconds']:g} s, {found['server']}"
    yield (
        f"reads       {found['reads']} ({found['l1_hits']} by L1), of which {found['checked']} could have been stale; "
        f"{found['loads']} loads, {found['load_time_outs']} of them past their time limit"
    )
    yield f"incidents   {', '.join(f'{count} {name}' for name, count in sorted(found['incidents'].items()))}"
    yield (
        f"master      changed {found['changes_of_master']} times, {found['unplanned']} of them unplanned; "
        f"{found['handed_over']} handed over"
    )
    yield f"{'written as':<12}{'writes':>8}{'acknowledged':>14}{'reads checked':>15}{'violations':>12}{'excused':>9}"
    for mode, row in found["modes"].items():
        yield (
            f"{mode:<12}{row['writes']:>8}{row['acknowledged']:>14}{row['checked']:>15}{row['violations']:>12}"
            f"{row['excused']:>9}"
        )
    if found["versions_undone_by_crashes"]:
        yield (
            f"excused     crashes undid {found['versions_undone_by_crashes']} versions that only the master had "
            f"acknowledged; reads were late by {found['longest_lapse_seconds']:g} s at most"
        )
    yield from _limit_lines(found["limits"])
    yield f"at the end  {found['values_at_end']} values in Redis, {found['stale_at_end']} of them stale"
    share = found["consistency"]
    if share is None:
        yield "consistent  nothing could be checked"
    else:
        kept = 1 - found["violations"] / found["checked"]
        yield f"consistent  {share:.6%} of the reads checked; {kept:.6%} without what crashes undid"
    yield from _faults(found)


def _limit_lines(limits: dict[str, dict[str, int]]) -> Iterator[str]:
    yield (
        f"{'rate limit':<12}{'passed':>8}{'refused':>14}{'from memory':>15}{'blind: passed, refused':>24}"
        f"{'undone':>9}{'violations':>12}"
    )
    for outage, row in limits.items():
        blind = f"{row['allowed_by_outage']}, {row['refused_by_outage']}"
        yield (
            f"{outage:<12}{row['allowed_by_redis']:>8}{row['refused_by_redis']:>14}{row['refused_by_memory']:>15}"
            f"{blind:>24}{row['more_after_a_lapse']:>9}{row['violations']:>12}"
        )


def _faults(found: dict[str, Any]) -> Iterator[str]:
    yield from (f"VIOLATION   {example}" for example in found["examples"])
    yield from (f"LIMIT       {example}" for example in found["limit_examples"])
    yield from (f"STALE       {stale}" for stale in found["stale"][:_STALE_SHOWN])
    yield from (f"ERROR       {count} x {name}" for name, count in found["errors"].items())
    yield from (f"ERROR       {example}" for example in found["error_examples"])
    yield from (f"NOT WHOLE   after {incident}" for incident in found["not_whole_in_time"])
