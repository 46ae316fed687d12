"""What Prometheus says of each alert while a failure comes and goes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from dashboards.preview.results import Prometheus, QueryError


@dataclass(slots=True)
class Sighting:
    """When one alert was first seen in each state, in seconds after the cause began; ``resolved`` after its end."""

    alert: str
    pending: float | None = None
    firing: float | None = None
    resolved: float | None = None
    severity: str = ""
    said: str = ""


@dataclass(slots=True)
class Watch:
    """Looks at the alerts of one Prometheus."""

    prometheus: Prometheus
    sightings: dict[str, Sighting] = field(default_factory=dict)
    unexpected: set[str] = field(default_factory=set)
    _began: float = 0.0
    _ended: float = 0.0

    def begin(self, alerts: tuple[str, ...]) -> None:
        """Expect these alerts from now on."""
        self.sightings = {name: Sighting(name) for name in alerts}
        self.unexpected, self._began, self._ended = set(), time.monotonic(), 0.0

    def end_of_cause(self) -> None:
        """Count the time to resolve from now on."""
        self._ended = time.monotonic()

    def states(self) -> dict[str, dict[str, Any]]:
        """Return the alerting rules by name; none if Prometheus does not answer now."""
        try:
            groups = self.prometheus.rules()
        except QueryError:
            return {}
        return {rule["name"]: rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"}

    def look(self) -> None:
        """Take note of the states now."""
        now = time.monotonic()
        for name, rule in self.states().items():
            seen = self.sightings.get(name)
            if seen is None:
                if rule["state"] == "firing":
                    self.unexpected.add(name)
                continue
            if rule["state"] == "pending" and seen.pending is None:
                seen.pending = now - self._began
            elif rule["state"] == "firing" and seen.firing is None:
                seen.firing, seen.severity = now - self._began, rule["labels"]["severity"]
                seen.said = rule["alerts"][0]["annotations"]["description"] if rule["alerts"] else ""
            elif rule["state"] == "inactive" and seen.firing is not None and self._ended and seen.resolved is None:
                seen.resolved = now - self._ended

    def all_fired(self) -> bool:
        """Look, and say whether every expected alert has fired."""
        self.look()
        return not self.unfired()

    def all_resolved(self) -> bool:
        """Look, and say whether every alert that fired has resolved."""
        self.look()
        return not self.unresolved()

    def looked(self) -> bool:
        """Look; always true, for conditions that wait for something else."""
        self.look()
        return True

    def unfired(self) -> list[str]:
        """Name the expected alerts that have not fired."""
        return [name for name, seen in self.sightings.items() if seen.firing is None]

    def unresolved(self) -> list[str]:
        """Name the alerts that fired and have not resolved."""
        return [name for name, seen in self.sightings.items() if seen.firing is not None and seen.resolved is None]

    def speaking(self) -> list[str]:
        """Name the alerts that are pending or firing now; says so if Prometheus does not answer."""
        states = self.states()
        return [name for name, rule in states.items() if rule["state"] != "inactive"] if states else ["no rules"]
