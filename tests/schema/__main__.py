"""``python -m tests.schema``: compile the dashboards with the types of Grafana's newest two majors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from alerts.thresholds import Thresholds
from dashboards.boards import BOARDS
from tests.schema.typescript import source

MAJORS: Final = ("12", "13")
_CACHE: Final = Path(__file__).parents[2] / ".venv" / "grafana-schema"
_OPTIONS: Final = {
    "strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext", "moduleResolution": "node10",
    "target": "es2022", "ignoreDeprecations": "5.0", "types": [],
}  # fmt: skip


def main() -> int:
    """Check against every major; return the exit code: 0 all is known, 1 something is not, 3 there is no npm."""
    if shutil.which("npm") is None:
        sys.stderr.write("left out: npm is not on PATH (Debian, Ubuntu: apt-get install npm)\n")
        return 3
    text = source({key: build(Thresholds()) for key, build in BOARDS.items()})
    return max(check(major, text) for major in MAJORS)


def check(major: str, text: str) -> int:
    """Compile ``text`` with the types of one major and print what the compiler says."""
    folder = _CACHE / major
    version = _installed(folder, major)
    (folder / "boards.ts").write_text(text, encoding="utf-8")
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": _OPTIONS, "files": ["boards.ts"]}))
    done = subprocess.run(
        [str(folder / "node_modules" / ".bin" / "tsc"), "-p", str(folder)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    problems = [line for line in done.stdout.splitlines() if "error TS" in line]
    sys.stdout.write(f"@grafana/schema {version}: {len(problems)} problems in {text.count('export const')} parts\n")
    sys.stdout.writelines(f"  {line}\n" for line in problems[:40])
    return int(done.returncode != 0)


def _installed(folder: Path, major: str) -> str:
    """Install the types and the compiler once; return the version of the types."""
    found = folder / "node_modules" / "@grafana" / "schema" / "package.json"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        wanted = [f"@grafana/schema@{major}", "typescript@5"]
        subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *wanted],  # noqa: S607
            cwd=folder, check=True, timeout=300,
        )  # fmt: skip
    return str(json.loads(found.read_text(encoding="utf-8"))["version"])


if __name__ == "__main__":
    sys.exit(main())
