"""What was measured, and what it is held against. Pure.

The promises are 200 -> 50 ms and 1,000 -> 5,000 requests a second. How fast a machine is decides about the
milliseconds; that the cache cuts the latency to a quarter and gives five times the throughput, under the same load on
the same machine, it must show anywhere. So those ratios decide, and right answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.fingerprint.report import Row, Verdict

if TYPE_CHECKING:
    from examples.fingerprint.service.endurance import Endured
    from examples.fingerprint.service.load import Load

LATENCY: Final = 0.050  # seconds
RATE: Final = 5_000.0  # requests a second
FASTER: Final = 200 / 50
MORE: Final = 5_000 / 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The same load without and with the cache."""

    title: str
    without: Load
    cached: Load


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the comparison: what was seen without and with the cache."""

    what: str
    without: str
    cached: str
    factor: str


def comparison(pairs: list[Pair]) -> list[Line]:
    """Return latencies and throughput side by side."""
    lines = []
    for pair in pairs:
        for name in ("p50", "p95", "p99"):
            before, after = getattr(pair.without, name), getattr(pair.cached, name)
            lines.append(Line(f"{pair.title}: {name.upper()}", _time(before), _time(after), _factor(before, after)))
        rates = pair.without.rate, pair.cached.rate
        lines.append(
            Line(f"{pair.title}: requests/s", f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", _factor(rates[1], rates[0]))
        )
    return lines


def promises(pair: Pair) -> list[Row]:
    """Return what the comparison under load is held against."""
    faster = pair.without.p95 / max(pair.cached.p95, 1e-9)
    more = pair.cached.rate / max(pair.without.rate, 1e-9)
    failed = sum(load.refused + load.broken for load in (pair.without, pair.cached))
    return [
        _row(
            "P95 without over with the cache", f">= {FASTER:g}x", f"{faster:,.0f}x", held=faster >= FASTER, decides=True
        ),
        _row("requests/s with over without it", f">= {MORE:g}x", f"{more:,.0f}x", held=more >= MORE, decides=True),
        _row("P95 with the cache", f"< {LATENCY * 1000:g} ms", _time(pair.cached.p95), held=pair.cached.p95 < LATENCY),
        _row("requests/s with the cache", f"> {RATE:,.0f}", f"{pair.cached.rate:,.0f}", held=pair.cached.rate > RATE),
        _row("requests that failed", "0", f"{failed:,}", held=failed == 0, decides=True),
    ]


def endurance(seen: Endured) -> list[Row]:
    """Return what the run with the failover is held against."""
    requests, load = seen.load.requests + seen.reads, seen.load
    failed = load.refused + load.broken + seen.failed
    away = "-" if seen.without_writes is None else f"{seen.without_writes:.1f} s without acknowledged changes"
    return [
        _row("reads that failed", "0", f"{failed:,} of {requests:,}", held=failed == 0 and requests > 0, decides=True),
        _row(
            "wrong values found", "0", f"{seen.wrong:,} of {seen.reads:,} looked at",
            held=seen.wrong == 0 and seen.reads > 0, decides=True,
        ),
        _row(
            "another master within the run", "yes", f"{seen.masters[0]} -> {seen.masters[1]}, {away}",
            held=seen.masters[1] not in ("", seen.masters[0]), decides=True,
        ),
        Row("requests/s over the whole run", "", f"{load.rate:,.0f}, P99 {_time(load.p99)}", Verdict.NO_BAR),
        Row("changes made", "", f"{seen.changes:,}, of which Redis had {seen.acknowledged:,} at once", Verdict.NO_BAR),
    ]  # fmt: skip


def _row(what: str, promise: str, seen: str, *, held: bool, decides: bool = False) -> Row:
    return Row(what, promise, seen, Verdict.HOLDS if held else Verdict.MISSED, decides)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 0.001 else f"{seconds * 1e3:.3g} ms"  # noqa: PLR2004  one millisecond


def _factor(larger: float, smaller: float) -> str:
    return f"{larger / max(smaller, 1e-9):,.1f}x"
