"""Asking Prometheus what a panel asks, with the dashboard's variables filled in."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cacheclient.contract import SCRAPE_SECONDS

_ANY: Final = ".+"  # the value of a variable whose choice is "All"
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class QueryError(Exception):
    """Prometheus could not be asked, or refused; the text says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """The period that is drawn, in Unix seconds, and the seconds between two points."""

    start: float
    end: float
    step: float

    @classmethod
    def ending(cls, end: float, seconds: float, points: int = 240) -> Span:
        """Return the ``seconds`` up to ``end`` in at most ``points`` steps of whole seconds, aligned as Grafana does.

        Aligned steps make a refresh move the picture, not change its shape.
        """
        step = max(1.0, float(-(-int(seconds) // points)))
        end -= end % step
        return cls(end - seconds + seconds % step, end, step)


@dataclass(frozen=True, slots=True)
class Series:
    """One result of a query: labels, and (Unix seconds, value) points in order."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the variables at the top of a board are set to; a variable without a choice means all of its values.

    ``scrape_seconds`` decides the shortest window that a rate may be taken over.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    scrape_seconds: float = SCRAPE_SECONDS

    def on(self, board: Mapping[str, Any]) -> Choices:
        """Return these choices, with the defaults of the board's text boxes where nothing is chosen."""
        boxes = {v["name"]: v["query"] for v in board["templating"]["list"] if v["type"] == "textbox"}
        return Choices({**boxes, **self.values}, self.scrape_seconds)

    def expand(self, expr: str, span: Span) -> str:
        """Return ``expr`` as Prometheus reads it; ``$__rate_interval`` covers four scrapes, as in Grafana."""
        known = {
            "__rate_interval": f"{max(span.step + self.scrape_seconds, 4 * self.scrape_seconds):.0f}s",
            "__interval": f"{span.step:.0f}s",
            "__range": f"{span.end - span.start:.0f}s",
            "__range_s": f"{span.end - span.start:.0f}",
            **self.values,
        }
        return _VARIABLE.sub(lambda match: known.get(match[1] or match[2], _ANY), expr)


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Return a series' name: the template with its labels filled in, or the labels themselves where it has none."""
    if template:
        return " ".join(_LABEL.sub(lambda match: labels.get(match[1], ""), template).split())
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "__name__")


class Prometheus:
    """A Prometheus server at ``url``; each call has ``timeout`` seconds."""

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        """Take the server's base URL.

        Raises:
            ValueError: if ``url`` is no http or https URL.
        """
        if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError(f"prometheus {url!r}: an http:// or https:// URL")
        self.url = url.rstrip("/")
        self._timeout = timeout

    def over(self, expr: str, span: Span) -> list[Series]:
        """Return what ``expr`` was at every step of ``span``; what is not a number is left out.

        Raises:
            QueryError: if there is no answer, or the query is refused.
        """
        parameters = {"query": expr, "start": f"{span.start}", "end": f"{span.end}", "step": f"{span.step}"}
        return [series for row in self._ask("query_range", parameters)["result"] if (series := _series(row)).points]

    def at(self, expr: str, moment: float) -> list[Series]:
        """Return what ``expr`` is at ``moment``.

        Raises:
            QueryError: as ``over``.
        """
        rows = self._ask("query", {"query": expr, "time": f"{moment}"})["result"]
        return [series for row in rows if (series := _series({**row, "values": [row["value"]]})).points]

    def rules(self) -> list[dict[str, Any]]:
        """Return its rule groups, each with the state of its rules."""
        groups: list[dict[str, Any]] = self._ask("rules", {})["groups"]
        return groups

    def scrape_seconds(self) -> float:
        """Return the longest scrape interval of all targets, or the bundle's own where there is no target."""
        targets = self._ask("targets", {"state": "active"})["activeTargets"]
        return max((_seconds(t.get("scrapeInterval", "")) for t in targets), default=float(SCRAPE_SECONDS))

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=self._timeout) as reply:  # noqa: S310  the scheme is checked
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise QueryError(_refusal(error)) from error
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            raise QueryError(f"no answer from {self.url}: {getattr(error, 'reason', error)}") from error


def _series(row: Mapping[str, Any]) -> Series:
    points = ((float(moment), float(value)) for moment, value in row["values"])
    return Series(row["metric"], tuple((moment, value) for moment, value in points if abs(value) < float("inf")))


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"HTTP {error.code}"


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(duration: str) -> float:
    """Return a Prometheus duration such as 1m30s in seconds; the bundle's own interval where it is empty."""
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", duration)
    return sum(int(number) * _UNITS[unit] for number, unit in parts) or float(SCRAPE_SECONDS)
