"""The extra `cli`: the command, by both its names, about a real entry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cacheclient import Cache

NAMES = ([str(Path(sys.executable).parent / "cachestack")], [sys.executable, "-I", "-m", "cacheclient"])


def run(*arguments: str, code: int = 0) -> Any:
    environment = {**os.environ, "CACHE_URL": sys.argv[1], "CACHE_NAMESPACE": "cli"}
    said = [
        subprocess.run([*name, *arguments], env=environment, capture_output=True, text=True, check=False)
        for name in NAMES
    ]
    assert [one.returncode for one in said] == [code, code], said
    return json.loads(said[0].stdout)


if __name__ == "__main__":
    with Cache.from_url(sys.argv[1], namespace="cli", type=str) as cache:
        cache.set("k", "v")
        assert run("explain", "k", "--json")["l2"]["status"] == "value"
        run("invalidate", "k", "--json")
        assert not cache.exists("k")
