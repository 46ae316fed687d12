"""The extra `infra`: where a project has its stack files, a stack becomes manifests, rules and boards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    out = folder / "rendered"
    for name in ("Pulumi.yaml", "Pulumi.staging.yaml"):
        shutil.copy(PROJECT / name, folder)
    command = [sys.executable, "-I", "-m", "infra.render", "staging", "--out", str(out)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    rendered = [path.read_text(encoding="utf-8") for path in out.iterdir()]
    assert len(rendered) > 20
    assert any("kind: StatefulSet" in text for text in rendered)
    assert any("grafana_dashboard" in text for text in rendered)
