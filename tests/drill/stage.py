"""A set of its own for one promise: on loopback addresses, below a directory of its own, gone when the block ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from unittest import mock

from infra.local import binaries, launch
from infra.local.control import Environment
from infra.local.state import Places
from tests.fuzz.network import Network
from tests.fuzz.stage import stage as networked

DISK: Final = "48m"  # of the node whose disk is filled
NODES: Final = ("redis-0", "redis-1", "redis-2", "sentinel-0", "sentinel-1", "sentinel-2")


@contextlib.contextmanager
def plain(down_after: float) -> Iterator[Environment]:
    """Three Redis and three Sentinels."""
    with tempfile.TemporaryDirectory(prefix="cachestack-drill-") as folder:
        yield from _up(Places(Path(folder)), down_after)


@contextlib.contextmanager
def small_disk(down_after: float) -> Iterator[Environment]:
    """The same; the first master's data lies on a small file system of its own (only root may make one)."""
    with tempfile.TemporaryDirectory(prefix="cachestack-drill-") as folder:
        places = Places(Path(folder))
        disk = places.data / "redis-0"
        disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", disk], check=True)  # noqa: S607
        try:
            yield from _up(places, down_after)
        finally:
            subprocess.run(["umount", disk], check=True)  # noqa: S607


def _up(places: Places, down_after: float) -> Iterator[Environment]:
    nodes_only = dataclasses.replace(binaries.find(), exporter=None, prometheus=None)
    try:
        with mock.patch.object(launch, "api_is_installed", return_value=False), places.locked():
            launch.up(places, nodes_only, down_after, lambda _: None)
        yield Environment(places)
    finally:
        with places.locked():
            launch.down(places, keep_data=True)  # the directory goes as a whole, and a mounted disk stays mounted


class Cut:
    """A partition that can be made and healed, from any thread."""

    def __init__(self, network: Network, loop: asyncio.AbstractEventLoop) -> None:
        self._network, self._loop = network, loop

    def cut(self, *side: str) -> None:
        """Let nothing pass between these nodes and all others."""
        self._do(self._network.cut, side)

    def join(self, *side: str) -> None:
        """Undo ``cut``."""
        self._do(self._network.join, side)

    def _do(self, action: object, side: tuple[str, ...]) -> None:
        others = [node for node in NODES if node not in side]

        async def act() -> None:
            action(side, others)  # type: ignore[operator]

        asyncio.run_coroutine_threadsafe(act(), self._loop).result()


@contextlib.contextmanager
def partitioned(down_after: float) -> Iterator[tuple[Environment, Cut]]:
    """The same behind a proxy that can cut any part of the set off; a client of the block reaches every node."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    network = Network(NODES)
    try:
        with tempfile.TemporaryDirectory(prefix="cachestack-drill-") as folder:
            entered = networked(Path(folder), network, down_after)
            environment = asyncio.run_coroutine_threadsafe(entered.__aenter__(), loop).result()
            try:
                yield environment, Cut(network, loop)
            finally:
                asyncio.run_coroutine_threadsafe(entered.__aexit__(None, None, None), loop).result()
                asyncio.run_coroutine_threadsafe(network.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def may_mount() -> bool:
    """Whether this user may make the small file system."""
    return os.geteuid() == 0
