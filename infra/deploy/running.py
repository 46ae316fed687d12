"""Runs the steps in their order, and stops at the first that fails, with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from infra.deploy.actions import Actions, Deployment
from infra.deploy.hit_rate import Counted
from infra.deploy.steps import Name, Step
from infra.deploy.waiting import Say
from infra.jobs.errors import JobError

State = Literal["done", "left out", "failed", "planned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a step: ``said`` is its result, or why it failed or was left out."""

    step: Name
    state: State
    said: str = ""
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of all steps, and the hit rate that was measured, if one was."""

    steps: list[Done] = field(default_factory=list)
    measured: Counted | None = None

    @property
    def failed(self) -> Done | None:
        """The step at which the deployment stopped."""
        return next((done for done in self.steps if done.state == "failed"), None)


def run(deployment: Deployment, planned: Iterable[Step], tell: Callable[[Done], None], say: Say) -> Report:
    """Carry out the steps; what a step does is said meanwhile, what became of it is told at its end."""
    report, actions = Report(), Actions(deployment, say)
    by_name = actions.by_name()
    for step in planned:
        if step.left_out:
            done = Done(step=step.name, state="left out", said=step.left_out)
        else:
            say(f"{step.name}: {step.does}")
            done = _one(step.name, by_name[step.name])
        report.steps.append(done)
        tell(done)
        if done.state == "failed":
            break
    report.measured = actions.measured
    return report


def _one(name: Name, action: Callable[[], str]) -> Done:
    began = time.monotonic()
    state: State = "done"
    try:
        said = action()
    except JobError as error:
        said, state = str(error), "failed"
    return Done(step=name, state=state, said=said, seconds=time.monotonic() - began)
