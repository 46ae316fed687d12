"""``cachestack doctor``."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from rich.text import Text

from cacheclient.cache import AsyncCache
from cacheclient.cli.connected import connected
from cacheclient.cli.output import AsJson, console, print_json
from cacheclient.contract import ExitCode
from cacheclient.findings import Report

_STYLES: Final = {"ok": "green", "warning": "yellow", "error": "bold red"}


@connected(defaults={})  # with the time limits of the application: what is slow for it is a finding
async def doctor(
    cache: AsyncCache[Any],
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings, too, not for errors only.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Check everything that a cache stands on, and say how to mend it.

    Sentinels, master, replicas, version, every right that the user needs, memory policy, latency, clocks, and whether
    this machine hears of changes. Nothing is changed.
    """
    report = await cache.doctor()
    if as_json:
        print_json(report.to_dict())
    else:
        console().print(_lines(report))
    findings = {finding.level for finding in report.findings}
    return ExitCode.FAILED if findings & ({"error", "warning"} if strict else {"error"}) else ExitCode.DONE


def _lines(report: Report) -> Text:
    width = max(len(finding.check) for finding in report.findings)
    lines = []
    for finding in report.findings:
        level = (f"{finding.level:8}", _STYLES[finding.level])
        lines.append(Text.assemble(level, (f"{finding.check:{width}}  ", "bold"), finding.found))
        if finding.fix:
            lines.append(Text(f"{'':{8 + width}}  fix: {finding.fix}", "italic"))
    return Text("\n").join(lines)
