"""How far a job is: a bar where a person watches, lines in a log elsewhere. Always on standard error."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import Final, Self, TextIO

from infra.quantities import MIB

_WIDTH: Final = 24
_BAR_EVERY: Final = 0.1
_LINE_EVERY: Final = 10.0


def say(text: str, stream: TextIO | None = None) -> None:
    """Write one line: with the time in a log, without where a person reads."""
    stream = stream or sys.stderr
    stamp = "" if stream.isatty() else f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} "
    stream.write(f"{stamp}{text}\n")
    stream.flush()


class Progress:
    """The progress of one step in bytes. ``total`` is 0 where it is not known. Use it as a context manager.

    ``advance`` may be called from several threads (the S3 library does): a lost update shifts the bar, nothing else.
    """

    def __init__(self, step: str, total: int = 0, stream: TextIO | None = None) -> None:
        self.step, self.total, self.done = step, total, 0
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._live:
            self._stream.write("\r\033[K")
        if kind is None:
            seconds = time.monotonic() - self._began
            say(f"{self.step}: {mib(self.done)} in {seconds:.1f} s", self._stream)

    def advance(self, count: int) -> None:
        """Add ``count`` bytes."""
        self.reach(self.done + count)

    def reach(self, done: int) -> None:
        """Set the bytes done so far."""
        self.done = done
        now = time.monotonic()
        if now - self._shown < (_BAR_EVERY if self._live else _LINE_EVERY):
            return
        self._shown = now
        if self._live:
            self._stream.write(f"\r\033[K{self.text()}")
            self._stream.flush()
        else:
            say(self.text(), self._stream)

    def text(self) -> str:
        """Return the bar, with the rate since the beginning."""
        rate = self.done / max(time.monotonic() - self._began, 1e-3)
        if not self.total:
            return f"{self.step}: {mib(self.done)}, {mib(rate)}/s"
        share = min(self.done / self.total, 1.0)
        filled = round(share * _WIDTH)
        bar = "#" * filled + "-" * (_WIDTH - filled)
        return f"{self.step} [{bar}] {share:4.0%} of {mib(self.total)}, {mib(rate)}/s"


def mib(count: float) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / MIB:,.1f} MiB" if count >= MIB / 10 else f"{count / 1024:,.1f} KiB"
