"""What is published: what wheel and source hold, and that each extra works alone in an environment of its own."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import pytest

from release import distribution
from tests.conftest import Server
from tests.packaging.conftest import ROOT, Install

pytestmark = [pytest.mark.packages, pytest.mark.timeout(600)]

SMOKES: Final = Path(__file__).parent / "smokes"
EXTRAS: Final = ("api", "cli", "compress", "crypto", "infra", "jobs", "warm")
PACKAGES: Final = ("alerts", "cacheclient", "dashboards", "infra")
BASE: Final = {"cachestack", "hiredis", "msgspec", "prometheus-client", "redis"}


def tracked(*folders: str) -> set[str]:
    command = ["git", "ls-files", *folders]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def metadata(wheel: Path) -> Any:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_a_wheel_holds_the_four_packages_as_they_are_tracked_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == tracked(*PACKAGES)
    assert "cacheclient/py.typed" in held


def test_a_source_distribution_holds_all_that_is_tracked_and_nothing_else(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert held - {"PKG-INFO"} == tracked(), "pyproject.toml, tool.hatch.build.targets.sdist"


def test_the_metadata_is_whole(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().startswith("# cachestack")
    assert set(said.get_all("Provides-Extra")) == set(EXTRAS)
    assert "Typing :: Typed" in said.get_all("Classifier")


@pytest.mark.parametrize("kind", sorted(distribution.BILLS))
def test_a_bill_of_materials_names_every_pinned_package_and_is_valid(built: Path, kind: str) -> None:
    bill = next(built.glob(f"*-{kind}.cdx.json"))
    check = (
        "import sys\n"
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())\n"
        "sys.exit(fault and repr(fault))"
    )
    python = str(distribution.TOOLS / "python")
    subprocess.run([python, "-c", check], input=bill.read_text(encoding="utf-8"), text=True, check=True)
    lock = (ROOT / distribution.BILLS[kind]).read_text(encoding="utf-8").splitlines()
    pinned = {tuple(line.split(" ")[0].split("==")) for line in lock if "==" in line and not line.startswith(" ")}
    content = json.loads(bill.read_text(encoding="utf-8"))
    assert {(one["name"], one["version"]) for one in content["components"]} == pinned
    assert content["metadata"]["component"]["name"] == "cachestack"


def test_the_source_distribution_tests_itself(built: Path, tmp_path: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    python = ROOT / ".venv" / "bin" / "python"
    some = ["tests/client/test_gcra.py", "tests/packaging/test_import.py", "tests/project"]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *some]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_its_wheel_for_one_platform_has_the_compiled_code(built: Path, tmp_path: Path, own_server: Server) -> None:
    source = next(built.glob("*.tar.gz"))
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    tree, wheels = tmp_path / source.name.removesuffix(".tar.gz"), tmp_path / "wheels"
    command = [str(distribution.TOOLS / "python"), "-m", "build", "--wheel", "--no-isolation", "--outdir", str(wheels)]
    environment = {**os.environ, "CACHESTACK_NATIVE": "1"}
    done = subprocess.run([*command, str(tree)], env=environment, capture_output=True, text=True, check=False)
    if done.returncode and not shutil.which("gcc"):
        pytest.skip("no C compiler here")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = wheels.iterdir()
    assert not wheel.name.endswith("-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")  # noqa: S202  our own
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cacheclient import Cache, native\n"
        "assert native.__file__.startswith(sys.argv[1]) and native.compiled, native.__file__\n"
        "with Cache.from_url(sys.argv[2], namespace='one') as cache:\n"
        "    assert [cache.get_or_load('k', str.upper) for _ in range(3)] == ['K'] * 3"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "installed"), own_server.url]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_smoke(name: str, python: Path, server: Server, folder: Path) -> None:
    command = [str(python), "-I", str(SMOKES / f"{name}.py"), server.url, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{name}: {done.stdout[-1000:]}{done.stderr[-3000:]}"


def test_without_extras_it_is_light_and_works(install: Install, own_server: Server, tmp_path: Path) -> None:
    python = install("")
    code = "import importlib.metadata as m; print(*{one.name.lower().replace('_', '-') for one in m.distributions()})"
    names = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(names) - {"pip", "setuptools", "async-timeout"} == BASE  # redis asks for the last one before 3.11.3
    run_smoke("plain", python, own_server, tmp_path)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_works_alone(install: Install, own_server: Server, tmp_path: Path, extra: str) -> None:
    run_smoke(extra, install(extra), own_server, tmp_path)
