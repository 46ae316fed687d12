"""Time that passes when the test says so."""

from __future__ import annotations

from cacheclient.clock import boottime


class FakeClock:
    """A clock for a cache, in seconds. It stands still: nothing expires unless the test lets it.

    Attributes:
        now: what the clock shows (if it runs: was set to); may be set, also backwards.
    """

    def __init__(self, now: float = 5000.0, *, running: bool = False) -> None:
        """Show ``now``; ``running``: and go on from there as real time does."""
        self.now = now
        self._began = boottime() if running else None

    def __call__(self) -> float:
        """Return the time."""
        return self.now if self._began is None else self.now + boottime() - self._began

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now += seconds
