"""The distribution of the work tree as it is, and fresh environments that it is installed into."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from release import distribution

ROOT: Final = distribution.ROOT
_PINNED: Final = re.compile(r"^([a-zA-Z0-9._-]+==[^\\\n]+?) *\\?$", re.MULTILINE)

Install = Callable[[str], Path]


def work_tree(repository: Path = ROOT) -> str:
    """Return a commit of the tracked files as they are now."""
    if shutil.which("git") is None or not (repository / ".git").exists():
        pytest.skip("distributions are built from a git checkout")
    commits = (["git", "stash", "create"], ["git", "rev-parse", "HEAD"])
    done = (subprocess.run(one, cwd=repository, capture_output=True, text=True, check=True) for one in commits)
    return next(commit for one in done if (commit := one.stdout.strip()))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with everything that a release has."""
    into = tmp_path_factory.mktemp("dist")
    distribution.make(work_tree(), into)
    return into


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Return what makes an environment with the wheel and one of its extras, at locked versions: by uv, else by pip."""
    locked = tmp_path_factory.mktemp("locked") / "constraints.txt"
    lock = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")
    locked.write_text("\n".join(_PINNED.findall(lock)), encoding="utf-8")
    uv = shutil.which("uv")

    def make(extra: str) -> Path:
        python = (folder := tmp_path_factory.mktemp(f"env-{extra or 'base'}")) / "bin" / "python"
        wanted = f"cachestack{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
        if uv:
            commands = [[uv, "venv", "-q", "--python", sys.executable, str(folder)]]
            commands += [[uv, "pip", "install", "-q", "--python", str(python), "-c", str(locked), wanted]]
        else:
            commands = [[sys.executable, "-m", "venv", str(folder)]]
            commands += [
                [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(locked), wanted]
            ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        return python

    return make
