"""The figures, where each is found in a command's JSON, and whether it holds. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from examples.fingerprint.report import (
    COMBINED_HIT_RATE,
    L1_HIT_RATE,
    L2_HIT_RATE,
    LOOKUP_P95,
    LOSS_WINDOW,
    REQUESTS_PER_SECOND,
    Verdict,
)
from tests.acceptance.commands import ALERTS, BOARDS, CONSISTENCY, CRASH, FAILOVER, SERVICE, SHOW

API_P95: Final = 0.1  # seconds, for an answer from the cache
FAILOVER_SECONDS: Final = 60.0
CONSISTENT: Final = 0.9999
ALERT_RULES: Final = 12
DASHBOARDS: Final = 6
# Reads without a fault show a share of faults below 3 / reads, at 95 % confidence.
ENOUGH_READS: Final = round(3 / (1 - CONSISTENT))

Found = Callable[[Any], float]


class NotMeasuredError(Exception):
    """A command's JSON does not tell the figure; the text says why."""


@dataclass(frozen=True, slots=True)
class Bar:
    """``>``, ``<`` or ``>=`` a figure, and how figures of this kind are written."""

    relation: str
    limit: float
    write: Callable[[float], str]

    def __str__(self) -> str:
        return f"{self.relation} {self.write(self.limit)}"

    def reached(self, seen: float) -> bool:
        """Whether ``seen`` is on the good side; NaN is not."""
        return {">": seen > self.limit, "<": seen < self.limit, ">=": seen >= self.limit}[self.relation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One acceptance figure: its name in ``--only``, its promise, and the command in whose JSON ``find`` finds it.

    ``note`` says what else has to be known to judge it; an empty text if there is nothing.
    """

    name: str
    what: str
    bar: Bar
    command: str
    find: Found
    note: Callable[[Any], str] = lambda _: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was seen of one figure; ``value`` is None, and ``reason`` says why, if not, else it may note more."""

    figure: Figure
    verdict: Verdict
    value: float | None = None
    reason: str = ""

    @property
    def seen(self) -> str:
        """The figure for people."""
        return "-" if self.value is None else self.figure.bar.write(self.value)


def judge(figure: Figure, document: Any, reason: str = "") -> Row:
    """Hold a command's JSON against the promise. ``document`` is None if there is none, which ``reason`` explains."""
    if document is None:
        return Row(figure=figure, verdict=Verdict.NOT_MEASURED, reason=reason or "the command gave no JSON")
    try:
        value = float(figure.find(document))
    except NotMeasuredError as error:
        return Row(figure=figure, verdict=Verdict.NOT_MEASURED, reason=str(error))
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        lacking = f"the command's JSON does not tell it: {type(error).__name__}: {error}"
        return Row(figure=figure, verdict=Verdict.NOT_MEASURED, reason=lacking)
    held = figure.bar.reached(value)
    verdict = Verdict.HOLDS if held else Verdict.MISSED
    return Row(figure=figure, verdict=verdict, value=value, reason=figure.note(document))


def share(value: float) -> str:
    """Write a share of 1 in percent, with the digits that keep 99.99 % apart from more."""
    return f"{value * 100:.{4 if value > 0.99 else 1}f}".rstrip("0").rstrip(".") + " %"


def duration(seconds: float) -> str:
    """Write seconds, or milliseconds below one tenth."""
    return f"{seconds * 1000:.3g} ms" if 0 < seconds <= API_P95 else f"{seconds:.3g} s"


def number(value: float) -> str:
    """Write a count."""
    return f"{value:,.0f}"


def _hit_rate(tier: str) -> Found:
    return lambda show: show["mix"][tier]["hit_rate"]


def _loss(show: Any) -> float:
    """Return how many seconds before the kill the first lost write had been acknowledged; 0 if none was lost."""
    ledger = show["ledgers"][CRASH]
    if not ledger["acknowledged"] or ledger["lost"] is None or ledger["at"] is None:
        raise NotMeasuredError("no write was acknowledged and read back around the kill of the master")
    return float(ledger["at"] - ledger["oldest_lost"]) if ledger["lost"] else 0.0


def _served(example: Any) -> Any:
    """Return the load with the cache; its other half says nothing about a hit."""
    load = example["pairs"][-1]["cached"]
    if not load["requests"] or load["refused"] or load["broken"]:
        raise NotMeasuredError(f"{load['refused'] + load['broken']} of {load['requests']} requests failed")
    return load


def _failover(drill: Any) -> float:
    (promise,) = drill
    if not promise["seconds"] or promise["problems"]:
        raise NotMeasuredError("; ".join(promise["problems"]) or "no run was finished")
    return float(max(promise["seconds"]))


def _right(faults: int, reads: int) -> float:
    if reads < ENOUGH_READS:
        raise NotMeasuredError(f"{reads:,} reads could have been stale; {ENOUGH_READS:,} can show it")
    return 1 - faults / reads


def _consistent(fuzz: Any) -> float:
    """Return the share of reads that found nothing stale, not even what a killed master had acknowledged and lost."""
    excused = sum(mode["excused"] for mode in fuzz["modes"].values())
    return _right(fuzz["violations"] + excused, fuzz["checked"])


def _undone(fuzz: Any) -> str:
    """Say how many reads found what a killed master had taken with it: the fuzz kills more masters than nature does."""
    excused = sum(mode["excused"] for mode in fuzz["modes"].values())
    if not excused:
        return ""
    return (
        f"{fuzz['unplanned']} masters were killed or cut off; {excused:,} of {fuzz['checked']:,} reads found what those"
        f" had acknowledged and lost. Without these it is {share(1 - fuzz['violations'] / fuzz['checked'])}; durable"
        " invalidations lose nothing"
    )


def _alerts(rules: Any) -> float:
    return len({rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule})


def _boards(written: Any) -> float:
    return len({board["uid"] for board in written if board["panels"]})


FIGURES: Final = (
    Figure(name="l1", what="L1 hit rate", bar=Bar(">", L1_HIT_RATE, share), command=SHOW, find=_hit_rate("l1")),
    Figure(
        name="l2", what="L2 hit rate, after L1", bar=Bar(">", L2_HIT_RATE, share), command=SHOW, find=_hit_rate("l2")
    ),
    Figure(
        name="combined", what="combined hit rate", bar=Bar(">", COMBINED_HIT_RATE, share), command=SHOW,
        find=_hit_rate("combined"),
    ),
    Figure(
        name="lookup", what="lookup, P95", bar=Bar("<", LOOKUP_P95, duration), command=SHOW,
        find=lambda show: show["steady"]["p95_seconds"],
    ),
    Figure(
        name="api", what="API on a hit, P95 under full load", bar=Bar("<", API_P95, duration), command=SERVICE,
        find=lambda example: _served(example)["p95"],
    ),
    Figure(
        name="throughput", what="API requests per second", bar=Bar(">", REQUESTS_PER_SECOND, number), command=SERVICE,
        find=lambda example: _served(example)["requests"] / _served(example)["seconds"],
    ),
    Figure(
        name="failover", what="failover: no writes for", bar=Bar("<", FAILOVER_SECONDS, duration), command=FAILOVER,
        find=_failover,
    ),
    Figure(
        name="loss", what="acknowledged writes lost, of the last", bar=Bar("<", LOSS_WINDOW, duration), command=SHOW,
        find=_loss,
    ),
    Figure(
        name="consistency", what="consistent reads, failure upon failure", bar=Bar(">", CONSISTENT, share),
        command=CONSISTENCY, find=_consistent, note=_undone,
    ),
    Figure(
        name="values", what="right values, through a stop and a kill", bar=Bar(">", CONSISTENT, share), command=SHOW,
        find=lambda show: _right(show["reads"]["wrong"], show["reads"]["changed"]),
    ),
    Figure(name="alerts", what="alert rules", bar=Bar(">=", ALERT_RULES, number), command=ALERTS, find=_alerts),
    Figure(name="dashboards", what="dashboards", bar=Bar(">=", DASHBOARDS, number), command=BOARDS, find=_boards),
)  # fmt: skip
