"""A set of its own for one run, with the network of the run between all its parts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec

from cacheclient.contract import ScriptEnv
from infra.local import binaries, launch, programs
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.state import Places, Process
from infra.redis_conf import redis_conf, sentinel_conf
from tests.fuzz.network import Network, back

HEAL: Final = 60.0  # seconds within which the set is whole again; a deposed master is taken back only after about ten
LOOK: Final = 0.3  # seconds between looks at the set
# Every node connects from the address it listens on, so that the network knows whose connection it is.
_FROM: Final = "bind-source-addr @bind@\n"


@contextlib.asynccontextmanager
async def stage(root: Path, network: Network, down_after: float) -> AsyncIterator[Environment]:
    """Bring up Redis and Sentinels below ``root``, each behind ``network``; end them, and keep their logs.

    Raises:
        LocalError: if there is no Redis server, or the set does not become ready.
    """
    places = Places(root)
    nodes_only = dataclasses.replace(binaries.find(), exporter=None, prometheus=None)
    loop = asyncio.get_running_loop()

    def nodes(*arguments: Any, **options: Any) -> Iterator[Process]:
        for node in original(*arguments, **options):
            asyncio.run_coroutine_threadsafe(network.serve(node.name, (node.address, node.port)), loop).result()
            yield msgspec.structs.replace(node, environment={**node.environment, ScriptEnv.BIND: back(node.name)})

    original = programs.nodes
    with (
        mock.patch.object(programs, "nodes", nodes),
        mock.patch.object(launch, "redis_conf", lambda conf: redis_conf(conf) + _FROM),
        mock.patch.object(launch, "sentinel_conf", lambda conf: sentinel_conf(conf) + _FROM),
        mock.patch.object(launch, "api_is_installed", return_value=False),
        places.locked(),
    ):
        await asyncio.to_thread(launch.up, places, nodes_only, down_after, lambda _: None)
    try:
        yield Environment(places)
    finally:
        await asyncio.to_thread(_down, places)


def named_master(environment: Environment) -> str:
    """Return the name of the master of a set that is whole: on a busy machine the Sentinels may be slow to say.

    Raises:
        LocalError: if most do not agree on one within ``HEAL`` seconds.
    """
    deadline = time.monotonic() + HEAL
    while True:
        try:
            return environment.master()
        except LocalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(LOOK)


def _down(places: Places) -> None:
    with places.locked():
        launch.down(places, keep_data=True)
