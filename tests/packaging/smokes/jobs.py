"""The extra `jobs`: a snapshot of a real Redis, compressed and encrypted as a backup is, and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import redis

from infra.jobs import sealing, storage  # storage: boto3
from infra.jobs.sealing import Keys

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    (folder / "2026").write_bytes(bytes(range(32)))
    with redis.Redis.from_url(sys.argv[1]) as client:
        client.set("k", "v" * 1000)
        client.save()
        snapshot = Path(client.config_get("dir")["dir"]) / "dump.rdb"
    keys = Keys(folder, "2026")
    sealing.seal(snapshot, folder / "sealed", compress=True, keys=keys, advance=lambda _: None)
    sealing.unseal(
        folder / "sealed", folder / "back", compressed=True, key_id="2026", keys=keys, advance=lambda _: None
    )
    assert (folder / "back").read_bytes() == snapshot.read_bytes()
    assert b"REDIS" not in (folder / "sealed").read_bytes()
    assert storage.__doc__
    subprocess.run([sys.executable, "-I", "-m", "infra.jobs", "--help"], check=True, stdout=subprocess.DEVNULL)
