"""ARCHITECTURE.md shows the tree as it is, and every part keeps to its room."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
COLLAPSED: Final = ("tests/rendered/",)  # one folder a stack
LINES: Final = 350  # past this, a module holds more than one idea
pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Return every file of the project, also those that are not committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: which files belong to the project is not known")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def drawn() -> list[str]:
    """Return the folders of the tree that the page draws, by their paths."""
    above: list[str] = []
    found = []
    for line in re.split(r"```.*\n", PAGE)[1].splitlines():
        indent, name = re.match(r"( *)(\S+/)(?: |$)", line).groups()  # type: ignore[union-attr]  every line is a folder
        above[len(indent) // 2 :] = [name]
        found.append("".join(above))
    return found


def differences(told: Iterable[str], there: Iterable[str]) -> list[str]:
    """Say what to change in a list, so that it tells each thing that is there, and tells it once."""
    said, real = Counter(told), Counter(there)
    return [f"add {name}" for name in sorted(real - said)] + [f"remove {name}" for name in sorted(said - real)]


def test_the_tree_is_every_folder(files: list[str]) -> None:
    there = {f"{folder}/" for name in files for folder in Path(name).parents if folder != Path()}
    shown = {name for name in there if not any(name.startswith(top) and name != top for top in COLLAPSED)}
    changes = differences(drawn(), shown)
    assert not changes, "in ARCHITECTURE.md, The tree"


def modules(package: str) -> list[str]:
    """Return what the page's table names as modules of a package."""
    table = PAGE.partition(f"| module of {package} |")[2].partition("\n\n")[0]
    heads = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return [name for head in heads for name in re.findall(r"`([^`]+)`", head)]


@pytest.mark.parametrize("package", ["cacheclient", "infra", "alerts", "dashboards"])
def test_every_module_has_its_place_in_one_row(package: str, files: list[str]) -> None:
    there = [Path(name).stem for name in files if re.fullmatch(rf"{package}/[a-z]\w*\.py", name)]
    told = [name for name in modules(package) if not name.endswith("/")]
    changes = differences(told, there)
    assert not changes, f"in ARCHITECTURE.md, the table of modules of {package}"


def test_no_module_has_outgrown_its_room(files: list[str]) -> None:
    lengths = {
        name: len((ROOT / name).read_text(encoding="utf-8").splitlines())
        for name in files
        if name.endswith(".py") and not name.startswith("tests/")
    }
    assert not {name: lines for name, lines in lengths.items() if lines > LINES}, "split these into one idea a module"


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "common", "misc", "base", "manager"])
def test_no_file_is_named_after_nothing(name: str, files: list[str]) -> None:
    assert not [path for path in files if Path(path).stem == name], "name it after what it holds"
