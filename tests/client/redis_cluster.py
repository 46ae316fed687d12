"""A real Redis Cluster on loopback, formed by hand: no redis-cli is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from tests.conftest import PATIENCE, Server, wait_for

SLOTS: Final = 16384
NODE_TIMEOUT: Final = 1000  # milliseconds
_SETTINGS: Final = (
    "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT), "--appendonly", "no",
    "--repl-diskless-sync-delay", "0", "--cluster-allow-reads-when-down", "yes",
    "--cluster-replica-validity-factor", "0",
)  # fmt: skip
_FORMING: Final = 3 * PATIENCE  # seconds: nodes find each other by gossip
# Clusters by the server of their nodes; the first of this machine runs in every test run, the others in test-compat.
KINDS: Final = {"cluster": "", "cluster-redis-6.2": "redis-6.2", "cluster-valkey-9.1": "valkey-9.1"}
EACH_KIND: Final = [pytest.param(kind, marks=[pytest.mark.slow] if server else []) for kind, server in KINDS.items()]


def _encrypted(folder: Path) -> tuple[str, ...]:
    return (
        "--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no",
        "--tls-ca-cert-file", str(folder / "ca.crt"), "--tls-cert-file", str(folder / "tls.crt"),
        "--tls-key-file", str(folder / "tls.key"),
    )  # fmt: skip


class RedisCluster:
    """Masters with one replica each. ``masters`` and ``replicas`` are what they were at first.

    ``tls`` is a folder with ca.crt, tls.crt and tls.key: nothing is in clear text then, and ``ca`` is to be trusted.
    """

    def __init__(
        self,
        launch: Callable[..., Server],
        kind: str = "cluster",
        shards: int = 3,
        *,
        replicas: bool = True,
        tls: Path | None = None,
    ) -> None:
        self._launch, self._binary = launch, KINDS[kind]
        self._settings = (*_SETTINGS, *_encrypted(tls)) if tls else _SETTINGS
        self.ca = str(tls / "ca.crt") if tls else None
        self._client: redis.RedisCluster | None = None
        self.masters = [self.node() for _ in range(shards)]
        self.replicas = [self.node() for _ in range(shards if replicas else 0)]
        for epoch, master in enumerate(self.masters):
            first, last = epoch * SLOTS // shards, (epoch + 1) * SLOTS // shards
            master.ask("CLUSTER", "ADDSLOTS", *map(str, range(first, last)))
            master.ask("CLUSTER", "SET-CONFIG-EPOCH", str(epoch + 1))
        for other in self.servers[1:]:
            self.meet(other)
        wait_for(lambda: all(self.knows(server, len(self.servers)) for server in self.servers), _FORMING)
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.ask("CLUSTER", "REPLICATE", self.id(master))
        wait_for(lambda: all(self.info(server)["cluster_state"] == "ok" for server in self.servers), _FORMING)
        wait_for(
            lambda: all(replica.client.info("replication")["master_link_status"] == "up" for replica in self.replicas),
            _FORMING,
        )

    def node(self) -> Server:
        """Start a server that belongs to no cluster yet."""
        return self._launch(self._binary, *self._settings)

    @property
    def client(self) -> redis.RedisCluster:
        """Return the tests' own view of what is stored."""
        if self._client is None:
            self._client = redis.RedisCluster(
                host="127.0.0.1", port=self.masters[0].port, protocol=2, ssl=bool(self.ca), ssl_ca_certs=self.ca
            )
        return self._client

    @property
    def servers(self) -> list[Server]:
        return [*self.masters, *self.replicas]

    @property
    def leaders(self) -> list[Server]:
        """Return the servers that are masters now, each with its slots."""
        return [s for s in self.servers if s.alive and s.client.info("replication")["role"] == "master"]

    @property
    def whole(self) -> bool:
        """Say whether every server is there, and every master has its replica."""
        if not all(server.alive and self.info(server)["cluster_state"] == "ok" for server in self.servers):
            return False
        replication = [server.client.info("replication") for server in self.servers]
        follow = [node for node in replication if node["role"] == "slave"]
        return len(follow) == len(self.replicas) and all(node["master_link_status"] == "up" for node in follow)

    @property
    def url(self) -> str:
        return f"redis{'s' if self.ca else ''}+cluster://" + ",".join(
            f"127.0.0.1:{master.port}" for master in self.masters
        )

    def meet(self, other: Server) -> None:
        self.masters[0].ask("CLUSTER", "MEET", "127.0.0.1", str(other.port))

    def knows(self, server: Server, nodes: int) -> bool:
        return int(self.info(server)["cluster_known_nodes"]) >= nodes

    @staticmethod
    def info(server: Server) -> dict[str, str]:
        text = server.ask("CLUSTER", "INFO")
        text = text.decode() if isinstance(text, bytes) else text
        return text if isinstance(text, dict) else dict(line.split(":", 1) for line in text.split())

    @staticmethod
    def id(server: Server) -> str:
        name: bytes = server.ask("CLUSTER", "MYID")
        return name.decode()

    def owner(self, slot: int) -> Server:
        """Return the server that says of itself that it is the master of ``slot``."""
        return wait_for(lambda: next((s for s in self.servers if s.alive and self._owns(s, slot)), None), _FORMING)

    @staticmethod
    def _owns(server: Server, slot: int) -> bool:
        return any(
            start <= slot <= end and master[1] == server.port
            for start, end, master, *_ in server.ask("CLUSTER", "SLOTS")
        )

    def move(self, slot: int, source: Server, target: Server) -> Iterator[int]:
        """Move a slot key by key, as redis-cli does; yield after each step how many keys have gone."""
        target.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", self.id(source))
        source.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", self.id(target))
        moved = 0
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", str(slot), "10"):
            source.ask("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
            moved += len(keys)
            yield moved
        for server in (target, source, *self.leaders):
            server.ask("CLUSTER", "SETSLOT", str(slot), "NODE", self.id(target))
        yield moved

    def kill(self) -> None:
        if self._client is not None:
            self._client.close()
        for server in self.servers:
            server.kill()
