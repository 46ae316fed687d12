"""The table of what was promised and what was seen, printed at the end of a run on a cluster."""

from __future__ import annotations

from collections.abc import Callable

import pytest

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()

Record = Callable[[str, str, str], None]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Return a function that adds a row: what was done, what is promised, what was seen."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda what, promise, seen: rows.append((what, promise, seen))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    rows = config.stash.get(ROWS, [])
    if rows:
        table = [("on the cluster", "promise", "seen"), *rows]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        terminalreporter.section("promises")
        for row in table:
            terminalreporter.line(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
