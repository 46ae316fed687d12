"""The scripts are plain POSIX shell: what runs in a pod is whatever shell its image has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cacheclient.contract import Script
from infra.local.programs import script

ROOT = Path(script(Script.ASK)).parents[2]


def test_every_script_of_the_contract_exists_and_no_other() -> None:
    assert {path.name for path in (ROOT / "infra" / "files").iterdir()} == {str(name) for name in Script}


def test_shellcheck_finds_nothing() -> None:
    checker = Path(sys.executable).with_name("shellcheck")
    argv = [checker, "--external-sources", "--shell=sh", *(f"infra/files/{name}" for name in Script)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", Script)
def test_no_line_is_longer_than_120_characters(name: Script) -> None:
    too_long = [line for line in Path(script(name)).read_text().splitlines() if len(line) > 120]
    assert too_long == []
