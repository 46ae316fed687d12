"""What `import cacheclient` brings along: little, so that it is quick. How quick, bench/ tells (S5)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from typing import Any, Final

import pytest

# typing_extensions only where something else has brought it: msgspec looks for it.
LIGHT: Final = {"cacheclient", "hiredis", "msgspec", "typing_extensions"}
LATER: Final = [
    f"cacheclient.{part}"
    for part in (
        "api",
        "cli",
        "doctor",
        "explain",
        "findings",
        "metrics",
        "remote.cluster",
        "savings",
        "testing",
        "warming",
    )
]
_NEW: Final = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"


def brought_by(statement: str) -> list[str]:
    """Return the modules that a fresh interpreter has after ``statement``, and had not before."""
    command = [sys.executable, "-I", "-c", _NEW.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Any = json.loads(done.stdout)
    return list(found)


@pytest.fixture(scope="module")
def imported() -> list[str]:
    return brought_by("import cacheclient")


def test_an_import_brings_the_light_base_alone(imported: list[str]) -> None:
    outside = {name.split(".")[0] for name in imported} - sys.stdlib_module_names
    assert outside <= LIGHT, f"import these where they are needed, not with `import cacheclient`: {outside - LIGHT}"


@pytest.mark.parametrize("part", LATER)
def test_parts_that_not_every_application_uses_are_imported_by_who_uses_them(imported: list[str], part: str) -> None:
    assert part not in imported


def test_redis_py_comes_with_the_first_cache_that_asks_sentinels() -> None:
    made = "import cacheclient; cacheclient.AsyncCache.from_url({!r}, namespace='n')"
    assert "redis" not in brought_by(made.format("redis://nobody"))
    assert "redis.asyncio" in brought_by(made.format("redis+sentinel://nobody/set"))
    assert "redis.asyncio" in brought_by(made.format("redis+cluster://nobody"))


def test_an_installation_without_extras_pulls_three_packages() -> None:
    base = [line for line in requires("cachestack") or () if "extra ==" not in line]
    assert sorted(re.split(r"[<>=!~ ]", line)[0] for line in base) == ["msgspec", "prometheus-client", "redis[hiredis]"]
