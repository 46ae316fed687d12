"""``cachestack handover``: what is against it, from written answers; and a real set that hands over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacheclient.cli import main
from cacheclient.contract import Component, ExitCode, Script
from infra.handover import HandoverError, Look, plan, run
from infra.local import programs
from infra.local.control import ROOT, Environment
from infra.topology import FILES_DIR, pod_names

OK = {"s-0": "OK 3 usable Sentinels", "s-1": "OK 3 usable Sentinels", "s-2": "OK 3 usable Sentinels"}
MASTER = {"role": "master", "master_repl_offset": "100"}
FOLLOWS = {"role": "slave", "master_host": "h0", "master_link_status": "up", "slave_repl_offset": "100"}


def look(number: int, info: dict[str, str], named: str = "majority h0", quorum: dict[str, str] | None = None) -> Look:
    return Look(f"h{number}", named, OK if quorum is None else quorum, info)


def planned(*looks: Look) -> Any:
    return plan({f"redis-{number}": each for number, each in enumerate(looks)})


def test_a_whole_set_can_hand_over_and_says_who_is_behind() -> None:
    found = planned(look(0, MASTER), look(1, FOLLOWS), look(2, {**FOLLOWS, "slave_repl_offset": "90"}))
    assert (found.master, found.replicas, found.problems) == ("redis-0", {"redis-1": 0, "redis-2": 10}, ())
    assert found.lines() == ["master    redis-0", "replicas  redis-1 (has everything), redis-2 (10 bytes behind)"]


@pytest.mark.parametrize(
    ("looks", "problem"),
    [
        ([Look(), Look()], "the Sentinels do not agree on a master: no node answers"),
        ([look(0, MASTER, "silent"), look(1, FOLLOWS, "conflict named: h0")], "do not agree on a master: conflict"),
        ([look(0, MASTER), look(1, FOLLOWS, "majority h1")], "do not agree on a master: majority h0; majority h1"),
        ([look(0, {**FOLLOWS}), look(1, FOLLOWS)], "redis-0, whom the Sentinels name, is slave"),
        ([look(0, MASTER), look(1, {**FOLLOWS, "master_link_status": "down"})], "no replica of redis-0 is connected"),
        ([look(0, MASTER), look(1, FOLLOWS), look(2, {**FOLLOWS, "master_host": "h1"})], "redis-2 is not connected"),
        ([look(0, MASTER), look(1, FOLLOWS), Look()], "redis-2 does not answer"),
        ([look(0, MASTER, quorum={"s-0": "OK", "s-1": "", "s-2": "NOQUORUM x"}), look(1, FOLLOWS)],
         "no quorum; s-1: no answer; s-2: NOQUORUM x"),
    ],
)  # fmt: skip
def test_what_is_against_it_is_named(looks: list[Look], problem: str) -> None:
    assert any(problem in each for each in planned(*looks).problems)


def test_one_sentinel_that_does_not_answer_is_not_against_it() -> None:
    assert planned(look(0, MASTER, quorum={**OK, "s-2": ""}), look(1, FOLLOWS)).problems == ()


def test_nothing_is_begun_while_something_is_against_it() -> None:
    class Untouched:
        def nodes(self) -> list[str]:
            raise AssertionError

        shell = stop_hook = nodes

    with pytest.raises(HandoverError, match="redis-1 does not answer"):
        run(Untouched(), planned(look(0, MASTER), Look()))  # type: ignore[arg-type]


# -- real sets --------------------------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return main(["handover", *arguments]), *capsys.readouterr()  # type: ignore[return-value]

    return call


def test_a_real_set_hands_over(healthy_redis: Environment, command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, str(healthy_redis.places.root))
    old = healthy_redis.master()
    code, out, _ = command("local")
    assert code == ExitCode.DONE
    assert f"master    {old}\n" in out
    assert out.endswith("nothing was changed; --execute does it\n")
    assert healthy_redis.master() == old
    code, out, err = command("local", "--execute", "--json")
    assert (code, err) == (ExitCode.DONE, "")
    done = json.loads(out)
    assert (done["old"], done["new"]) == (old, healthy_redis.master())
    assert done["new"] != old


def test_a_set_with_a_lost_replica_is_told_and_left_alone(
    healthy_redis: Environment, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT, str(healthy_redis.places.root))
    old = healthy_redis.master()
    lost = next(name for name in healthy_redis.redis_nodes if name != old)
    healthy_redis.kill(lost)
    assert (command("local")[0], json.loads(command("local", "--json")[1])["problems"]) == (
        ExitCode.FAILED, [f"{lost} does not answer"],
    )  # fmt: skip
    code, _, err = command("local", "--execute")
    assert (code, err) == (ExitCode.FAILED, f"cachestack handover: not handed over: {lost} does not answer\n")
    assert healthy_redis.master() == old


@pytest.fixture
def kubectl(healthy_redis: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a kubectl on PATH whose pods are the processes of the local set."""
    state = healthy_redis.state
    nodes = {name: state.processes[name].environment for name in pod_names(Component.REDIS, 3)}
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    scripts = Path(programs.script(Script.ASK)).parent
    program = tmp_path / "kubectl"
    program.write_text(f"""#!{sys.executable}
import json, os, sys
words = sys.argv[1:]
with open({str(tmp_path / "calls")!r}, "a") as calls: print(*words[:4], file=calls)
pod, argv = words[words.index("exec") + 1], words[words.index("--") + 1:]
argv = [word.replace({FILES_DIR!r}, {str(scripts)!r}) for word in argv]
os.execvpe(argv[0], argv, json.load(open({str(tmp_path / "nodes.json")!r}))[pod])
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "calls"


def test_a_stack_hands_over_through_kubectl(healthy_redis: Environment, kubectl: Path, command: Run) -> None:
    old = healthy_redis.master()
    code, out, err = command("staging", "--execute")
    assert (code, err) == (ExitCode.DONE, "")
    new = healthy_redis.master()
    assert f"{new} leads now, {old} follows it" in out
    assert new != old
    assert kubectl.read_text().splitlines()[0].startswith("--namespace cache-staging --context ")


@pytest.mark.parametrize(
    ("stack", "code", "says"),
    [
        (["nowhere"], ExitCode.USAGE, "Pulumi.nowhere.yaml"),
        (["dev", "--set", "nonsense"], ExitCode.USAGE, "nonsense"),
        (["local", "--set", "redis.memory=1Gi"], ExitCode.USAGE, "no stack file"),
        (["local"], ExitCode.FAILED, "start one with 'make up'"),
    ],
)
def test_a_set_that_is_not_there_is_one_line(
    stack: list[str], code: int, says: str, command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT, str(tmp_path / "none"))
    said = command(*stack)
    assert (said[0], said[1], said[2].count("\n")) == (code, "", 1)
    assert says in said[2]
