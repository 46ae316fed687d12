"""checkov over the rendered stacks: no failed check, and none skipped. ``make policy`` installs it beside the tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra import stack_files

RENDERED = Path(__file__).parent.parent / "rendered"
CHECKOV = stack_files.ROOT / ".venv" / "checkov" / "bin" / "checkov"

pytestmark = pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed; `make policy` does it")


def scan(folder: Path) -> dict[str, Any]:
    command = [
        str(CHECKOV),
        "--framework",
        "kubernetes",
        "--directory",
        str(folder),
        "--skip-download",
        "--output",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_every_stack_passes_every_check_and_skips_none() -> None:
    report = scan(RENDERED)
    failed = [f"{f['file_path']}: {f['check_id']} {f['check_name']}" for f in report["results"]["failed_checks"]]
    assert failed == []
    assert (report["summary"]["skipped"], report["summary"]["parsing_errors"]) == (0, 0)
    assert report["summary"]["passed"] > 100 * len([path for path in RENDERED.iterdir() if path.is_dir()])


def test_a_broken_manifest_fails(tmp_path: Path) -> None:
    text = (RENDERED / "prod" / "08-statefulset-redis.yaml").read_text(encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(
        text.replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true")
    )
    assert "CKV_K8S_20" in [found["check_id"] for found in scan(tmp_path)["results"]["failed_checks"]]
