"""What is done to the master while traffic runs, and what the clients see of it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from examples.fingerprint.report import CRASH_MARGIN, HANDOVER_SECONDS, Failure
from infra.local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from examples.fingerprint.messages import Play
    from examples.fingerprint.stage import Phase, Stage
    from examples.fingerprint.watch import Nodes, Watch

HEALTHY_SECONDS: Final = 30.0  # for the set to have a master that takes writes, before anything is done to it
PATIENCE: Final = 30.0  # seconds beyond the promise, to tell late from never
TOLD_SECONDS: Final = 2.0  # for the Sentinels' new answer to be heard, once writes flow again
STEP_SECONDS: Final = 60.0  # for a stop, or for a node to be ready again
READY_PAUSE: Final = 0.2
LATE: Final = 0.5  # seconds after an event in which an acknowledgement may still be from before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something done to the master, and the promise about it.

    Attributes:
        name: for people.
        act: does it to the node of this name.
        allowed: seconds without acknowledged writes, at most.
        lossless: whether every acknowledged write must be kept.
    """

    name: str
    act: Callable[[str], object]
    allowed: float
    lossless: bool


def events(nodes: Nodes, down_after: float) -> list[Event]:
    """Return what the show does: a planned stop, then a SIGKILL; ``down_after`` in seconds is the Sentinels'."""
    return [
        Event(name="planned stop", act=nodes.stop, allowed=HANDOVER_SECONDS, lossless=True),
        Event(name="SIGKILL", act=nodes.kill, allowed=down_after + CRASH_MARGIN, lossless=False),
    ]


class Drill:
    """One event, from calm to calm, with traffic all the time."""

    def __init__(self, stage: Stage, watch: Watch, nodes: Nodes, event: Event, calm: float) -> None:
        """``calm``: seconds of traffic before the event and after its end."""
        self._stage = stage
        self._watch = watch
        self._nodes = nodes
        self._event = event
        self._calm = calm

    def run(self, play: Play) -> Failure:
        """Do the event to the master, wait until writes are acknowledged again, start the node again, and count."""
        phase, event = self._stage.begin(play), self._event
        reason, at = self._obstacle(phase), None
        if not reason and (master := self._watch.master) is not None:
            self._stage.say(f"{event.name} of {master}, the master")
            at = time.monotonic()
            reason = self._strike(phase, master)
        traffic = self._stage.end(phase)
        return Failure(
            event=event.name, allowed=event.allowed, lossless=event.lossless, at=None if reason else at,
            ledger=phase.writer.ledger if phase.writer else None, findings=traffic.findings, reason=reason,
        )  # fmt: skip

    def _strike(self, phase: Phase, master: str) -> str:
        """Do the event, wait for writes, and give the set its node back; return what went wrong with the event."""
        with ExitStack() as stack:
            # Whatever happens, Ctrl-C too: does nothing if the node runs again by then.
            stack.callback(self._nodes.start, master)
            # Steps take seconds, in which the traffic must be listened to.
            aside = stack.enter_context(ThreadPoolExecutor(1))
            reason = self._do(aside.submit(self._event.act, master), phase)
            self._await_writes(phase, master)
            self._stage.say(f"{master} is started again, to join as a replica")
            self._do(aside.submit(_bring_back, self._nodes, master), phase)
        return reason

    def _obstacle(self, phase: Phase) -> str:
        """Let the traffic run; return why nothing can be done to the master, or an empty text."""

        def hopeless() -> str:
            if not self._stage.has_writer:
                return "the writer has ended, so no write could be measured"
            # A master without a replica refuses writes (min-replicas-to-write), so an event takes all nodes there are.
            ended = [name for name in self._nodes.redis_nodes if name in self._watch.dead]
            return f"{' and '.join(ended)} ended; one node must take over and one must follow it" if ended else ""

        def healthy() -> bool:
            return phase.written_since(phase.began) and self._watch.master is not None

        self._stage.go_on(phase, lambda: bool(hopeless()) or healthy(), HEALTHY_SECONDS)
        reason = hopeless() or ("" if healthy() else f"no master took writes within {HEALTHY_SECONDS:g} s")
        if reason:
            self._stage.note(f"{self._event.name} is left out: {reason}")
        else:
            self._stage.go_on(phase, lambda: False, self._calm)
        return reason

    def _do(self, step: Future[object], phase: Phase) -> str:
        """Listen to the traffic until ``step`` is done; return what went wrong with it."""
        self._stage.go_on(phase, step.done, STEP_SECONDS)
        try:
            step.result()
        except LocalError as error:
            self._stage.note(str(error))
            return str(error)
        return ""

    def _await_writes(self, phase: Phase, old: str) -> None:
        struck, patience = time.monotonic() + LATE, self._event.allowed + PATIENCE
        self._stage.go_on(phase, lambda: phase.written_since(struck) or not self._stage.has_writer, patience)
        if not phase.written_since(struck):
            self._stage.note(f"no write was acknowledged any more after the {self._event.name}")
            return
        self._stage.go_on(phase, lambda: self._watch.master not in {None, old}, TOLD_SECONDS)
        gap = phase.writer.ledger.gap if phase.writer else 0.0
        self._stage.say(f"writes are acknowledged again, after {gap:.1f} s without; {self._watch.master} is master")
        self._stage.go_on(phase, lambda: False, self._calm)


def _bring_back(nodes: Nodes, name: str) -> None:
    nodes.start(name)
    deadline = time.monotonic() + STEP_SECONDS
    while not nodes.ready(name):
        if time.monotonic() > deadline:
            raise LocalError(f"{name} was started again and is not ready after {STEP_SECONDS:g} s")
        time.sleep(READY_PAUSE)
