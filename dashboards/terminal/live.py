"""The view that refreshes itself, or is printed once."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live

from alerts.thresholds import Thresholds
from dashboards.terminal.screen import draw
from dashboards.terminal.snapshot import Snapshot


def show(take: Callable[[], Snapshot], *, every: float, once: bool, as_json: bool) -> int:
    """Show snapshots until interrupted, one every ``every`` seconds; return the exit code.

    With ``once``, and wherever the output is no terminal, one is printed; 1 if it could not be taken.
    """
    console, limits = Console(), Thresholds()
    if as_json or once or not console.is_terminal:
        taken = take()
        console.print_json(json.dumps(dataclasses.asdict(taken))) if as_json else console.print(draw(taken, limits))
        return int(bool(taken.problem))
    with Live(draw(take(), limits), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(draw(take(), limits), refresh=True)
