"""``cachestack top``."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

import typer

from cacheclient.cli.command import Failure
from cacheclient.cli.output import AsJson
from cacheclient.contract import Env, ExitCode
from dashboards.preview.results import Prometheus
from dashboards.terminal.live import show
from dashboards.terminal.snapshot import from_api, from_prometheus

_FASTEST: Final = 0.5  # seconds between two looks: Prometheus has newer figures less often than that


def top(
    *,
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", envvar=Env.PROMETHEUS_URL.value, help="The Prometheus to ask.")
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar=Env.API_URL.value, help="Or the cache API of one process: its own figures only."
        ),
    ] = None,
    namespace: Annotated[str, typer.Option(help="Kubernetes namespace to show.", show_default="all")] = "",
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks, 0.5 or more.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look and end; so it is in a pipe.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Show the cache at a glance in this terminal, refreshed until Ctrl-C.

    Hit rates, latencies, servers, failovers and alerts, coloured by the limits that the alerts have. With --json one
    look is printed.
    """
    if prometheus is None and api is None:
        raise Failure("--prometheus URL or --api URL: whom to ask?", ExitCode.USAGE)
    if not every >= _FASTEST:
        raise Failure(f"--every {every:g}: {_FASTEST} or more seconds", ExitCode.USAGE)
    try:
        if prometheus is not None:
            take = partial(from_prometheus, Prometheus(prometheus), namespace)
        else:
            take = partial(from_api, api or "")
        return ExitCode(show(take, every=every, once=once, as_json=as_json))
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
