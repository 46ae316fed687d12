"""Compiles ``cacheclient/native`` where a C compiler is, when this is installed from its sources.

Nothing needs it: without, the same is done by Python code, and takes longer. So a missing compiler is a word, not an
error, unless CACHESTACK_NATIVE=1 asks for it. CACHESTACK_NATIVE=0 makes a wheel for every platform, as releases do.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER: Final = Path("cacheclient", "native")
VARIABLE: Final = "CACHESTACK_NATIVE"
FLAGS: Final = ("-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Wno-cast-function-type")


def built() -> Path:
    """Return the file that the interpreter that runs this imports."""
    return FOLDER / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"


def compile_in(root: Path) -> Path:
    """Compile in the tree at ``root``, and return the file, relative to it.

    Raises:
        OSError: if there is no compiler.
        subprocess.CalledProcessError: if it failed.
    """
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    fresh = built().with_suffix(f".{os.getpid()}")
    sources = sorted(str(path.relative_to(root)) for path in (root / FOLDER).glob("*.c"))
    command = [*compiler, *FLAGS, f"-I{sysconfig.get_path('include')}", *sources, "-o", str(fresh)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    (root / fresh).replace(root / built())  # at once: a process that has the old one open must not see it change
    return built()


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the compiled module to a wheel, and to an installation in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  one way for both
        """Compile, if that is possible and wanted."""
        wanted = os.environ.get(VARIABLE, "")
        if wanted == "0":
            return
        try:
            file = compile_in(Path(self.root))
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", "") or str(error)
            if wanted:
                raise RuntimeError(f"{VARIABLE}={wanted}: {FOLDER} cannot be compiled: {said}") from error
            self.app.display_warning(f"{FOLDER} cannot be compiled, Python code does what it would: {said.strip()}")
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True
        build_data["artifacts"].append(str(file))
