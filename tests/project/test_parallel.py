"""Who runs side by side with whom (``tests/parallel.py``) is told by names that must be there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests import parallel

TESTS: Final = Path(__file__).parents[1]


def test_those_who_take_longest_are_there() -> None:
    files = {path.name for path in TESTS.rglob("test_*.py")}
    gone = set(parallel.LONGEST) - files - set(parallel.TOGETHER.values())
    assert not gone, "tests/parallel.py: take these out of LONGEST"


def test_the_fixtures_that_tests_share_are_there() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("conftest.py"))
    gone = [name for name in parallel.TOGETHER if f"\ndef {name}(" not in written]
    assert not gone, "tests/parallel.py: take these out of TOGETHER"
