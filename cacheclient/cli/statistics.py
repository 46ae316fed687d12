"""``cachestack stats``: the figures of one process, by its API."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from cacheclient.cli.asking import ask
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import Env, ExitCode


def stats(
    *,
    api: Annotated[
        str,
        typer.Option(
            metavar="URL", envvar=Env.API_URL.value, help="The cache API of the process, http:// or https://."
        ),
    ],
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for its answer.")] = 5.0,
    as_json: AsJson = False,
) -> ExitCode:
    """Show the hit rates, sizes and latencies of one process since it started.

    Each process has an L1 of its own, so ask the one you mean; `cachestack top --prometheus URL` adds them up.
    """
    figures = ask(api, "/cache/stats", timeout=timeout)
    if as_json:
        print_json(figures)
    else:
        _show(figures)
    return ExitCode.DONE


def _show(figures: dict[str, Any]) -> None:
    tiers = {name: figures[name] for name in ("l1", "l2", "combined") if isinstance(figures.get(name), dict)}
    columns = list(dict.fromkeys(column for tier in tiers.values() for column in tier))
    table = Table("tier", *(column.replace("_", " ") for column in columns), box=None, padding=(0, 2, 0, 0))
    for name, tier in tiers.items():
        table.add_row(name, *(_text(column, tier.get(column)) for column in columns))
    console().print(table)
    for name, value in figures.items():
        if name not in tiers:
            console().print(f"{name.replace('_', ' ')}: {_plain(value)}", markup=False)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("rate"):
        return f"{value:.1%}"
    return f"{value * 1000:.3g} ms" if name.endswith("_seconds") else f"{value:,}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items()) or "none"
    return {True: "yes", False: "no", None: "-"}[value] if isinstance(value, bool | None) else str(value)
