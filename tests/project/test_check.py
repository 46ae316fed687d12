"""The fast loop and the hooks of git: what they choose, and that they say no."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests import check
from tests.check import Step

ROOT: Final = Path(__file__).parents[2]
THERE: Final = ("tests/client/test_tags.py", "tests/infra/test_settings.py", "tests/cli/test_cache_commands.py")


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        (["cacheclient/tags.py"], [THERE[0]]),
        (["infra/settings_rules.py", "README.md"], [THERE[1]]),
        (["tests/cli/test_cache_commands.py"], [THERE[2]]),
        (["cacheclient/cache.py"], [THERE[2]]),
        (["cacheclient/tagsoup.py", "docs/tags.md"], []),
    ],
)
def test_the_tests_of_a_change_bear_its_name(changed: list[str], chosen: list[str]) -> None:
    assert check.tests_of(changed, THERE) == chosen


def test_what_fails_is_shown_with_what_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    good = Step("good", (sys.executable, "-c", "print('unseen')"), "nothing")
    bad = Step("bad", (sys.executable, "-c", "print('seen'); raise SystemExit(1)"), "do this")
    slow = Step("slow", (sys.executable, "-c", "input()"), "wait", within=0.01)
    assert check.check([good])
    assert not check.check([good, bad, slow])
    said = capsys.readouterr().out
    assert said.count("ok ") == 2
    assert "--- bad: do this\nseen" in said
    assert "--- slow: wait\nnot done after 0.01 s" in said
    assert "unseen" not in said


def test_the_hooks_let_a_good_file_pass_and_no_other(tmp_path: Path) -> None:
    pytest.importorskip("pre_commit", reason="make setup installs it")
    git = shutil.which("git")
    assert git
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / ".gitignore").write_text(".venv\ncache\n")

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    run(git, "init", "-q")
    hooks = [sys.executable, "-m", "pre_commit"]
    assert not run(*hooks, "validate-config").returncode
    (tmp_path / "good.py").write_text('"""A module."""\n')
    run(git, "add", ".")
    passed = run(*hooks, "run")
    assert not passed.returncode, passed.stdout + passed.stderr
    (tmp_path / "bad.py").write_text("import os\nx = {  1:2}\n")
    run(git, "add", ".")
    refused = run(*hooks, "run")
    assert refused.returncode == 1
    assert refused.stdout.count("Failed") == 2, refused.stdout
    assert "make format" in refused.stdout
