"""New passwords for a set that serves: the steps, and real processes under traffic."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cacheclient import AsyncCache
from cacheclient.contract import PASSWORD_FILES, SENTINEL_AUTH_FILE, Env, RedisUser, Script
from infra import credentials, rotation
from infra.local import control, process
from infra.local.rotation import LocalTarget
from tests.drill.traffic import PATIENT

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Stage

    from infra.local.control import Environment

FILES = credentials.secret_files(credentials.generate())


def test_each_step_keeps_what_the_step_before_made_valid() -> None:
    files = dict(FILES)
    valid: list[set[str]] = []
    for step in rotation.steps_left(files):
        files = rotation.changed(files, step)
        assert rotation.steps_left(files)[0] == step
        valid.append({files[name] for name in ("app", "app.alt") if name in files})
    old, new = FILES["app"], files["app"]
    assert valid == [{old, new}, {old, new}, {new}]
    assert old != new
    assert files.keys() - {"rotation"} == FILES.keys()
    assert old not in files["exporter.json"]
    assert files["exporter"] in files["exporter.json"]


def test_a_repeated_step_makes_no_other_passwords() -> None:
    added = rotation.changed(FILES, "add")
    assert rotation.changed(added, "add") == added
    switched = rotation.changed(added, "switch")
    assert rotation.changed(switched, "switch") == switched


def test_a_secret_without_all_passwords_is_refused_by_name() -> None:
    with pytest.raises(rotation.RotationError, match="has no ops"):
        rotation.changed({name: text for name, text in FILES.items() if name != "ops"}, "add")


def test_the_scripts_digest_what_is_mounted_as_the_command_expects(stage: Stage) -> None:
    files = {name: f"password-of-{name}" for name in PASSWORD_FILES} | {"app.alt": "another", "sentinel.alt": "other"}
    for name in ("app.alt", "sentinel.alt"):
        (stage.secrets / name).write_text(files[name])
    for script, (component, names) in zip(
        (Script.REDIS_ROTATE, Script.SENTINEL_ROTATE), rotation.MOUNTED_BY.items(), strict=True
    ):
        host = f"{component}-0"
        assert stage.run(script, "digest", host=host).out.strip() == rotation.digest(files, names)


OTHER_CHANGES = ("CONFIG SET masterauth", "SENTINEL CONFIG SET sentinel-pass", "SENTINEL SET cache-test auth-pass")


def nodes_accept_every_change(stage: Stage) -> None:
    for command in OTHER_CHANGES:
        stage.answer("127.0.0.1", command, "OK")
    hashes = {name: hashlib.sha256(f"password-of-{name}".encode()).hexdigest() for name in PASSWORD_FILES}
    for user in RedisUser:
        stage.answer("127.0.0.1", f"ACL SETUSER {user} resetpass #{hashes[user]}", "OK")
    stage.answer("127.0.0.1", f"ACL SETUSER default resetpass #{hashes[SENTINEL_AUTH_FILE]}", "OK")


def test_no_password_enters_an_argument_list(stage: Stage) -> None:
    nodes_accept_every_change(stage)
    for script, host in ((Script.REDIS_ROTATE, "redis-0"), (Script.SENTINEL_ROTATE, "sentinel-0")):
        run = stage.run(script, host=host)
        assert run.code == 0, run.log
    assert not [call for call in stage.calls if "password-of" in call]
    given = (stage.root / "stdin").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in given] == [
        f"password-of-{name}" for name in ("repl", "sentinel-auth", "sentinel")
    ]


def test_a_refused_change_is_told_and_ends_the_script(stage: Stage) -> None:
    stage.answer("127.0.0.1", "PING", "PONG")
    run = stage.run(Script.REDIS_ROTATE)
    assert run.code == 1
    assert "the passwords of app were not changed: ERR the test gave no answer" in run.log


@pytest.mark.parametrize(
    ("script", "command", "what"),
    [
        (Script.REDIS_ROTATE, OTHER_CHANGES[0], "the password for replication"),
        (Script.SENTINEL_ROTATE, OTHER_CHANGES[1], "what it shows to other Sentinels"),
        (Script.SENTINEL_ROTATE, OTHER_CHANGES[2], "what it shows to Redis"),
    ],
)
def test_a_change_that_is_refused_late_ends_the_script_too(
    stage: Stage, script: Script, command: str, what: str
) -> None:
    nodes_accept_every_change(stage)
    stage.answer("127.0.0.1", command, "ERR no")
    run = stage.run(script)
    assert run.code == 1
    assert f"refused: {what} was not changed: ERR no" in run.log
    assert "the passwords are those of the secret directory now" not in run.log


@pytest.mark.parametrize(
    ("script", "lacks", "reason"),
    [
        (Script.REDIS_ROTATE, "ops", "the passwords of ops cannot be read"),
        (Script.SENTINEL_ROTATE, "sentinel", "the passwords of the Sentinels cannot be read"),
        (Script.SENTINEL_ROTATE, SENTINEL_AUTH_FILE, "the passwords of the Sentinels cannot be read"),
    ],
)
def test_a_missing_password_is_never_set_as_an_empty_one(stage: Stage, script: Script, lacks: str, reason: str) -> None:
    nodes_accept_every_change(stage)
    (stage.secrets / lacks).unlink()
    run = stage.run(script)
    assert run.code == 1
    assert f"refused: {reason}" in run.log
    assert not (stage.root / "stdin").exists()


class Interrupted(LocalTarget):
    """Fails at a node, once."""

    def __init__(self, environment: Environment, node: str, step: int) -> None:
        super().__init__(environment)
        self._node, self._left = node, step

    def apply(self, node: str) -> str:
        if node == self._node:
            self._left -= 1
            if self._left == 0:
                raise rotation.RotationError(f"{node}: interrupted")
        return super().apply(node)


def login(environment: Environment, user: str, password: str) -> bool:
    address, port = environment.redis_nodes[environment.master()]
    with redis.Redis(
        host=address, port=port, username=user, password=password, retry=Retry(NoBackoff(), 0)
    ) as connection:
        try:
            return bool(connection.ping())
        except redis.AuthenticationError:
            return False


def assert_only_the_new_ones_are_valid(environment: Environment, before: rotation.Files) -> None:
    after = LocalTarget(environment).read()
    assert after.keys() == before.keys()
    assert not [name for name in PASSWORD_FILES if after[name] == before[name]]
    for user in set(RedisUser) - {RedisUser.SENTINEL}:
        assert login(environment, user, after[user])
        assert not login(environment, user, before[user])


async def test_passwords_change_under_traffic_without_a_failed_call(healthy_redis: Environment) -> None:
    environment = healthy_redis
    before = LocalTarget(environment).read()
    failures: list[str] = []
    calls = 0
    ended = False

    async def old_connection() -> None:
        nonlocal calls
        async with AsyncCache.from_env(environment.client_environment | PATIENT | {Env.NAMESPACE: "rotation"}) as cache:
            while not ended:
                await cache.set("k", calls)
                entry = await cache.get_entry("k")
                if entry is None:
                    failures.append("a value that was just set was not there")
                calls += 1
                await asyncio.sleep(0)

    def new_connections() -> None:
        nonlocal calls
        while not ended:
            try:
                assert login(environment, "app", environment.password_file.read_text().strip())
            except (redis.RedisError, AssertionError, control.LocalError) as error:
                failures.append(f"a new connection failed: {error!r}")
            calls += 1

    traffic = [asyncio.create_task(old_connection()), asyncio.create_task(asyncio.to_thread(new_connections))]
    said: list[str] = []
    for step, node in ((1, "redis-1"), (2, "sentinel-0")):
        with pytest.raises(rotation.RotationError, match="interrupted"):
            await asyncio.to_thread(rotation.run, Interrupted(environment, node, step), said.append)
    await asyncio.to_thread(rotation.run, LocalTarget(environment), said.append)
    ended = True
    await asyncio.gather(*traffic)
    assert failures == []
    assert calls > 100
    assert_only_the_new_ones_are_valid(environment, before)
    await asyncio.to_thread(_reconnects, environment)


def _reconnects(environment: Environment) -> None:
    """Replication and a failover work with the new passwords: connections that were open prove nothing."""
    old = environment.master()
    assert "handed over to" in environment.stop(old)
    environment.start(old)
    assert process.wait_until(lambda: environment.ready(old), 40, poll=0.1)


def test_a_dry_run_says_the_steps_and_changes_nothing(
    healthy_redis: Environment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(control.ROOT, str(healthy_redis.places.root))
    before = LocalTarget(healthy_redis).read()
    assert credentials.main(["rotate", "local", "--dry-run"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["add", "switch", "remove"]
    assert LocalTarget(healthy_redis).read() == before


def test_a_set_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(control.ROOT, str(tmp_path))
    assert credentials.main(["rotate", "local"]) == 2
    assert "no local environment" in capsys.readouterr().err
