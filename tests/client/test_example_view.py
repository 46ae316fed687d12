"""What people see: plain lines where nothing can be redrawn, a live line on a terminal, tables on both."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from examples.fingerprint import view
from examples.fingerprint.report import Row, Verdict
from examples.fingerprint.view import Moment, Screen

MOMENT = Moment(
    phase="mix", done=0.5, lookups=12_345, rate=6_789.4, l1=0.5, l2=None, wrong=2, silence=1.26, master="redis-1"
)
ESCAPE = "\x1b"
Make = Callable[[bool], tuple[Screen, Callable[[], str]]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")

    def screen(terminal: bool) -> tuple[Screen, Callable[[], str]]:  # noqa: FBT001
        output = io.StringIO()
        return Screen(Console(file=output, force_terminal=terminal, width=80, highlight=False)), output.getvalue

    return screen


def test_in_a_pipe_there_are_plain_lines_only(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "PLAIN_EVERY", 0.0)
    screen, printed = make(False)
    with screen:
        screen.say("something [bold]happened[/bold]")
        screen.show(MOMENT)
    screen.table("A table", [Row("figure", "> 1", "2", Verdict.HOLDS, decides=True)])

    assert ESCAPE not in printed()
    assert "s  something [bold]happened[/bold]\n" in printed()
    assert "mix: 12,345 lookups   6,789/s  L1 50%  L2   -  wrong 2  last write 1.3 s ago  master redis-1\n" in printed()


def test_in_a_pipe_progress_does_not_flood(make: Make) -> None:
    screen, printed = make(False)
    with screen:
        for _ in range(100):
            screen.show(MOMENT)
    assert printed() == ""


def test_on_a_terminal_progress_is_redrawn_and_leaves_nothing_behind(make: Make) -> None:
    screen, printed = make(True)
    with screen:
        screen.show(MOMENT)
        screen.say("an event")
        screen.show(MOMENT)

    assert "12,345 lookups" in printed()
    assert ESCAPE in printed()
    after_the_last_progress = printed().rpartition("ago")[2]
    assert f"{ESCAPE}[2K" in after_the_last_progress  # the line is erased
    assert f"{ESCAPE}[?25h" in after_the_last_progress  # and the cursor is back


def test_a_table_shows_each_verdict_and_marks_those_that_do_not_decide(make: Make) -> None:
    screen, printed = make(False)
    rows = [
        Row("kept", "0", "0", Verdict.HOLDS, decides=True),
        Row("slow", "< 1 ms", "2 ms", Verdict.MISSED),
        Row("saved", "", "96 of 100", Verdict.NO_BAR),
        Row("unknown", "0", "-", Verdict.NOT_MEASURED, decides=True),
    ]
    screen.table("Promises", rows)

    cells = [[cell.strip() for cell in line.split("│")[1:5]] for line in printed().splitlines() if "│" in line]
    assert cells == [
        ["kept", "0", "0", "holds"],
        ["slow", "< 1 ms", "2 ms", "missed *"],
        ["saved", "", "96 of 100", ""],
        ["unknown", "0", "-", "not measured"],
    ]


def test_in_a_pipe_a_table_is_as_wide_as_it_needs(make: Make) -> None:
    screen, printed = make(False)
    screen.table("Wide", [Row("a figure with a long name", "a promise of many words", "x" * 40, Verdict.HOLDS)])
    line = next(line for line in printed().splitlines() if "a figure with a long name" in line)
    assert "a promise of many words" in line
    assert "x" * 40 in line


def test_rates_that_are_not_known_yet_are_dashes() -> None:
    blank = Moment(phase="mix", done=0, lookups=0, rate=0, l1=None, l2=None, wrong=0, silence=None, master=None)
    assert blank.words() == "0 lookups       0/s  L1   -  L2   -  wrong 0"
