"""The master of the dev stack hands over on a real cluster, by the command, while a client writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacheclient.contract import ExitCode
from tests.e2e.cluster import Cluster, brought_up, eventually, kubectl, longest_gap, lost, writing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

PROMISE = 5.0  # seconds without writes, docs/ha.md


def handover(cluster: Cluster, *arguments: str) -> tuple[int, Any]:
    """Run the command as a person does; return its exit code and what it told."""
    where = [*cluster.overrides, f"context={kubectl('config', 'current-context').strip()}"]
    command = [sys.executable, "-m", "cacheclient", "handover", cluster.stack, "--json", *arguments]
    command += [word for setting in where for word in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_the_master_hands_over_without_losing_a_write(tmp_path: Path, record: Callable[[str, str, str], None]) -> None:
    with brought_up("dev", tmp_path) as cluster:
        old = cluster.master()
        eventually(lambda: handover(cluster)[0] == ExitCode.DONE, "nothing is against it")
        code, planned = handover(cluster)
        assert (code, planned["executed"], planned["master"], len(planned["replicas"])) == (0, False, old, 2)
        assert cluster.master() == old
        with writing(cluster):
            code, done = handover(cluster, "--execute")
            assert code == ExitCode.DONE, done
        new = cluster.master()
        assert (done["old"], done["new"]) == (old, new)
        assert new != old
        missing, gap = lost(cluster, new), longest_gap(cluster)
        record("cachestack handover: without writes", f"<= {PROMISE:g} s", f"{gap:.1f} s")
        record("  acknowledged writes lost", "0", f"{len(missing)}")
        assert missing == []
        assert gap <= PROMISE
