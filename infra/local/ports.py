"""Free ports on the addresses of the local environment."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable
from typing import Final

from infra.local.errors import LocalError
from infra.local.programs import LOOPBACK, REDIS_NODES, SENTINEL_NODES, Ports

# Below the range from which Linux takes the local ports of outgoing connections, which could take one in between.
CANDIDATES: Final = range(10_000, 30_000)
ATTEMPTS: Final = 200


def choose() -> Ports:
    """Choose ports at random, so that environments of several checkouts rarely want the same one at the same time.

    Raises:
        LocalError: if no port is free, or if the addresses 127.0.0.x cannot be used.
    """
    taken: set[int] = set()
    return Ports(
        redis=_free(REDIS_NODES.values(), taken),
        sentinel=_free(SENTINEL_NODES.values(), taken),
        redis_exporter=_free([LOOPBACK], taken),
        sentinel_exporter=_free([LOOPBACK], taken),
        prometheus=_free([LOOPBACK], taken),
        boards=_free([LOOPBACK], taken),
        grafana=_free([LOOPBACK], taken),
        api=_free([LOOPBACK], taken),
    )


def _free(addresses: Iterable[str], taken: set[int]) -> int:
    wanted = list(addresses)
    for port in secrets.SystemRandom().sample(CANDIDATES, ATTEMPTS):  # whatever seed a program has chosen
        if port not in taken and all(_can_listen(address, port) for address in wanted):
            taken.add(port)
            return port
    raise LocalError(f"no port in {CANDIDATES.start}-{CANDIDATES.stop} is free on {', '.join(wanted)}")


def _can_listen(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((address, port))
            probe.listen()
        except OSError:
            return False
    return True
