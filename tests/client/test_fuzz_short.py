"""A short run of the consistency fuzz, so that it cannot rot; ``make fuzz`` runs it for as long as one likes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infra.local import binaries
from infra.local.errors import LocalError
from tests.fuzz.history import Mode
from tests.fuzz.report import as_json, as_text
from tests.fuzz.run import Plan, fuzz


async def test_a_frozen_master_costs_no_consistency(tmp_path: Path) -> None:
    try:
        binaries.find()
    except LocalError as error:
        pytest.skip(str(error))
    said: list[str] = []
    plan = Plan(seed="short149", seconds=3, only="short-hang", rest=1.0)  # the seed freezes the master and nothing else
    before = asyncio.all_tasks()
    outcome = await fuzz(plan, said.append, keep=tmp_path)
    text = as_text(outcome)
    assert not outcome.failed, text
    assert outcome.done, "nothing happened"
    assert as_json(outcome)["incidents"] == {"short-hang": len(outcome.done)}
    assert all(outcome.verdict.checked[mode] > 20 for mode in Mode), text
    assert all(tally.acknowledged for tally in outcome.writes.values()), text
    assert all(sum(row.values()) for row in as_json(outcome)["limits"].values()), text
    assert outcome.final.values
    assert not still_running(tmp_path)
    assert asyncio.all_tasks() == before


def still_running(folder: Path) -> list[str]:
    """Return the command lines of processes that have ``folder`` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in command:
            found.append(command)
    return found
