"""What people see: a live line on a terminal, plain lines in a pipe or a file, and the tables at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.fingerprint.report import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from examples.fingerprint.report import Row

PLAIN_EVERY: Final = 5.0  # seconds between two lines of progress where nothing can be redrawn
PLAIN_WIDTH: Final = 118
_STYLES: Final = {
    Verdict.HOLDS: "bold green",
    Verdict.MISSED: "bold red",
    Verdict.NOT_MEASURED: "bold yellow",
    Verdict.NO_BAR: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The state of a phase, to be shown.

    Attributes:
        phase: its name.
        done: share that is done, 0 to 1; None if that depends on events.
        lookups: lookups so far.
        rate: lookups per second since the moment before.
        l1, l2: hit rates so far; None without lookups.
        wrong: wrong values found so far.
        silence: seconds since the last acknowledged write; None without one.
        master: the node that the Sentinels name; None if none is known.
    """

    phase: str
    done: float | None
    lookups: int
    rate: float
    l1: float | None
    l2: float | None
    wrong: int
    silence: float | None
    master: str | None

    def words(self) -> str:
        """Return the figures in one line."""

        def share(rate: float | None) -> str:
            return "  -" if rate is None else f"{rate:3.0%}"

        silence = "" if self.silence is None else f"  last write {self.silence:.1f} s ago"
        return (
            f"{self.lookups:,} lookups {self.rate:>7,.0f}/s  L1 {share(self.l1)}  L2 {share(self.l2)}  "
            f"wrong {self.wrong}{silence}"
        )


class Screen:
    """Writes to a console; as a context manager it keeps the live line while it is open."""

    def __init__(self, console: Console | None = None) -> None:
        """Use ``console``, or one on standard output: colours and redrawing only where that is a terminal."""
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = max(PLAIN_WIDTH, self._console.width)
        self._began = self._last_plain = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print one line with the seconds since the start; it stays."""
        self._console.print(Text(f"{self._elapsed():6.1f} s  "), Text(text, style), sep="", soft_wrap=True)

    def show(self, moment: Moment) -> None:
        """Show how far a phase is: redrawn on a terminal, else a line from time to time."""
        if self._console.is_terminal:
            self._live.update(self._drawn(moment), refresh=True)
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY:
            self._last_plain = time.monotonic()
            self.say(f"{moment.phase}: {moment.words()}  master {moment.master or 'unknown'}")

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Print a table of figures, promises and verdicts."""
        table = Table("", "promise", "seen", "verdict", title=title, title_justify="left", pad_edge=False)
        for row in rows:
            verdict = Text(row.verdict + ("" if row.decides or row.verdict is Verdict.NO_BAR else " *"))
            verdict.stylize(_STYLES[row.verdict])
            table.add_row(row.what, row.promise, row.seen, verdict)
        self._console.print()
        self._console.print(table)

    def note(self, text: str) -> None:
        """Print text without a time."""
        self._console.print(Text(text))

    def _drawn(self, moment: Moment) -> Group:
        bar = ProgressBar(completed=moment.done * 100, width=30) if moment.done is not None else Text("")
        head = Table.grid(padding=(0, 2))
        master = Text(f"master {moment.master or 'unknown'}", "" if moment.master else "bold red")
        head.add_row(Text(f"{self._elapsed():6.1f} s", "dim"), Text(moment.phase, "bold"), master, bar)
        return Group(head, Text(f"          {moment.words()}", no_wrap=True))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
