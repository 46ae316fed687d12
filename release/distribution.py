"""Wheel, source distribution and bills of materials, made from a commit and nothing else.

Each is made twice, from two copies of the commit in different folders, with other times and rights of its files, under
another umask; only what is the same to the byte is kept. ``python -m release.distribution`` is ``make dist``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = ROOT / ".venv" / "release" / "bin"
BILLS: Final = {"image": "requirements/image.lock", "dev": "requirements/dev.lock"}
"""The locks of which a bill of materials is made: what runs in the cluster; what builds and tests."""


class BuildError(Exception):
    """Something could not be made, or not twice the same; the text says what differs."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What must make no difference."""

    folder: str
    umask: int
    rights: int  # of the files, as a mask
    fresh: bool  # whether the files are of now, or of the commit


_WAYS: Final = (
    _Way("one", umask=0o022, rights=0o777, fresh=False),
    _Way("another/and deeper", umask=0o077, rights=0o700, fresh=True),
)


def make(commit: str, into: Path, repository: Path = ROOT, tools: Path = TOOLS) -> dict[str, str]:
    """Make everything of ``commit``; return the SHA-256 of each file in ``into`` by its name.

    Raises:
        BuildError: if a tool failed, or the two makings differ. ``into`` is as it was then.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        made = [_make_once(repository, commit, Path(scratch) / way.folder, way, tools) for way in _WAYS]
        if differing := list(_differences(*made)):
            raise BuildError(f"not reproducible: {'; '.join(differing)}")
        into.mkdir(parents=True, exist_ok=True)
        found = sorted(made[0].iterdir())
        for path in found:
            (into / path.name).write_bytes(path.read_bytes())
    return {path.name: digest(into / path.name) for path in found}


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _make_once(repository: Path, commit: str, folder: Path, way: _Way, tools: Path) -> Path:
    tree, out = folder / "tree", folder / "out"
    _export(repository, commit, tree, way)
    out.mkdir()
    epoch = _run(["git", "-C", str(repository), "log", "-1", "--format=%ct", commit], umask=way.umask).strip()
    # The wheel is for every platform: what is compiled, an installation from the sources makes for its own.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "CACHESTACK_NATIVE": "0"}
    python = str(tools / "python")
    command = [python, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    _run(command, umask=way.umask, environment=environment)
    name = next(out.glob("*.tar.gz")).name.removesuffix(".tar.gz")
    for kind, lock in BILLS.items():
        _run(
            [
                str(tools / "cyclonedx-py"), "requirements", "--pyproject", str(tree / "pyproject.toml"),
                "--mc-type", "library", "--output-reproducible", "--validate",
                "--output-file", str(out / f"{name}-{kind}.cdx.json"), str(tree / lock),
            ],
            umask=way.umask, environment=environment,
        )  # fmt: skip
    return out


def _export(repository: Path, commit: str, tree: Path, way: _Way) -> None:
    """Write the files of a commit, and nothing of the work tree."""
    tree.mkdir(parents=True)
    packed = tree.with_suffix(".tar")
    _run(["git", "-C", str(repository), "archive", "--output", str(packed), commit], umask=way.umask)
    with tarfile.open(packed) as archive:
        archive.extractall(tree, filter="data")
    for path in tree.rglob("*"):
        path.chmod(path.stat().st_mode & way.rights)
        if way.fresh:
            os.utime(path)


def _run(command: list[str], *, umask: int, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, env=environment, umask=umask, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}; `make dist` sets it up") from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()
        raise BuildError("\n".join([f"{Path(command[0]).name} failed:", *said[-15:]]))
    return done.stdout


def _differences(one: Path, other: Path) -> Iterator[str]:
    """Yield what differs between two folders: a file, and what in it, where it is an archive."""
    names = [{path.name for path in folder.iterdir()} for folder in (one, other)]
    for name in sorted(names[0] ^ names[1]):
        yield f"{name} was made once only"
    for name in sorted(names[0] & names[1]):
        if (one / name).read_bytes() != (other / name).read_bytes():
            parts = [_parts(folder / name) for folder in (one, other)]
            inside = sorted(key for key in parts[0].keys() | parts[1].keys() if parts[0].get(key) != parts[1].get(key))
            yield f"{name}{f' in {inside[0]}' if inside else ''}"


def _parts(path: Path) -> dict[str, tuple[object, ...]]:
    """Return what an archive says of each of its files."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {one.filename: (one.CRC, one.date_time, one.external_attr) for one in wheel.infolist()}
    if path.suffix == ".gz":
        with tarfile.open(path) as sdist:
            return {one.name: (one.size, one.mtime, one.mode, one.uid, one.gid) for one in sdist.getmembers()}
    return {}


def main() -> int:
    """Make everything of HEAD into ``dist/``, and print what was made."""
    try:
        made = make("HEAD", ROOT / "dist")
    except BuildError as error:
        sys.stderr.write(f"dist: {error}\n")
        return 1
    sys.stdout.writelines(f"{sha}  dist/{name}\n" for name, sha in made.items())
    return 0


if __name__ == "__main__":
    sys.exit(main())
