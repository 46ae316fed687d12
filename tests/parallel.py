"""Which tests share a process when several run them side by side (pytest-xdist, ``make test``).

Those of a file do, because they share servers that take seconds to start; so do those of several files over one set,
and those whose sayings are looked back at. Processes share nothing but the machine: each has servers of its own.
"""

from __future__ import annotations

import multiprocessing
import subprocess
from types import ModuleType
from typing import Final

import pytest

# By the fixture that they share. ``said`` is what the scripts said on made-up surroundings (``stage``).
TOGETHER: Final = {"sets": "sets", "stage": "scripts", "said": "scripts"}
# Those who begin last should not be those who take longest.
LONGEST: Final = (
    "scripts", "test_show.py", "test_alerts_fire.py", "sets", "test_handover.py", "test_conformance.py",
    "test_fuzz_short.py", "test_schema.py", "test_restore.py", "test_bucket.py", "test_processes.py",
    "test_preview.py", "test_local_command.py",
)  # fmt: skip


# What starts other processes: fixtures, and modules that a file of tests has imported. Many such tests take
# milliseconds, some half a minute; those that start none are quick, but for a few that compute.
STARTS: Final = frozenset({"launch", "postgres", "promtool", "served", "sets", "stage"})
STARTERS: Final = (subprocess, multiprocessing)
LONG: Final = frozenset(
    {"test_sizing.py", "test_bad_input.py", "test_render.py", "test_policies.py", "test_manifests.py"}
)


def quick(item: pytest.Item) -> bool:
    """Say whether a test is one of those that ``make check`` runs: no process but its own, and nothing long.

    A file may say so of itself, too, by the marker.
    """
    module = getattr(item, "module", None)
    starts = any(value in STARTERS for value in vars(module).values() if isinstance(value, ModuleType))
    return not starts and item.path.name not in LONG and STARTS.isdisjoint(getattr(item, "fixturenames", ()))


def group(item: pytest.Item) -> str:
    """Return the name of those with whom a test shares a process."""
    fixtures = getattr(item, "fixturenames", ())
    return next((name for fixture, name in TOGETHER.items() if fixture in fixtures), item.path.name)


def longest_first(items: list[pytest.Item]) -> None:
    """Put those in front who take longest; the others keep their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group(item), len(places)))
