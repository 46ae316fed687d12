"""The parts of the local environment that decide without processes: logs, scrapes, ports, scaled times."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml

from infra.local import logs, ports, programs, scrape
from infra.local.errors import LocalError
from infra.local.programs import Ports
from infra.local.state import Process

PORTS = Ports(
    redis=1001,
    sentinel=1002,
    redis_exporter=1003,
    sentinel_exporter=1004,
    prometheus=1005,
    boards=1007,
    grafana=1008,
    api=1006,
)


def node(name: str, kind: str, address: str, port: int) -> Process:
    return Process(name=name, kind=kind, address=address, port=port, argv=(), environment={})


NODES = [node("redis-0", "redis", "127.0.0.11", 1001), node("sentinel-0", "sentinel", "127.0.0.21", 1002)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "it was killed or crashed without a log line"),
        (
            ["12:M 23 Nov 2026 12:00:00.000 # Redis is now ready to exit, bye bye..."],
            "it was told to shut down by somebody else",
        ),
        (["2026-11-23T12:00:00Z redis-start.sh redis-0: refused: for 60 s: x"], "it refused to start: for 60 s: x"),
        (
            ["12:M 23 Nov 2026 12:00:00.000 * Ready"],
            "it was killed or crashed; its last line: 12:M 23 Nov 2026 12:00:00.000 * Ready",
        ),
    ],
)
def test_the_end_of_a_process_is_explained_from_its_log(lines: list[str], reason: str) -> None:
    assert logs.explain_end(lines) == reason


def test_events_of_scripts_and_servers_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(
        "12:X 23 Nov 2026 12:00:02.500 # +switch-master cache-local 127.0.0.11 1 127.0.0.12 1\n"
        "12:X 23 Nov 2026 12:00:02.600 * Sentinel new configuration saved on disk\n"
    )
    (tmp_path / "b.log").write_text(
        "2026-11-23T12:00:02Z redis-stop.sh redis-0: handed over to redis-1\n"
        "12:M 23 Nov 2026 12:00:01.000 * MASTER MODE enabled (user request from 'id=5')\n"
        "not a line of a log\n"
    )
    found = logs.events([("a", tmp_path / "a.log"), ("b", tmp_path / "b.log"), ("c", tmp_path / "missing.log")])
    assert [(event.process, event.text) for event in found] == [
        ("b", "MASTER MODE enabled"),
        ("b", "redis-stop.sh: handed over to redis-1"),
        ("a", "+switch-master cache-local 127.0.0.11 1 127.0.0.12 1"),
    ]


@pytest.mark.parametrize(("lines", "found"), [(0, []), (1, ["3"]), (2, ["2", "3"]), (9, ["1", "2", "3"])])
def test_a_tail_has_the_last_lines(tmp_path: Path, lines: int, found: list[str]) -> None:
    (tmp_path / "x.log").write_text("1\n2\n3\n")
    assert logs.tail(tmp_path / "x.log", lines) == found


def test_each_node_is_scraped_through_the_exporter_of_its_kind() -> None:
    config = yaml.safe_load(scrape.prometheus_config(NODES, PORTS, Path("rules.yml"), Path("found"), with_api=False))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {"redis", "redis-sentinel", "cache-api"}
    for job, exporter, target, pod in (
        ("redis", 1003, "redis://127.0.0.11:1001", "redis-0"),
        ("redis-sentinel", 1004, "redis://127.0.0.21:1002", "sentinel-0"),
    ):
        (targets,) = jobs[job]["static_configs"]
        assert targets == {"targets": [target], "labels": {"namespace": "local", "pod": pod, "instance": pod}}
        assert jobs[job]["relabel_configs"][1] == {
            "target_label": "__address__",
            "replacement": f"127.0.0.1:{exporter}",
        }
    assert config["rule_files"] == ["rules.yml"]


def test_the_api_is_scraped_where_it_runs_and_other_clients_where_they_say() -> None:
    config = yaml.safe_load(scrape.prometheus_config(NODES, PORTS, Path("rules.yml"), Path("found"), with_api=True))
    (clients,) = (job for job in config["scrape_configs"] if job["job_name"] == "cache-api")
    assert clients["static_configs"][0]["targets"] == ["127.0.0.1:1006"]
    assert clients["file_sd_configs"][0]["files"] == ["found/*.json"]
    assert clients["relabel_configs"] == [{"target_label": "namespace", "replacement": "local"}]


def test_exporters_find_a_password_with_and_without_tls_and_the_user_in_the_address() -> None:
    redis = json.loads(scrape.exporter_passwords(NODES[:1], user="exporter", password="p"))  # noqa: S106
    logins = ("redis://", "redis://exporter@", "rediss://", "rediss://exporter@")
    assert redis == {f"{login}127.0.0.11:1001": "p" for login in logins}
    sentinel = json.loads(scrape.exporter_passwords(NODES[1:], user="", password="p"))  # noqa: S106
    assert sentinel == {"redis://127.0.0.21:1002": "p", "rediss://127.0.0.21:1002": "p"}


def test_all_times_of_sentinel_are_scaled_with_down_after() -> None:
    short, real = programs.sentinel_settings(5), programs.sentinel_settings(30)
    assert (real.down_after, real.failover_timeout, real.reboot_down_after) == (30, 180, 15)
    assert (short.down_after, short.failover_timeout, short.reboot_down_after) == (5, 30, 2.5)
    assert short.set_name == "cache-local"


def test_a_port_that_is_taken_on_one_address_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.12", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "CANDIDATES", range(port, port + 1))
        monkeypatch.setattr(ports, "ATTEMPTS", 1)
        with pytest.raises(LocalError, match=r"is free on 127\.0\.0\.11, 127\.0\.0\.12, 127\.0\.0\.13"):
            ports.choose()


def test_chosen_ports_differ() -> None:
    chosen = ports.choose()
    found = [getattr(chosen, field) for field in Ports.__dataclass_fields__]
    assert len(set(found)) == len(found)
