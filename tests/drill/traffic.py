"""What a client sees of a failure: a writer that knows what was acknowledged, and keys that are to survive."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cacheclient.contract import Env
from infra.local import process, readiness
from infra.local.errors import LocalError

if TYPE_CHECKING:
    from infra.local.control import Environment

READY: Final = 60.0
# A client's options where a test counts what failed: a busy machine must not look like a lost server.
PATIENT: Final = {
    f"{Env.OPTION_PREFIX}{name}": "10" for name in ("L2_TIMEOUT", "L2_CONNECT_TIMEOUT", "SYNC_MAX_STALENESS")
}


class Writer:
    """Writes numbered keys as fast as it can, and knows which were acknowledged and when."""

    def __init__(self, environment: Environment, prefix: str) -> None:
        self.prefix = prefix
        self.acknowledged: list[tuple[float, int]] = []
        self._environment = environment
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wait_for_more(self) -> None:
        before = len(self.acknowledged)
        assert process.wait_until(lambda: len(self.acknowledged) > before + 20, READY), (
            "no more writes are acknowledged"
        )

    def longest_gap(self) -> float:
        times = [moment for moment, _ in self.acknowledged]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def lost(self, environment: Environment) -> int:
        with client(environment) as reader:
            keys = [f"{self.prefix}:{number}" for _, number in self.acknowledged]
            return sum(value is None for value in reader.mget(keys))

    def _write(self) -> None:
        number = 0
        while not self._done.is_set():
            try:
                with client(self._environment) as connection:
                    while not self._done.is_set():
                        number += 1
                        connection.set(f"{self.prefix}:{number}", number)
                        self.acknowledged.append((time.monotonic(), number))
            except (redis.RedisError, LocalError):
                self._done.wait(0.02)


def client(environment: Environment) -> redis.Redis:
    """A plain client of the node that most Sentinels name now, without retries that would hide what happens."""
    address, port = environment.redis_nodes[environment.master()]
    password = environment.password_file.read_text()
    return redis.Redis(
        host=address, port=port, username="app", password=password, socket_timeout=1, retry=Retry(NoBackoff(), 0)
    )


def new_master(environment: Environment, old: str, seconds: float) -> str:
    found = [old]

    def changed() -> bool:
        try:
            found.append(environment.master())
        except LocalError:
            return False
        return found[-1] != old

    assert process.wait_until(changed, seconds, poll=0.05), f"{old} is still the master after {seconds} s"
    return found[-1]


def await_ready(environment: Environment, *names: str) -> None:
    assert process.wait_until(lambda: all(map(environment.ready, names)), READY, poll=0.1), f"{names} are not ready"


def log_of(environment: Environment, name: str) -> str:
    return environment.places.log(name).read_text()


def store_keys(environment: Environment, prefix: str) -> Callable[[], int]:
    """Write 200 keys that two replicas have acknowledged; return a function that counts those still there."""
    names = [f"{prefix}:{number}" for number in range(200)]

    def stored() -> bool:
        try:
            with client(environment) as writer:
                return bool(writer.mset(dict.fromkeys(names, "kept"))) and writer.wait(2, 5000) == 2
        except (redis.RedisError, LocalError):
            return False

    assert process.wait_until(stored, READY)

    def count() -> int:
        with client(environment) as reader:
            return int(reader.exists(*names))

    return count


def healed(environment: Environment) -> Environment:
    """Start what was stopped, let go on what was paused, and wait until the set is whole."""
    state = environment.state
    for name in state.processes:
        environment.resume(name)
        environment.start(name)
    whole = process.wait_until(lambda: readiness.is_whole(environment.places, state), READY, poll=0.1)
    assert whole, "; ".join(f"{name}: ready={environment.ready(name)}" for name in state.processes)
    return environment


def refused(direct: redis.Redis, error: str) -> bool:
    """Whether a write is refused with this error now."""
    try:
        direct.set("refused", "x")
    except redis.ResponseError as found:
        return str(found).startswith(error)
    except redis.RedisError:
        return False
    return False
