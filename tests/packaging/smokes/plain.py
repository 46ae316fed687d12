"""Without extras: both façades and metrics; what an extra would bring is named by its extra."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from cacheclient import AsyncCache, Cache, ConfigurationError
from cacheclient.codec import Compressed, Encrypted, MsgpackCodec
from cacheclient.metrics import register


async def load(key: str) -> str:
    return key.upper()


async def main(url: str) -> None:
    async with AsyncCache.from_url(url, namespace="base", type=str) as cache:
        assert await cache.get_or_load("k", load) == "K"
        registry = CollectorRegistry()
        register(cache, registry=registry)
        assert b'cache="base"' in generate_latest(registry)


def refusal(*command: str) -> str:
    """Return what a command says that needs an extra."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    return done.stderr


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    with Cache.from_url(sys.argv[1], namespace="base", type=str) as cache:
        assert cache.get("k") == "K"
    script = str(Path(sys.executable).parent / "cachestack")
    for command in ((sys.executable, "-I", "-m", "cacheclient"), (script, "doctor")):
        assert "pip install 'cachestack[cli]'" in refusal(*command)
    for extra, make in {
        "crypto": lambda: Encrypted(MsgpackCodec(str), {"a": bytes(32)}, "a"),
        "compress": lambda: Compressed(MsgpackCodec(str)),
    }.items():
        try:
            make()
        except ConfigurationError as error:
            assert f"cachestack[{extra}]" in str(error), error  # noqa: PT017  no pytest here
        else:
            raise AssertionError(f"{extra} is installed?")
