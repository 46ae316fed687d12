"""A snapshot as a screen: figures with their promises, the servers, and the alerts. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from alerts.thresholds import Thresholds
from dashboards.preview import units
from dashboards.terminal.snapshot import Alarm, Server, Snapshot

_ROLES: Final[Mapping[str, str]] = {"master": "bold blue", "replica": "green", "down": "bold red"}
_SEVERITIES: Final[Mapping[str, str]] = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_NOTHING: Final = Text("-", "dim")


def draw(now: Snapshot, limits: Thresholds) -> RenderableType:
    """Return the screen of one snapshot, coloured by the limits that the alerts have."""
    head = Text.assemble(
        ("cache ", "bold"), (now.source, "dim"), "  ", time.strftime("%H:%M:%S", time.localtime(now.moment))
    )
    if now.problem:
        return Group(head, Text(now.problem, "bold red"))
    parts: list[RenderableType] = [head, _figures(now, limits)]
    if now.servers:
        parts.append(_servers(now, limits))
    if now.alarms is not None:
        parts.append(_alarms(now.alarms) if now.alarms else Text("no alert is pending or firing", "green"))
    return Group(*parts)


def _figures(now: Snapshot, limits: Thresholds) -> Table:
    table = Table.grid(padding=(0, 3))
    left = {
        "hit rate": _at_least(now.hit_rate, limits.target_hit_rate, limits.hit_rate),
        "L1": _at_least(now.l1_hit_rate, limits.target_l1_hit_rate),
        "L2": _at_least(now.l2_hit_rate, limits.target_l2_hit_rate),
        "lookups": _plain(now.lookups, "reqps"),
        "processes": _plain(now.processes, "short"),
        "told of changes": _all_of(now.listening, now.processes),
    }
    right = {
        "P95": _below(now.p95.get("all"), limits.lookup_p95_seconds),
        "P95 L1, L2, load": Text(", ").join(_plain(now.p95.get(tier), "s") for tier in ("l1", "l2", "l3")),
        "Sentinels": _at_least(now.sentinels, limits.sentinels, limits.quorum, "short"),
        "quorum": _quorum(now.quorum),
        "replica lag": _below(now.lag, limits.replication_lag_seconds),
        "failovers": _below(now.failovers, 1, "short"),
    }
    for (name, value), (other, its) in zip(left.items(), right.items(), strict=True):
        table.add_row(Text(name, "dim"), value, Text(other, "dim"), its)
    return table


def _servers(now: Snapshot, limits: Thresholds) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("server", "role", "memory", "clients", "uptime", "link"):
        table.add_column(title)
    for server in now.servers:
        table.add_row(*_row(server, limits))
    return table


def _row(server: Server, limits: Thresholds) -> list[Text]:
    link = _NOTHING if server.link_up is None else Text("up", "green") if server.link_up else Text("down", "bold red")
    return [
        Text(server.name),
        Text(server.role, _ROLES.get(server.role, "yellow")),
        _below(server.memory_ratio, limits.memory_ratio, "percentunit"),
        _plain(server.clients, "short"),
        _plain(server.uptime, "s"),
        link,
    ]


def _alarms(alarms: tuple[Alarm, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("alert", "severity", "state", "where"):
        table.add_column(title)
    for alarm in alarms:
        style = _SEVERITIES.get(alarm.severity, "") if alarm.state == "firing" else "dim"
        table.add_row(Text(alarm.name, style), Text(alarm.severity, style), alarm.state, alarm.where)
    return table


def _at_least(value: float | None, good: float, fair: float | None = None, unit: str = "percentunit") -> Text:
    if value is None:
        return _NOTHING
    style = "green" if value >= good else "yellow" if fair is not None and value >= fair else "bold red"
    return Text(units.text(value, unit), style)


def _below(value: float | None, limit: float, unit: str = "s") -> Text:
    return _NOTHING if value is None else Text(units.text(value, unit), "green" if value < limit else "bold red")


def _plain(value: float | None, unit: str) -> Text:
    return _NOTHING if value is None else Text(units.text(value, unit))


def _all_of(part: int | None, whole: int | None) -> Text:
    if part is None or not whole:
        return _NOTHING
    return Text(f"{part} of {whole}", "green" if part == whole else "bold red")


def _quorum(reached: bool | None) -> Text:  # noqa: FBT001  a value, not a switch
    return _NOTHING if reached is None else Text("reached", "green") if reached else Text("lost", "bold red")
