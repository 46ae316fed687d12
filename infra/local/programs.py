"""The table of processes: pure functions from ports, places and binaries to command lines and environments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cacheclient.contract import (
    API_FACTORY,
    REDIS_CONF,
    SENTINEL_AUTH_FILE,
    SENTINEL_CONF,
    Env,
    RedisUser,
    Script,
    ScriptBudget,
    ScriptEnv,
    TlsFile,
    set_name,
)
from infra import topology
from infra.exporter import exporter_tls
from infra.local.binaries import Binaries
from infra.local.state import Places, Process, State
from infra.quantities import MIB
from infra.redis_conf import RedisConf, SentinelConf, Tls

STACK: Final = "local"
LOOPBACK: Final = "127.0.0.1"
REDIS_NODES: Final = {f"redis-{n}": f"127.0.0.1{n + 1}" for n in range(3)}
SENTINEL_NODES: Final = {f"sentinel-{n}": f"127.0.0.2{n + 1}" for n in range(3)}

API_NAMESPACE: Final = "fingerprint"  # that of the example service, so that the API can invalidate its entries
ADMIN_TOKEN: Final = "admin-token"  # noqa: S105  the name of a file

# Real processes on one machine answer at once, so less patience is needed than in a cluster where names appear late.
BUDGETS: Final[dict[str, str]] = {ScriptBudget.POLL: "0.1", ScriptBudget.MASTER: "60"}

# In a first start there is nobody whose answer could be waited for.
FIRST_START_BUDGETS: Final[dict[str, str]] = {ScriptBudget.SILENCE: "0"}

_SCRIPTS = Path(__file__).parent.parent / "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Free ports: one for all Redis addresses, one for all Sentinel addresses, the others on 127.0.0.1."""

    redis: int
    sentinel: int
    redis_exporter: int
    sentinel_exporter: int
    prometheus: int
    boards: int
    grafana: int
    api: int


def redis_settings(*, tls: bool = False) -> RedisConf:
    """What `local` decides about Redis: the cluster's policy with less memory."""
    return RedisConf(memory_limit=256 * MIB, repl_backlog=16 * MIB, tls=Tls() if tls else None)


def sentinel_settings(down_after: float, *, tls: bool = False) -> SentinelConf:
    """What `local` decides about Sentinel: the cluster's times, all scaled with ``down_after`` (seconds)."""
    policy = SentinelConf(set_name=set_name(STACK))
    scale = down_after / policy.down_after
    return SentinelConf(
        set_name=policy.set_name,
        down_after=down_after,
        failover_timeout=policy.failover_timeout * scale,
        reboot_down_after=policy.reboot_down_after * scale,
        tls=Tls() if tls else None,
    )


def tls_names() -> tuple[str, ...]:
    """What the local certificate names: all addresses that a node has."""
    return (*REDIS_NODES.values(), *SENTINEL_NODES.values(), LOOPBACK, "localhost")


def nodes(places: Places, binaries: Binaries, ports: Ports, *, tls: bool = False) -> Iterator[Process]:
    """The Redis and Sentinel processes: the pods' own scripts with this machine's paths and addresses."""
    shared: dict[str, str] = {
        ScriptEnv.SET: set_name(STACK),
        ScriptEnv.REDIS_HOSTS: " ".join(REDIS_NODES.values()),
        ScriptEnv.REDIS_PORT: str(ports.redis),
        ScriptEnv.SENTINEL_HOSTS: " ".join(SENTINEL_NODES.values()),
        ScriptEnv.SENTINEL_PORT: str(ports.sentinel),
        ScriptEnv.SECRET_DIR: str(places.secrets),
        ScriptEnv.RESTORE_DIR: str(places.restore),
        "REDIS_CLI": str(binaries.cli),
        "REDIS_SERVER": str(binaries.server),
        "REDIS_CHECK_AOF": str(places.bin / "redis-check-aof"),
        "REDIS_CHECK_RDB": str(places.bin / "redis-check-rdb"),
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TZ": "UTC",  # so that the logs of scripts and servers can be merged by time
        **BUDGETS,
        **({ScriptEnv.TLS_DIR: str(places.tls)} if tls else {}),
    }
    for name, address in REDIS_NODES.items():
        own = {**shared, **_own_places(places, name, address), ScriptEnv.CONF_FILE: str(places.conf / REDIS_CONF)}
        argv = ("/bin/sh", script(Script.REDIS_START))
        yield Process(name=name, kind="redis", address=address, port=ports.redis, argv=argv, environment=own)
    for name, address in SENTINEL_NODES.items():
        own = {**shared, **_own_places(places, name, address), ScriptEnv.CONF_FILE: str(places.conf / SENTINEL_CONF)}
        argv = ("/bin/sh", script(Script.SENTINEL_START))
        yield Process(name=name, kind="sentinel", address=address, port=ports.sentinel, argv=argv, environment=own)


def script(name: Script) -> str:
    """The path of one of the pods' scripts."""
    return str(_SCRIPTS / name)


def _own_places(places: Places, name: str, address: str) -> dict[str, str]:
    return {
        ScriptEnv.SELF: address,
        ScriptEnv.BIND: address,
        ScriptEnv.DATA_DIR: str(places.data / name),
        ScriptEnv.RUN_DIR: str(places.run / name),
    }


def exporters(places: Places, binary: Path, ports: Ports, *, tls: bool = False) -> Iterator[Process]:
    """Two redis_exporters: the Redis nodes ask for a user, the Sentinels for a password only."""
    for name, port, user in (
        ("redis-exporter", ports.redis_exporter, ("-redis.user", RedisUser.EXPORTER.value)),
        ("sentinel-exporter", ports.sentinel_exporter, ()),
    ):
        passwords = ("-redis.password-file", str(exporter_passwords(places, name)))
        listen = ("-web.listen-address", f"{LOOPBACK}:{port}", "-connection-timeout", "1s")
        encrypted = exporter_tls(str(places.tls)) if tls else ()
        argv = (str(binary), "-redis.addr=", *user, *passwords, *listen, "-config-command", "-", *encrypted)
        yield Process(name=name, kind="exporter", address=LOOPBACK, port=port, argv=argv, environment={"TZ": "UTC"})


def exporter_passwords(places: Places, name: str) -> Path:
    """The file in which an exporter finds the password of each address it scrapes."""
    return places.secrets / f"{name}.json"


def prometheus(places: Places, binary: Path, ports: Ports) -> Process:
    """Prometheus with the scrape configuration and the rules of this environment."""
    argv = (
        str(binary),
        f"--config.file={places.conf / 'prometheus.yml'}",
        f"--storage.tsdb.path={places.data / 'prometheus'}",
        f"--web.listen-address={LOOPBACK}:{ports.prometheus}",
        "--storage.tsdb.retention.time=1d",
    )
    return Process(
        name="prometheus",
        kind="prometheus",
        address=LOOPBACK,
        port=ports.prometheus,
        argv=argv,
        environment={"TZ": "UTC"},
    )


def boards(ports: Ports) -> Process:
    """The dashboards as web pages, drawn from Prometheus: nothing but Python is needed to see them."""
    source = f"http://{LOOPBACK}:{ports.prometheus}"
    argv = (sys.executable, "-m", "dashboards", "serve", "--prometheus", source, "--port", str(ports.boards))
    return Process(name="boards", kind="boards", address=LOOPBACK, port=ports.boards, argv=argv, environment={})


def api(places: Places, state: State, port: int) -> Process:
    """The cache API, configured as its Deployment is: through the environment."""
    server = (
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--no-ws",
        "--factory",
        API_FACTORY,
        "--host",
        LOOPBACK,
        "--port",
        str(port),
    )
    return Process(
        name="cache-api",
        kind="api",
        address=LOOPBACK,
        port=port,
        argv=(sys.executable, *server, "--log-level", "warning"),
        environment={
            **client_environment(places, state),
            Env.NAMESPACE: API_NAMESPACE,
            Env.ADMIN_TOKEN_FILE: str(places.secrets / ADMIN_TOKEN),
            "TZ": "UTC",
        },
    )


def client_url(state: State) -> str:
    """The URL by which a client finds the master."""
    sentinels = (f"{p.address}:{p.port}" for p in state.of_kind("sentinel"))
    return topology.client_url(sentinels, state.set_name, tls=state.tls)


def client_environment(places: Places, state: State) -> dict[str, str]:
    """The environment variables that configure a client of this environment."""
    authority: dict[str, str] = {Env.CA_FILE: str(places.tls / TlsFile.AUTHORITY)} if state.tls else {}
    return {
        **authority,
        Env.URL: client_url(state),
        Env.PASSWORD_FILE: str(places.secrets / RedisUser.APP),
        Env.SENTINEL_PASSWORD_FILE: str(places.secrets / SENTINEL_AUTH_FILE),
    }
