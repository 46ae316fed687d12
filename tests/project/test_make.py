"""``make`` explains itself, and no page names a target that is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS: Final = set(re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE))
WIDTH: Final = 120


def test_every_target_says_what_it_does_and_for_whom() -> None:
    """A target without ``##``, or before the first heading, would be in no list."""
    first = MAKEFILE.index("\n##@ ")
    told = {target for target in TARGETS if re.search(rf"^{target}:.* ## \S", MAKEFILE[first:], re.MULTILINE)}
    assert TARGETS - told == {"help"}, "give it a line `name: what it needs ## what it does`, under a heading `##@`"


def test_make_alone_lists_every_target_by_who_needs_it() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on PATH")
    listed = subprocess.run([make], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  ([a-z-]+) +\S", listed, re.MULTILINE)) == TARGETS - {"help"}
    assert listed.count("\nFor ") == MAKEFILE.count("\n##@ For ")
    assert not [line for line in listed.splitlines() if len(line) > WIDTH], "say it shorter"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "Makefile", ".ci/run", "docs"])
def test_every_target_that_is_named_exists(page: str) -> None:
    path = ROOT / page
    for file in sorted(path.rglob("*.md")) if path.is_dir() else [path]:
        text = file.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^|\$ |')make ([a-z][a-z-]+)", text, re.MULTILINE))
        assert named <= TARGETS, f"{file.name} names {sorted(named - TARGETS)}: no target of the Makefile"
