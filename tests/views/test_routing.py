"""The Alertmanager configuration: accepted by amtool, each severity to its receiver, each silence for a reason."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from alerts import __main__ as command
from alerts.objectives import OBJECTIVES
from alerts.routing import EXPLAINS, alertmanager_yaml
from alerts.rules import ALERTS

HOOKS = {name: f"http://127.0.0.1:9/{name}" for name in ("page", "chat", "log")}
BY_NAME = {alert.name: alert for alert in ALERTS}


@pytest.fixture(scope="module")
def amtool() -> str:
    path = shutil.which("amtool")
    if path is None:
        pytest.skip("amtool is not on PATH: install it (Debian, Ubuntu: apt-get install prometheus-alertmanager)")
    return path


def test_amtool_accepts_the_configuration(amtool: str, tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(alertmanager_yaml(HOOKS))
    result = subprocess.run(
        [amtool, "check-config", str(file)], capture_output=True, text=True, check=False, timeout=30
    )
    assert result.returncode == 0, result.stderr
    assert f"{len(EXPLAINS)} inhibit rules" in result.stdout
    assert "3 receivers" in result.stdout


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_amtool_routes_each_alert_by_its_severity(alert: object, amtool: str, tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(alertmanager_yaml(HOOKS))
    severity = BY_NAME[alert.name].severity  # type: ignore[attr-defined]
    expected = {"critical": "page", "warning": "chat", "info": "log"}[severity]
    result = subprocess.run(
        [amtool, "config", "routes", "test", f"--config.file={file}", f"--verify.receivers={expected}",
         f"severity={severity}", f"alertname={alert.name}", "namespace=cache"],  # type: ignore[attr-defined]
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_silence_names_alerts_that_exist_and_never_hides_something_worse() -> None:
    rank = ["info", "warning", "critical"]
    for cause, effects in EXPLAINS.items():
        for effect in effects:
            assert rank.index(BY_NAME[effect].severity) <= rank.index(BY_NAME[cause].severity), f"{cause}: {effect}"


def test_no_cause_silences_what_users_feel() -> None:
    felt = {alert.name for objective in OBJECTIVES for alert in objective.alerts() if alert.severity == "critical"}
    assert not felt & {effect for effects in EXPLAINS.values() for effect in effects}


def test_no_alert_explains_itself_through_others() -> None:
    def reached(cause: str) -> set[str]:
        return {found for effect in EXPLAINS.get(cause, ()) for found in {effect} | reached(effect)}

    assert all(cause not in reached(cause) for cause in EXPLAINS)


def test_receivers_are_named_when_one_is_missing() -> None:
    with pytest.raises(ValueError, match="exactly page, chat, log are needed"):
        alertmanager_yaml({"page": "http://127.0.0.1:9/page"})


def test_the_command_writes_an_example(tmp_path: Path) -> None:
    file = tmp_path / "alertmanager.yml"
    assert command.main(["--alertmanager", "--out", str(file)]) == 0
    written = yaml.safe_load(file.read_text())
    assert {r["name"] for r in written["receivers"]} == set(HOOKS)
