"""How long writes are away after a failure, as ``make drill`` measured it: the table of docs/ha.md, drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handbook.drawings.svg import Drawing

TABLE: Final = Path(__file__).resolve().parents[2] / "docs" / "ha.md"
_ROW: Final = re.compile(
    r"^\| ([a-z-]+)[^|]*\| (\d+) s \| (\d+) \| (\d+) s \| ([\d.]+) s \| ([\d.]+) s \|$", re.MULTILINE
)
WITHOUT_WRITES: Final = ("handover", "crash", "node-lost", "hung", "sentinel-lost")
_LEFT: Final = 250
_RIGHT: Final = 870
_HIGH: Final = 34


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table; seconds."""

    failure: str
    down_after: int
    runs: int
    limit: int
    median: float
    worst: float


def measured(text: str) -> list[Measured]:
    """Return the rows that say how long writes were away."""
    found = [
        Measured(name, int(down_after), int(runs), int(limit), float(median), float(worst))
        for name, down_after, runs, limit, median, worst in _ROW.findall(text)
    ]
    return [row for row in found if row.failure in WITHOUT_WRITES]


def draw() -> str:
    """Return the drawing."""
    rows = measured(TABLE.read_text(encoding="utf-8"))
    most = max(row.limit for row in rows)
    sheet = Drawing(930, 74 + _HIGH * len(rows), "Seconds without writes after a failure")
    for second in range(0, most + 1, 5):
        x = _x(second, most)
        sheet.rule(x, 44, x, sheet.height - 22)
        sheet.text(x, sheet.height - 6, f"{second} s", "quiet", "middle")
    runs = sorted({row.runs for row in rows})
    _legend(sheet, " to ".join(str(each) for each in (runs[0], *runs[1:][-1:])))
    for number, row in enumerate(rows):
        y = 52 + _HIGH * number
        sheet.text(20, y + 15, row.failure, "title")
        sheet.text(130, y + 15, f"down after {row.down_after} s", "quiet")
        sheet.bar(_LEFT, y, _x(row.limit, most) - _LEFT, 22, "bar")
        sheet.bar(_LEFT, y + 3, _x(row.worst, most) - _LEFT, 16, "pale")
        sheet.bar(_LEFT, y + 6, _x(row.median, most) - _LEFT, 10, "solid")
        sheet.text(_x(row.limit, most) + 8, y + 15, f"{row.median:g} s", "quiet")
    return sheet.svg()


def _x(seconds: float, most: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * seconds / most


def _legend(sheet: Drawing, runs: str) -> None:
    for x, kind, words in ((250, "solid", "median"), (340, "pale", f"worst of {runs} runs"), (500, "bar", "promise")):
        sheet.bar(x, 14, 22, 12, kind)
        sheet.text(x + 28, 24, words, "quiet")
