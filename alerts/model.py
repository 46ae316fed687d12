"""The parts of a rule file: recordings, alerts, and signals that become both an alert and a panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from alerts.scope import Scope
from alerts.thresholds import Thresholds
from cacheclient.contract import Loss

Expression = Callable[[Scope], str]
Condition = Callable[[Scope, Thresholds], str]


class Severity(StrEnum):
    """Values of the ``severity`` label: wake someone, look today, know about it."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Recording:
    """A series computed at every evaluation, named ``level:metric:operations`` as Prometheus advises."""

    name: str
    expr: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alerting rule.

    ``hold`` is the Prometheus duration (``for``) the condition must stand before the alert fires. ``summary`` carries
    no values, so that notifications group; ``description`` is a Prometheus template. ``board`` is a key of
    ``contract.DASHBOARD_UIDS``: the dashboard that shows the cause. ``silent`` says, for each way in which the series
    end and no other alert covers (``coverage.COVERED``), why this one may say nothing then.
    """

    name: str
    condition: Condition
    severity: Severity
    summary: str
    description: str
    board: str
    hold: str = "0s"
    silent: Mapping[Loss, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a panel needs to draw a signal: ``limit`` is None where no figure separates good from bad."""

    title: str
    description: str
    unit: str
    expr: str
    legend: str
    limit: float | None
    good: Literal["below", "above"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An observable, declared once.

    ``unit`` is a Grafana unit id. ``limit`` picks the figure that separates good from bad, and ``good`` says which side
    is healthy. With ``record``, rules read the recorded series of that name, while panels compute the formula, because
    only the formula keeps the labels that dashboard variables select.
    """

    title: str
    description: str
    unit: str
    expr: Expression
    legend: str = "{{pod}}"
    limit: Callable[[Thresholds], float] | None = None
    good: Literal["below", "above"] = "below"
    record: str = ""

    def panel(self, scope: Scope, limits: Thresholds) -> Reading:
        """Return the signal as a panel draws it."""
        limit = None if self.limit is None else self.limit(limits)
        return Reading(self.title, self.description, self.unit, self.expr(scope), self.legend, limit, self.good)

    def beyond(self, scope: Scope, limits: Thresholds) -> str:
        """Return the condition that the signal is on the unhealthy side of its limit.

        Raises:
            ValueError: if the signal has no limit.
        """
        if self.limit is None:
            raise ValueError(f"signal {self.title!r} has no limit: an alert on it needs its own condition")
        value = scope.recorded(self.record) if self.record else self.expr(scope)
        return f"{value} {'>' if self.good == 'below' else '<'} {self.limit(limits)}"

    def rule(
        self, name: str, *, severity: Severity, summary: str, description: str, board: str, hold: str = "0s",
        silent: Mapping[Loss, str] | None = None,
    ) -> Alert:  # fmt: skip
        """Return the alert that fires while the signal stays beyond its limit for ``hold``."""
        return Alert(
            name=name,
            condition=self.beyond,
            severity=severity,
            summary=summary,
            description=description,
            board=board,
            hold=hold,
            silent=silent or {},
        )

    def recording(self) -> Recording:
        """Return the recording rule of this signal.

        Raises:
            ValueError: if the signal is not recorded.
        """
        if not self.record:
            raise ValueError(f"signal {self.title!r} is not recorded: it has no name for the series")
        return Recording(self.record, self.expr)
