"""The local environment as a set whose passwords can be changed while it serves."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

from cacheclient.contract import ALTERNATE_SUFFIX, EXPORTER_AUTH_FILE, PASSWORD_FILES, ROTATION_FILE, Script
from infra import rotation
from infra.local import launch, process, programs
from infra.local.control import Environment

STOP_GRACE: Final = 5.0


class LocalTarget:
    """Its Secret is the directory of passwords, which every process reads directly: nothing has to arrive first."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def read(self) -> rotation.Files:
        """Return the passwords, their alternates and the step of a rotation under way, by file name."""
        folder = self._environment.secret_dir
        files = [path for path in folder.iterdir() if path.name in _names() or path.name == ROTATION_FILE]
        return {path.name: path.read_text(encoding="ascii").strip() for path in files}

    def write(self, files: rotation.Files) -> None:
        """Write the files, each whole or not at all, and remove those that are not given; the step comes last."""
        folder = self._environment.secret_dir
        for name in sorted(files, key=lambda name: name == ROTATION_FILE):
            if name != EXPORTER_AUTH_FILE:
                new = folder / f".{name}.new"
                new.touch(mode=0o600)
                new.write_text(files[name], encoding="ascii")
                new.replace(folder / name)
        for name in {*_names(), ROTATION_FILE} - files.keys():
            (folder / name).unlink(missing_ok=True)

    def nodes(self) -> Sequence[str]:
        """Return the names of the nodes, Redis first."""
        return (*self._environment.redis_nodes, *self._environment.sentinel_nodes)

    def await_mounted(self, node: str) -> None:
        """Return at once: a process reads the directory itself."""

    def apply(self, node: str) -> str:
        """Run the script that the pods have, as that node."""
        found = self._environment.state.processes[node]
        script = Script.REDIS_ROTATE if found.kind == "redis" else Script.SENTINEL_ROTATE
        argv = ["/bin/sh", programs.script(script)]
        done = subprocess.run(argv, env=found.environment, capture_output=True, text=True, timeout=60, check=False)
        said = done.stderr.strip().rpartition("\n")[2]
        if done.returncode:
            raise rotation.RotationError(f"{node}: {said}")
        return said.partition(": ")[2]

    def reload_exporters(self) -> None:
        """Start the exporters anew: they read their passwords once."""
        environment = self._environment
        launch.write_exporter_passwords(environment.places, environment.state)
        for found in environment.state.of_kind("exporter"):
            environment.stop(found.name)
            process.wait_until(lambda found=found: not found.running, STOP_GRACE)  # type: ignore[misc]
            environment.start(found.name)

    def await_clients(self) -> None:
        """Return at once: clients read the directory itself."""


def _names() -> set[str]:
    return {f"{name}{suffix}" for name in PASSWORD_FILES for suffix in ("", ALTERNATE_SUFFIX)}
