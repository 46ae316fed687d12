"""``cachestack savings``: what the whole fleet's caches saved and cost, by the formula of board 6."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from cacheclient.cli.command import Failure
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import Env, ExitCode
from cacheclient.errors import ConfigurationError
from cacheclient.savings import HOUR, NAMES, Prices
from dashboards.preview.results import Choices, Prometheus, QueryError, Span
from dashboards.worth import worth

if TYPE_CHECKING:
    from dashboards.arithmetic import Expression

_LONGEST: Final = 31 * 24.0  # hours
_OF_CACHES: Final = ("queries", "round_trips", "database_seconds", "saved")


@dataclass(frozen=True, slots=True)
class Saved:
    """What one cache saved in a period: queries, round trips to Redis, seconds of the database, dollars."""

    queries: float = 0.0
    round_trips: float = 0.0
    database_seconds: float = 0.0
    saved: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """What all caches saved in so many hours, each and together, and the dollars that their memory costs as it is."""

    hours: float
    caches: dict[str, Saved]
    total: Saved
    spent: float


def bill(prometheus: Prometheus, namespace: str, hours: float, prices: Prices, now: float) -> Bill:
    """Return what Prometheus knows of the ``hours`` up to ``now``.

    Raises:
        QueryError: if it does not answer.
    """
    seconds = hours * HOUR
    variables = {f"price_{name}": f"{getattr(prices, name):g}" for name in NAMES}
    choices = Choices(variables | ({"namespace": namespace} if namespace else {}))

    def asked(what: Expression) -> dict[str, float]:
        query = str(what).replace("$__rate_interval", f"{seconds:.0f}s")
        found = prometheus.at(choices.expand(query, Span(now - seconds, now, seconds)), now)
        return {series.labels.get("cache", ""): series.last * seconds for series in found}

    each, together = worth("cache"), worth()
    columns = {name: asked(getattr(each, name)) for name in _OF_CACHES}
    caches = {
        cache: Saved(*(columns[name].get(cache, 0.0) for name in _OF_CACHES)) for cache in sorted(columns["queries"])
    }
    total = Saved(*(asked(getattr(together, name)).get("", 0.0) for name in _OF_CACHES))
    return Bill(hours, caches, total, asked(together.spent).get("", 0.0))


def savings(
    *,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", envvar=Env.PROMETHEUS_URL.value, help="The Prometheus to ask.")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace to show.", show_default="all")] = "",
    hours: Annotated[float, typer.Option(metavar="HOURS", help="The period up to now: 0.1 to 744 hours.")] = 24.0,
    as_json: AsJson = False,
) -> ExitCode:
    """Show what the caches of the whole fleet saved, and what they cost.

    Queries of the database and round trips to Redis are counted. Money is computed from prices:
    CACHE_COST_PER_MILLION_QUERIES, CACHE_COST_PER_REDIS_GIB_MONTH and so on, else those that board 6 begins with.
    """
    if prometheus is None:
        raise Failure("--prometheus URL: whom to ask?", ExitCode.USAGE)
    if not 0.1 <= hours <= _LONGEST:  # noqa: PLR2004  as the help says
        raise Failure(f"--hours {hours:g}: 0.1 to {_LONGEST:g}", ExitCode.USAGE)
    try:
        prices = Prices.from_env()
        found = bill(Prometheus(prometheus), namespace, hours, prices, time.time())
    except (ConfigurationError, ValueError) as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    except QueryError as error:
        raise Failure(str(error)) from error
    if as_json:
        print_json(asdict(found) | {"prices": prices.to_dict()})
    else:
        _show(found)
    return ExitCode.DONE


def _show(found: Bill) -> None:
    table = Table("cache", "queries", "round trips", "database time", "saved", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    rows: dict[str, Any] = found.caches if len(found.caches) == 1 else {**found.caches, "all": found.total}
    for name, one in rows.items():
        table.add_row(
            name,
            f"{one.queries:,.0f}",
            f"{one.round_trips:,.0f}",
            f"{one.database_seconds:,.0f} s",
            f"${one.saved:,.4f}",
        )
    console().print(table)
    if not found.caches:
        console().print("no cache was seen in that time")
    net = found.total.saved - found.spent
    sign = "-" if net < 0 else ""
    console().print(
        f"in {found.hours:g} h: saved ${found.total.saved:,.4f}, memory ${found.spent:,.4f}, net {sign}${abs(net):,.4f}"
    )
