"""The set, the Prometheus and the application processes of one drill, and the hands that a cause needs."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from alerts.rules import prometheus_rule_spec
from alerts.thresholds import Thresholds
from infra.local import binaries, launch, process, programs
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.state import Places
from infra.redis_conf import acl_text
from tests.alert_drill.client import Kind, Mode
from tests.alert_drill.quick import SCRAPE, quickened

DOWN_AFTER: Final = 3.0  # seconds of silence after which Sentinel takes a node for down
PATIENCE: Final = 60.0
# Lower than shipped where a limit is a size or an age that no drill should take: the rule's form is what is proved.
THRESHOLDS: Final = Thresholds(
    snapshot_age_seconds=70, connections=300, max_clients=360, evictions_per_second=2, fragmentation_bytes=32e6
)
_OWN_ENTRIES: Final = 100  # what applications hold that only read what they have read before
_USER: Final = "drill"
_ROOT: Final = Path(__file__).parents[2]


class Scene:
    """One local environment under quickened rules. ``hands`` are what causes use."""

    def __init__(self, environment: Environment, password: str) -> None:
        self.environment = environment
        self._password = password
        self._clients: dict[str, subprocess.Popen[str]] = {}
        self.afterwards = contextlib.ExitStack()  # what a cause leaves until its alerts have resolved

    # -- what causes do -----------------------------------------------------------------------------------------------

    @property
    def master(self) -> str:
        """The node that most Sentinels name as master."""
        return self.environment.master()

    @property
    def replicas(self) -> list[str]:
        """The other nodes."""
        master = self.master
        return [name for name in self.environment.redis_nodes if name != master]

    def redis(self, name: str) -> redis.Redis:
        """Return a connection to a Redis node as a user who may do everything."""
        host, port = self.environment.redis_nodes[name]
        return redis.Redis(
            host=host, port=port, username=_USER, password=self._password, socket_timeout=10, protocol=2,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip

    def run(self, name: str, *command: str | int) -> Any:
        """Send one command to a Redis node as that user."""
        with contextlib.closing(self.redis(name)) as connection:
            return connection.execute_command(*command)  # type: ignore[no-untyped-call]

    def option(self, name: str, option: str) -> str:
        """Return what CONFIG GET says of one option of a Redis node."""
        return str(self.run(name, "CONFIG GET", option)[option])

    def start_client(self, name: str, *, kind: Kind = Kind.USUAL) -> None:
        """Start an application process."""
        settings = {
            "url": self.environment.url,
            "name": name,
            "kind": kind,
            "password_file": str(self.environment.password_file),
            "sentinel_password_file": str(self.environment.sentinel_password_file),
            "discovery": str(self.environment.places.discovery),
        }
        with self.environment.places.log(name).open("a") as log:
            self._clients[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.alert_drill.client", json.dumps(settings)],
                cwd=_ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True,
            )  # fmt: skip

    def stop_client(self, name: str) -> None:
        """End an application process."""
        client = self._clients.pop(name)
        client.send_signal(signal.SIGCONT)
        if client.stdin is not None:
            client.stdin.close()
        try:
            client.wait(PATIENCE / 2)
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()

    @contextlib.contextmanager
    def doing(self, mode: Mode) -> Iterator[None]:
        """Have the first application process do something else than read what it has read before."""
        self._order(mode)
        try:
            yield
        finally:
            self._order(Mode.HITS)

    def _order(self, mode: Mode) -> None:
        (client, *_) = self._clients.values()
        assert client.stdin is not None
        client.stdin.write(f"{mode}\n")
        client.stdin.flush()

    def signal_clients(self, number: signal.Signals) -> None:
        """Send a signal to every process that uses the cache, the API among them."""
        for client in self._clients.values():
            client.send_signal(number)
        process.send(self.environment.state.processes["cache-api"].identity, number)

    def rescrape(self, *, without: str = "") -> None:
        """Have Prometheus read its configuration again, with one target fewer if ``without`` names a pod."""
        path = self.environment.places.conf / "prometheus.yml"
        config = yaml.safe_load(path.with_suffix(".whole").read_text())
        for job in config["scrape_configs"]:
            job["static_configs"] = [s for s in job.get("static_configs", []) if s["labels"]["pod"] != without]
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        os.kill(self.environment.state.processes["prometheus"].pid, signal.SIGHUP)

    @contextlib.contextmanager
    def judged_by(self, thresholds: Thresholds) -> Iterator[None]:
        """Have Prometheus judge by other thresholds."""
        _install_rules(self.environment.places, thresholds)
        self.rescrape()
        try:
            yield
        finally:
            _install_rules(self.environment.places, THRESHOLDS)
            self.rescrape()

    @contextlib.contextmanager
    def exporting(self, *keys: str) -> Iterator[None]:
        """Have the exporter of Redis look at these keys, too, as a stack with backups and warm-ups tells it."""
        name, more = "redis-exporter", ("-check-single-keys", ",".join(f"db0={key}" for key in keys))
        before = self.environment.state.processes[name].argv
        self._restart(name, (*before, *more))
        try:
            yield
        finally:
            self._restart(name, before)

    def _restart(self, name: str, argv: tuple[str, ...]) -> None:
        self.environment.stop(name)
        places = self.environment.places
        with places.locked():
            changed = msgspec.structs.replace(self.environment.state.processes[name], argv=argv)
            places.write(self.environment.state.with_process(changed))
        self.environment.start(name)

    def forget(self) -> None:
        """Delete all entries, give their memory back, and forget what stood still: a cause finds the set as if new."""
        with contextlib.closing(self.redis(self.master)) as master:
            found = master.scan_iter(count=1000)
            while keys := list(itertools.islice(found, 1000)):
                master.unlink(*keys)
        for name in self.environment.redis_nodes:
            self.run(name, "MEMORY", "PURGE")
            self.run(name, "LATENCY", "RESET")

    def strangers(self) -> str:
        """Say what the set holds that no cause should find; empty if nothing."""
        number = int(self.run(self.master, "DBSIZE"))
        return "" if number <= _OWN_ENTRIES else f"{number} entries in Redis, more than the application reads"

    def whole(self) -> bool:
        """Say whether every node is ready again and a failover would work."""
        environment = self.environment
        nodes = [*environment.redis_nodes, *environment.sentinel_nodes]
        if any(not environment.state.processes[name].running for name in nodes):
            return False
        try:
            return all(map(environment.ready, nodes)) and len(self.replicas) == self._following(self.master)
        except (LocalError, redis.RedisError):
            return False

    def _following(self, master: str) -> int:
        info = self.run(master, "INFO", "replication")
        return sum(str(key).startswith("slave") and value.get("state") == "online" for key, value in info.items()
                   if isinstance(value, dict))  # fmt: skip

    def await_whole(self) -> None:
        """Wait until the set is whole.

        Raises:
            TimeoutError: if it is not in time.
        """
        wait_for(self.whole, "the set to be whole again", 3 * PATIENCE)

    def close(self) -> None:
        """End the application processes, and what causes have left."""
        self.afterwards.close()
        for name in list(self._clients):
            self.stop_client(name)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until ``condition`` holds.

    Raises:
        TimeoutError: saying ``what`` did not come in time.
    """
    if not process.wait_until(condition, seconds, poll=0.2):
        raise TimeoutError(f"waited {seconds:g} s for {what}")


@contextlib.contextmanager
def scene(root: Path) -> Iterator[Scene]:
    """Bring up a set, an exporter and a Prometheus with the quickened rules below ``root``; end all of it.

    Raises:
        LocalError: if something that it needs is not installed, or does not start.
    """
    found, places = binaries.find(), Places(root)
    if found.prometheus is None or found.exporter is None:
        raise LocalError("the drill needs Prometheus and redis_exporter: apt-get install prometheus "
                         "prometheus-redis-exporter")  # fmt: skip
    # No user of the bundle may do what these failures take.
    password = secrets.token_urlsafe()
    line = f"user {_USER} on #{hashlib.sha256(password.encode()).hexdigest()} ~* &* +@all\n"
    with mock.patch.object(launch, "acl_text", lambda conf: acl_text(conf) + line), places.locked():
        launch.up(places, found, DOWN_AFTER, lambda _: None)
    stage = Scene(Environment(places), password)
    try:
        _install_rules(places, THRESHOLDS)
        _shorten_intervals(places)
        stage.rescrape()
        stage.start_client("shop-1")
        yield stage
    finally:
        stage.close()
        with places.locked():
            launch.down(places, keep_data=True)


def _install_rules(places: Places, thresholds: Thresholds) -> None:
    rules = quickened(prometheus_rule_spec(programs.STACK, thresholds))
    (places.conf / "rules.yml").write_text(yaml.safe_dump(rules, sort_keys=False, width=1000))


def _shorten_intervals(places: Places) -> None:
    config = yaml.safe_load((places.conf / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE}s", "evaluation_interval": f"{SCRAPE}s"}
    (places.conf / "prometheus.whole").write_text(yaml.safe_dump(config, sort_keys=False))


def pause(seconds: float) -> None:
    """Let a failure last: its length is part of what is drilled."""
    until = time.monotonic() + seconds
    process.wait_until(lambda: time.monotonic() >= until, seconds + 1, poll=0.1)
