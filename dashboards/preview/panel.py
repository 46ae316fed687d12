"""What a drawing reads of a panel's JSON, and the answers to its queries. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.preview.results import Series, Span, legend


@dataclass(frozen=True, slots=True)
class Event:
    """A moment that an annotation marks on every panel."""

    moment: float
    colour: str
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What Prometheus answered to one query of a panel; ``error`` says why it did not."""

    target: Mapping[str, Any]
    series: Sequence[Series] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel with its answers; ``span`` is the period it shows."""

    json: Mapping[str, Any]
    answers: Sequence[Answer]
    span: Span
    events: Sequence[Event] = ()

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The settings of its values."""
        found: Mapping[str, Any] = self.json["fieldConfig"]["defaults"]
        return found

    @property
    def unit(self) -> str:
        """The Grafana unit of its values."""
        return str(self.defaults.get("unit", "short"))

    @property
    def custom(self) -> Mapping[str, Any]:
        """The settings of its lines."""
        found: Mapping[str, Any] = self.defaults.get("custom", {})
        return found

    @property
    def steps(self) -> Sequence[Mapping[str, Any]]:
        """Its thresholds, lowest first; the first has no value."""
        found: Sequence[Mapping[str, Any]] = self.defaults["thresholds"]["steps"]
        return found

    @property
    def named(self) -> list[tuple[str, Series]]:
        """All series with their names in the legend, in the order of the queries."""
        return [
            (legend(str(answer.target.get("legendFormat", "")), series.labels), series)
            for answer in self.answers
            for series in answer.series
        ]

    @property
    def error(self) -> str:
        """Why there is no answer to one of its queries; empty if there are all."""
        return next((answer.error for answer in self.answers if answer.error), "")

    def mapping(self, value: float) -> tuple[str, str] | None:
        """Return the text and the colour that a mapping gives ``value``."""
        for mapping in self.defaults.get("mappings", ()):
            found = mapping["options"].get(f"{value:g}")
            if found:
                return str(found["text"]), str(found["color"])
        return None


def at_step(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the colour that thresholds give ``value``."""
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return str(reached[-1]["color"])
