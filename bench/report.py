"""The result for people and for programs: a table, and JSON. Pure, apart from asking the machine who it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.bars import BARS
from bench.figures import Check, Limit, Outcome, Series, Verdict

PEERS: Final = (
    "redis", "hiredis", "uvloop", "cashews", "aiocache", "dogpile.cache", "cachetools", "theine", "cachebox",
    "valkey-glide",
)  # fmt: skip
Results = Mapping[str, Outcome]


def machine(server: str) -> dict[str, Any]:
    """Return what the figures depend on: processors, versions, and how busy the machine was."""
    return {
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "server": server,
        "packages": {name: version(name) for name in PEERS},
    }


def heading(about: Mapping[str, Any]) -> str:
    """Return the machine in one line."""
    processor = f"{about['cores']} cores ({about['cpu']}), load {about['load_average']} at the start"
    return f"{about['server']}, Python {about['python']}, {processor}"


def table(results: Results) -> str:
    """Return the table: for each bar its checks with verdicts, and below them every candidate's figure."""
    lines = []
    for name, outcome in results.items():
        lines += ["", f"{name}  {BARS[name].title}"]
        if outcome.skipped:
            lines.append(f"    skipped: {outcome.skipped}")
        lines += [f"    {_verdict_line(check)}" for check in outcome.checks]
        lines += [f"      {_peers_line(series)}" for series in outcome.series]
        lines += [f"      {note}" for note in outcome.notes]
    return "\n".join([*lines, "", _summary(results)])


def document(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything for JSON, with the figures of every round."""
    return {"machine": dict(about), "bars": {name: _bar(name, outcome) for name, outcome in results.items()}}


def missed(results: Results) -> list[str]:
    """Return the bars that were missed."""
    return [
        name
        for name, outcome in results.items()
        if any(check.verdict is Verdict.MISSED for check in outcome.checks)
    ]  # fmt: skip


def amount(value: float) -> str:
    """Return a figure with three digits that mean something."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _verdict_line(check: Check) -> str:
    limit = check.limit
    stretch = f"stretch {_bound(limit, limit.stretch)}" if limit.stretch is not None else ""
    spread = f"({amount(min(check.rounds))} to {amount(max(check.rounds))})" if len(check.rounds) > 1 else ""
    seen = f"{amount(check.seen)} {limit.unit}".strip()
    line = f"{check.verdict:<8} {check.what:<46} {seen:>14} {spread:<18} bar {_bound(limit, limit.bar):<12} {stretch}"
    return line.rstrip()


def _bound(limit: Limit, bar: float) -> str:
    return f"{'<=' if limit.at_most else '>='} {amount(bar)} {limit.unit}".strip()


def _peers_line(series: Series) -> str:
    figures = (f"{name} {amount(series.middle(name))}" for name in series.rounds)
    return f"{series.title}, {series.unit}: {' · '.join(figures)}"


def _summary(results: Results) -> str:
    verdicts = [check.verdict for outcome in results.values() for check in outcome.checks]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict)
    return f"{len(verdicts)} checks: {counts}. Loader and server share the cores of this machine."


def _bar(name: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "title": BARS[name].title,
        "skipped": outcome.skipped,
        "notes": list(outcome.notes),
        "checks": [
            {
                "what": check.what, "unit": check.limit.unit, "bar": check.limit.bar, "stretch": check.limit.stretch,
                "at_most": check.limit.at_most, "seen": check.seen, "rounds": list(check.rounds),
                "verdict": check.verdict.value,
            }
            for check in outcome.checks
        ],
        "series": [
            {"title": one.title, "unit": one.unit, "rounds": {key: list(took) for key, took in one.rounds.items()}}
            for one in outcome.series
        ],
    }  # fmt: skip


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines: Iterable[str] = info.read_text(encoding="utf-8").splitlines() if info.exists() else ()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
