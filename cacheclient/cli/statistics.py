"""``cachestack stats``: the figures of one process, by its API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, metavar="SECONDS", help="How long to wait for its answer.")
    ] = 5.0,
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
    rows = [{"tier": name, **tier} for name, tier in tiers.items()]
    console().print(_table(rows))
    console().print(
        "\n".join(_lines({name: value for name, value in figures.items() if name not in tiers})), markup=False
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = Table(*(_words(column) for column in columns), box=None, padding=(0, 2, 0, 0), header_style="dim")
    for row in rows:
        table.add_row(*(text(column, row.get(column)) for column in columns))
    return table


def _lines(section: Mapping[Any, Any], indent: str = "") -> Iterator[str]:
    """Yield a line for each figure; those of an inner section stand below its name."""
    for name, value in section.items():
        inner = value if isinstance(value, dict) else dict(enumerate(value, 1)) if isinstance(value, list) else None
        if inner:
            yield f"{indent}{_words(name)}"
            yield from _lines(inner, f"{indent}  ")
        else:
            yield f"{indent}{_words(name)}: {text(str(name), value)}"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def text(name: str, value: Any) -> str:
    """Return a figure as people read it; its name tells the unit."""
    if value in (None, {}, []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(name, value) if isinstance(value, int | float) else str(value)


def _number(name: str, value: float) -> str:
    if name.endswith(("rate", "ratio")):
        return f"{value:.1%}"
    if name.endswith("_seconds"):
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:,.1f} s"
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004  no part of it matters
        return f"{value:,.0f}"
    return f"{value:,.4g}"
