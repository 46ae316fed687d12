"""The rules as text: well-formed, bounded to their targets, and about metrics and labels that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alerts import __main__ as command
from alerts.rules import ALERTS, Links, prometheus_rule_spec, prometheus_yaml
from alerts.scope import Scope
from alerts.signals import ERROR_RATIO, MASTERS, MEMORY_RATIO
from alerts.thresholds import Thresholds
from cacheclient.contract import DASHBOARD_UIDS, EXPORTER_METRICS, SCRAPE_SECONDS, Job
from tests.alert_drill.causes import CAUSES, NOT_LIVE
from tests.views.conftest import RULES

if TYPE_CHECKING:
    from collections.abc import Callable

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
ALERTING = [rule for rule in RULES if "alert" in rule]


def name_of(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def test_promtool_finds_nothing_to_complain_about(promtool: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(prometheus_yaml("cache"), encoding="utf-8")
    result = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(file)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"{len(RULES)} rules found" in result.stdout


def test_the_rule_file_and_the_kubernetes_object_hold_the_same_rules() -> None:
    assert yaml.safe_load(prometheus_yaml("cache")) == prometheus_rule_spec("cache")


def test_names_are_unique_and_at_least_twelve_alerts_exist() -> None:
    names = [name_of(rule) for rule in RULES]
    assert len(set(names)) == len(names)
    assert len(ALERTING) >= 12


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_every_selector_names_its_job_and_namespace(rule: dict[str, Any], parse: Callable[[str], Any]) -> None:
    for use in parse(rule["expr"]).uses():
        assert use.matchers["namespace"] == "cache", use
        if ":" not in use.metric:
            assert use.matchers["job"] in set(Job), use


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_every_metric_and_label_that_is_read_exists(
    rule: dict[str, Any], parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    for use in parse(rule["expr"]).uses():
        assert use.metric in exposed
        assert set(use.matchers) <= exposed[use.metric].labels | {"job", "namespace"}, use


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_every_rate_holds_four_scrapes_and_every_counter_is_under_one(
    rule: dict[str, Any], parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    for use in parse(rule["expr"]).uses():
        if use.range_seconds is not None:
            assert use.range_seconds >= 4 * SCRAPE_SECONDS, use
        # A counter's mere existence is a fact too: absent(), and a series that was not there before.
        if exposed[use.metric].kind == "counter" and use.function != "absent" and name_of(rule) != "RedisWriteRefused":
            assert use.function in {"rate", "increase"}, use


@pytest.mark.parametrize("rule", ALERTING, ids=name_of)
def test_every_alert_compares_something_and_an_absence_waits(rule: dict[str, Any], parse: Callable[[str], Any]) -> None:
    query = parse(rule["expr"])
    absence = [use for use in query.uses() if use.function == "absent"]
    assert query.comparisons() or absence
    assert not absence or rule["for"] != "0s"


@pytest.mark.parametrize("rule", ALERTING, ids=name_of)
def test_labels_in_the_description_survive_the_expression(
    rule: dict[str, Any], parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    labels = parse(rule["expr"]).labels(exposed)
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    assert used, "a description names what is affected"
    assert used <= labels
    assert "namespace" in labels


@pytest.mark.parametrize("rule", ALERTING, ids=name_of)
def test_the_summary_is_constant_and_the_severity_one_of_three(rule: dict[str, Any]) -> None:
    assert "{{" not in rule["annotations"]["summary"]
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_exporter_metric_in_the_contract_was_seen_on_a_real_target(scraped: dict[str, Any]) -> None:
    assert EXPORTER_METRICS - set(scraped) == set()


def test_every_alert_has_a_section_in_the_runbooks_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(sections) == sorted(alert.name for alert in ALERTS)


def test_links_point_to_the_runbook_section_and_to_a_dashboard() -> None:
    links = Links(runbooks="https://docs.example/runbooks", grafana="https://grafana.example/")
    spec = prometheus_rule_spec("cache", links=links)
    for rule in (rule for group in spec["groups"] for rule in group["rules"] if "alert" in rule):
        notes = rule["annotations"]
        assert notes["runbook_url"] == f"https://docs.example/runbooks#{rule['alert'].lower()}"
        assert notes["dashboard_url"].removeprefix("https://grafana.example/d/") in DASHBOARD_UIDS.values()


def test_thresholds_reach_the_rules() -> None:
    spec = prometheus_rule_spec("cache", Thresholds(memory_ratio=0.7, sentinels=5, quorum=3))
    exprs = {rule["alert"]: rule["expr"] for group in spec["groups"] for rule in group["rules"] if "alert" in rule}
    assert exprs["RedisMemoryHigh"].endswith(" > 0.7")
    assert exprs["RedisSentinelQuorumAtRisk"].endswith(" < 5")
    assert exprs["RedisFailoverStuck"].endswith(" >= 3")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory_ratio": 1.2}, "memory_ratio 1.2: a share, above 0 and at most 1"),
        ({"connections": 0}, "connections 0: a finite number above 0"),
        ({"connections": 10.5}, "connections 10.5: a whole number"),
        ({"hit_rate": True}, "hit_rate True: a finite number above 0"),
        ({"hit_rate": float("nan")}, "hit_rate nan: a finite number above 0"),
        ({"quorum": 1}, r"quorum 1: more than half of sentinels \(3\), and at most all"),
        ({"lookup_p95_seconds": 0.004}, "lookup_p95_seconds 0.004: one of the bucket edges 5e-06, .* 0.005,"),
        ({"slow_budget_ratio": 0.07}, r"slow_budget_ratio 0\.07: at most 1/14\.4"),
        ({"outage_seconds": 50}, "outage_seconds 50: one of the bucket edges"),
    ],
)
def test_impossible_thresholds_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Thresholds(**fields)


@pytest.mark.parametrize("namespace", ["", "Cache", "-cache", "cache-", "a" * 64, 'x"} or up{a="'])
def test_an_impossible_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match=r"^namespace .*: at most 63"):
        prometheus_rule_spec(namespace)


def test_a_signal_is_a_rule_and_a_panel_of_one_formula() -> None:
    scope = Scope.of_namespace("cache")
    reading = MEMORY_RATIO.panel(scope, Thresholds(memory_ratio=0.7))
    assert reading.expr == MEMORY_RATIO.recording().expr(scope)
    assert (reading.limit, reading.good) == (0.7, "below")
    assert MEMORY_RATIO.beyond(scope, Thresholds()) == (
        'namespace_pod:redis_memory_used:ratio{namespace="cache"} > 0.8'
    )
    with pytest.raises(ValueError, match="'Masters' has no limit"):
        MASTERS.beyond(scope, Thresholds())
    with pytest.raises(ValueError, match="'Errors per lookup' is not recorded"):
        ERROR_RATIO.recording()


def test_the_command_writes_the_file_and_refuses_a_bad_namespace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.yml"
    assert command.main(["--namespace", "cache", "--out", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == prometheus_yaml("cache")
    assert command.main(["--namespace", "cache"]) == 0
    assert capsys.readouterr().out == prometheus_yaml("cache")
    assert command.main(["--namespace", "No"]) == 2
    assert "namespace 'No'" in capsys.readouterr().err
    assert command.main(["--namespace", "cache", "--out", str(tmp_path / "no" / "rules.yml")]) == 2


def test_every_section_says_how_its_alert_was_tested() -> None:
    live: dict[str, list[str]] = {}
    for cause in CAUSES:
        for alert in (*cause.alerts, *cause.after):
            live.setdefault(alert, []).append(cause.name)
    assert not live.keys() & NOT_LIVE.keys()
    said = re.findall(r"^### (\w+)\n.*?^\*\*Tested:\*\* (.*?)$", RUNBOOKS.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert dict(said) == {
        alert.name: f"on written samples; live, *{', '.join(live[alert.name])}*."
        if alert.name in live
        else f"on written samples only: it {NOT_LIVE[alert.name]}."
        for alert in ALERTS
    }, "the drill's causes (tests/alert_drill/causes.py) and the runbooks differ"
