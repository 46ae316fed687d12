"""One phase at a time: give the order, listen until it is done, show how it goes, and merge what was counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Final

from cacheclient.stats import Stats
from examples.fingerprint.checker import Findings
from examples.fingerprint.crew import Ended
from examples.fingerprint.messages import READY, REPORT_EVERY, Order, Play, ReaderReport, WriterReport
from examples.fingerprint.report import Traffic
from examples.fingerprint.view import Moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from examples.fingerprint.crew import Crew
    from examples.fingerprint.view import Screen
    from examples.fingerprint.watch import Watch

WRITER: Final = "writer"
HALT_SECONDS: Final = 20.0  # for the last answers of a phase, the writer's read-back included


@dataclass(slots=True)
class Phase:
    """What is known of the phase that runs, in monotonic seconds."""

    play: Play
    began: float = field(default_factory=time.monotonic)
    halted: float | None = None
    readers: dict[str, ReaderReport] = field(default_factory=dict)
    writer: WriterReport | None = None
    _shown: tuple[float, int] = (0.0, 0)

    @property
    def elapsed(self) -> float:
        """Seconds of traffic so far."""
        return (self.halted or time.monotonic()) - self.began

    @property
    def due(self) -> bool:
        """Whether it is time to show the next moment."""
        return time.monotonic() - self._shown[0] >= REPORT_EVERY

    def hear(self, name: str, report: ReaderReport | WriterReport) -> None:
        """Take a report; what is left over from the phase before is ignored."""
        if report.phase != self.play.phase:
            return
        if isinstance(report, ReaderReport):
            self.readers[name] = report
        else:
            self.writer = report

    def written_since(self, when: float) -> bool:
        """Whether a ledger write was acknowledged after ``when``, in monotonic seconds."""
        last = self.writer.ledger.last if self.writer else None
        return last is not None and last > when

    def traffic(self) -> Traffic:
        """Return what all readers counted."""
        findings = reduce(Findings.plus, (report.findings for report in self.readers.values()), Findings())
        stats = Stats.merge(report.stats for report in self.readers.values()) if self.readers else None
        return Traffic(seconds=self.elapsed, stats=stats, findings=findings)

    def moment(self, master: str | None) -> Moment:
        """Return the state to be shown; the rate is that since the moment before."""
        now, traffic = time.monotonic(), self.traffic()
        lookups = traffic.stats.lookups if traffic.stats else 0
        before, then = self._shown if self._shown[0] else (self.began, 0)
        self._shown = now, lookups
        last = self.writer.ledger.last if self.writer else None
        return Moment(
            phase=self.play.phase,
            done=None if self.play.lookups is None else lookups / self.play.lookups,
            lookups=lookups,
            rate=(lookups - then) / max(now - before, REPORT_EVERY / 2),
            l1=traffic.stats.l1.hit_rate if traffic.stats else None,
            l2=traffic.stats.l2.hit_rate if traffic.stats else None,
            wrong=traffic.findings.wrong,
            silence=None if last is None else now - last,
            master=master,
        )


class Stage:
    """Runs phases with a crew. ``notes`` collects what went otherwise than planned."""

    def __init__(self, crew: Crew, screen: Screen, watch: Watch) -> None:
        self.notes: list[str] = []
        self._crew = crew
        self._screen = screen
        self._watch = watch
        self._ready: set[str] = set()
        self._known_dead: AbstractSet[str] = set()

    @property
    def readers(self) -> list[str]:
        """Names of the readers that have not ended."""
        return [name for name in self._crew.names if name != WRITER]

    @property
    def has_writer(self) -> bool:
        """Whether the writer has not ended."""
        return WRITER in self._crew.names

    def gather(self, limit: float) -> None:
        """Wait until all processes are ready.

        Raises:
            ChildProcessError: if all readers have ended; the text says how.
            TimeoutError: if a process is not ready within ``limit`` seconds.
        """
        deadline = time.monotonic() + limit
        while late := set(self._crew.names) - self._ready:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready within {limit:g} s: {', '.join(sorted(late))}")
            self._listen(None)
            if not self.readers:
                raise ChildProcessError(self.notes[-1])

    def begin(self, play: Play) -> Phase:
        """Start a phase."""
        self._crew.order(play)
        return Phase(play)

    def go_on(self, phase: Phase, until: Callable[[], bool], limit: float) -> bool:
        """Listen until ``until`` holds; return whether it did within ``limit`` seconds and before all readers ended."""
        deadline = time.monotonic() + limit
        while not until():
            if time.monotonic() > deadline or not self.readers:
                return False
            self._listen(phase)
        return True

    def end(self, phase: Phase) -> Traffic:
        """Halt a phase, wait for the last reports, and return the traffic."""
        phase.halted = time.monotonic()
        self._crew.order(Order.HALT)
        deadline = phase.halted + HALT_SECONDS
        while not self._all_finished(phase) and time.monotonic() < deadline:
            self._listen(phase)
        return phase.traffic()

    def say(self, text: str) -> None:
        """Print a line about what the show does."""
        self._screen.say(text)

    def note(self, text: str) -> None:
        """Print a line about something unplanned, and keep it for the end."""
        self.notes.append(text)
        self._screen.say(text, "yellow")

    def finished(self, phase: Phase) -> bool:
        """Whether all readers that are left have played to the end."""
        return all(name in phase.readers and phase.readers[name].finished for name in self.readers)

    def _all_finished(self, phase: Phase) -> bool:
        writer_done = phase.writer is not None and phase.writer.finished
        return self.finished(phase) and (writer_done or not self.has_writer)

    def _listen(self, phase: Phase | None) -> None:
        for name, message in self._crew.messages(REPORT_EVERY):
            if isinstance(message, Ended):
                self.note(f"{name} has ended: {message.reason}")
            elif message == READY:
                self._ready.add(name)
            elif phase is not None and isinstance(message, (ReaderReport, WriterReport)):
                phase.hear(name, message)
        dead = self._watch.dead
        for name in dead.keys() - self._known_dead:
            self.note(f"{name} has ended: {dead[name]}")
        self._known_dead = dead.keys()
        if phase is not None and phase.due:
            self._screen.show(phase.moment(self._watch.master))
