"""Time that passes when the test says so."""

from __future__ import annotations


class FakeClock:
    """A clock for a cache, in seconds. It stands still: nothing expires unless the test lets it.

    Attributes:
        now: what the clock shows; may be set, also backwards.
    """

    def __init__(self, now: float = 5000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.now += seconds
