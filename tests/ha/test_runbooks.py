"""The commands at the head of the runbooks, as somebody on call types them, on a real set."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from cacheclient.contract import ScriptEnv
from infra.local.process import wait_until

if TYPE_CHECKING:
    from infra.local.control import Environment

TEXT = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")
CLI = """#!/bin/sh
case $* in *26379*) shift 2; port={sentinel_port} host={sentinel} ;; *) port={port} host={host} ;; esac
exec {cli} --no-auth-warning -e -h "$host" -p "$port" "$@"
"""


def test_what_the_head_says_to_type_works_on_a_set(healthy_redis: Environment, tmp_path: Path) -> None:
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
             for line in block.splitlines() if not line.startswith("kubectl")]  # fmt: skip
    (host, port), (sentinel, sentinel_port) = (
        healthy_redis.redis_nodes[healthy_redis.master()],
        healthy_redis.sentinel_nodes["sentinel-0"],
    )
    cli = healthy_redis.state.processes["redis-0"].environment["REDIS_CLI"]
    wrapper = tmp_path / "redis-cli"
    wrapper.write_text(CLI.format(cli=cli, host=host, port=port, sentinel=sentinel, sentinel_port=sentinel_port))
    wrapper.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        ScriptEnv.SECRET_DIR: str(healthy_redis.secret_dir),
    }
    script = "\n".join(["set -eu", *lines, "! oncall PING 2>&1"]).replace("cache-STACK", healthy_redis.set_name)
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr + done.stdout
    assert "role:master" in done.stdout
    assert "OK 3 usable Sentinels" in done.stdout
    assert "user is disabled." in done.stdout, "the user of the incident still has rights"


def test_every_command_of_a_section_is_one_that_servers_know(healthy_redis: Environment, tmp_path: Path) -> None:
    named = set(re.findall(r"`([A-Z]{3,}) [A-Za-z]", TEXT)) - {"SENTINEL"}
    assert {"CONFIG", "SLOWLOG", "LATENCY", "ACL"} <= named
    server = healthy_redis.state.processes["redis-0"].environment["REDIS_SERVER"]
    socket = tmp_path / "s"
    alone = subprocess.Popen([server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)],
                             stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        cli = healthy_redis.state.processes["redis-0"].environment["REDIS_CLI"]
        wait_until(socket.exists, 10)
        answer = subprocess.run([cli, "-s", str(socket), "COMMAND", "LIST"], capture_output=True, text=True, check=True)
    finally:
        alone.kill()
        alone.wait()
    assert {name.lower() for name in named} <= set(answer.stdout.split())
