"""The dashboards as documents: what Grafana would misread, and what would show an empty panel."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alerts.rules import ALERTS, Links
from alerts.thresholds import Thresholds
from cacheclient.contract import DASHBOARD_UIDS, EXPORTER_METRICS, METRICS, Job, Process
from dashboards import __main__ as command
from dashboards.boards import BOARDS, build
from dashboards.provisioning import config_maps, provider_yaml
from tests.views.conftest import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTS = {key: board(Thresholds()) for key, board in BOARDS.items()}
# Families that repeat another one for people or for requirements; queries read the other one.
DUPLICATES = {"cache_hit_rate", "cache_lookup_duration_ms", "cache_write_duration_ms"}
UNITS = {"percentunit", "s", "bytes", "Bps", "ops", "reqps", "short", "none", "currencyUSD"}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


PLAIN = {"row", "text"}  # what asks nothing
DRAWN = [(key, panel) for key, board in DOCUMENTS.items() for panel in panels(board) if panel["type"] not in PLAIN]
QUERIES = [(key, panel["title"], target) for key, panel in DRAWN for target in panel["targets"]]
EVENTS = [(key, note["name"], note) for key, board in DOCUMENTS.items() for note in board["annotations"]["list"]]
each_panel = pytest.mark.parametrize(("key", "panel"), DRAWN, ids=lambda v: v["title"] if isinstance(v, dict) else v)
each_query = pytest.mark.parametrize(
    ("key", "title", "target"), QUERIES + EVENTS, ids=lambda v: v.get("refId", "") if isinstance(v, dict) else v
)


@pytest.mark.parametrize("key", BOARDS)
def test_a_board_is_a_current_document_with_its_uid_and_no_relics(key: str) -> None:
    board = DOCUMENTS[key]
    assert board["uid"] == DASHBOARD_UIDS[key]
    assert board["schemaVersion"] >= 36
    assert board["graphTooltip"] == 1
    assert board["editable"] is False
    assert not board.keys() & {"id", "version", "__inputs", "rows", "sharedCrosshair", "style", "gnetId"}
    assert "null" not in re.sub(r'"value": ?null', "", json.dumps(board))


@pytest.mark.parametrize("key", BOARDS)
def test_panels_have_unique_ids_and_lie_side_by_side_on_the_grid(key: str) -> None:
    found = list(panels(DOCUMENTS[key]))
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in found:
        place = panel["gridPos"]
        assert place["w"] >= 1
        assert 0 <= place["x"] <= 24 - place["w"], panel["title"]
    for together in [DOCUMENTS[key]["panels"], *(panel.get("panels", []) for panel in found)]:
        for one, other in itertools.combinations(together, 2):
            a, b = one["gridPos"], other["gridPos"]
            apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            apart_y = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            assert apart_x or apart_y, f"{one['title']} overlaps {other['title']}"


@pytest.mark.parametrize("key", BOARDS)
def test_titles_on_a_board_are_unique(key: str) -> None:
    titles = [panel["title"] for panel in panels(DOCUMENTS[key])]
    assert len(set(titles)) == len(titles)


@each_panel
def test_a_panel_says_what_it_means_in_a_known_unit(key: str, panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 15, key
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert panel["pluginVersion"]
    assert "maxDataPoints" not in panel
    for alert in re.findall(r"\b(?:Redis|Cache)[A-Z]\w+", panel["description"]):
        assert alert in {a.name for a in ALERTS}, alert
    if "legend" in panel["options"] and panel["type"] != "heatmap":
        assert panel["options"]["legend"]["showLegend"] is True


@each_panel
def test_thresholds_rise_from_minus_infinity(key: str, panel: dict[str, Any]) -> None:
    found = [panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    for override in panel["fieldConfig"].get("overrides", []):
        found += [p["value"]["steps"] for p in override["properties"] if p["id"] == "thresholds"]
    for steps in found:
        assert steps[0]["value"] is None, key
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(set(values))


@each_panel
def test_targets_name_the_chosen_datasource_and_a_reference_of_their_own(key: str, panel: dict[str, Any]) -> None:
    assert panel["targets"], key
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["instant"] is not target["range"] for target in panel["targets"])
    if panel["type"] == "table":
        shown = panel["transformations"][1]["options"]["include"]["names"]
        assert {f"Value #{ref}" for ref in refs} <= set(shown)


@each_query
def test_a_query_reads_existing_metrics_within_the_chosen_namespace(
    key: str, title: str, target: dict[str, Any], parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    for use in parse(target["expr"]).uses():
        assert use.matchers["namespace"] == "$namespace", title
        if use.metric == "ALERTS":
            continue
        assert use.metric in exposed, title
        assert set(use.matchers) <= exposed[use.metric].labels | {"job", "namespace", "instance"}, use
        ours = any(use.metric.startswith(metric.name) for metric in METRICS)
        assert ours or use.metric in set(Process) or use.matchers["job"] in set(Job), use
        if exposed[use.metric].kind == "counter":
            assert use.function in {"rate", "increase"}, f"{key}: {use}"


@each_query
def test_labels_in_a_legend_survive_the_query(
    key: str, title: str, target: dict[str, Any], parse: Callable[[str], Any], exposed: dict[str, Any]
) -> None:
    if "ALERTS{" in target["expr"]:
        return
    labels = parse(target["expr"]).labels(exposed) or frozenset()
    legend = target.get("legendFormat", target.get("textFormat", ""))
    used = set(re.findall(r"\{\{(\w+)\}\}", legend))
    # A figure without labels has one series, and Grafana shows no name for it.
    assert used <= labels or (used == {"namespace"} and not labels), f"{key}: {title}"


@each_query
def test_variables_in_a_query_exist_on_its_board(key: str, title: str, target: dict[str, Any]) -> None:
    known = {variable["name"] for variable in DOCUMENTS[key]["templating"]["list"]}
    used = {name for name in re.findall(r"\$(\w+)", target["expr"]) if not name.startswith("__")}
    assert used <= known, title
    assert "$__" not in target["expr"] or "legendFormat" in target, "annotations know no $__rate_interval"


@pytest.mark.parametrize("key", BOARDS)
def test_variables_are_filled_from_existing_metrics(key: str, exposed: dict[str, Any]) -> None:
    source, *variables = DOCUMENTS[key]["templating"]["list"]
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")
    for variable in (v for v in variables if v["type"] != "textbox"):
        found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"])
        assert found
        metric, label = found.groups()
        assert label in exposed[metric].labels | {"job", "namespace", "instance"}
        assert (variable["allValue"], variable["multi"], variable["refresh"]) == (".+", True, 2)


def test_links_lead_to_boards_that_exist() -> None:
    text = json.dumps(list(DOCUMENTS.values()))
    built = {DASHBOARD_UIDS[key] for key in BOARDS}
    linked = set(re.findall(r"/d/([\w-]+)", text))
    assert linked
    assert linked <= built
    assert {alert.board for alert in ALERTS} <= set(BOARDS)


def test_every_metric_of_ours_is_read_by_a_rule_or_a_panel(parse: Callable[[str], Any]) -> None:
    rules = [rule["expr"] for rule in RULES]
    texts = [*rules, *(target["expr"] for _, _, target in QUERIES + EVENTS)]
    read = {use.metric for text in texts for use in parse(text).uses()}
    plain = {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in read}
    assert {metric.name for metric in METRICS} - plain == DUPLICATES
    assert EXPORTER_METRICS - read == set()


def test_the_same_program_writes_the_same_bytes_and_few_of_them() -> None:
    assert build() == build()
    assert set(build()) == {f"{DASHBOARD_UIDS[key]}.json" for key in BOARDS}
    for text in build().values():
        assert len(text.encode()) < 200_000


def test_thresholds_reach_the_panels() -> None:
    usual, strict = build(), build(Thresholds(target_l1_hit_rate=0.55))
    assert '"value":0.55' not in usual["cache-1.json"]
    assert '"value":0.55' in strict["cache-1.json"]


def test_descriptions_link_the_runbook_of_the_alerts_they_name() -> None:
    plain, linked = (
        build()["cache-3.json"],
        build(links=Links(runbooks="https://docs.example/runbooks"))["cache-3.json"],
    )
    assert "Alert: RedisMemoryHigh." in plain
    assert "Alert: [RedisMemoryHigh](https://docs.example/runbooks#redismemoryhigh)." in linked
    assert json.loads(linked).keys() == json.loads(plain).keys()


def test_config_maps_carry_one_dashboard_each_for_the_sidecar() -> None:
    maps = config_maps("Caches")
    assert len(maps) == len(BOARDS)
    for name, parts in maps.items():
        assert re.fullmatch(r"[a-z0-9-]{1,63}", name)
        assert parts["labels"] == {"grafana_dashboard": "1"}
        assert parts["annotations"] == {"grafana_folder": "Caches"}
        ((file, text),) = parts["data"].items()
        assert json.loads(text)["uid"] == file.removesuffix(".json")


def test_the_provider_file_reads_a_folder_and_lets_nobody_edit_it() -> None:
    (provider,) = yaml.safe_load(provider_yaml("/var/lib/grafana/dashboards"))["providers"]
    assert provider["options"] == {"path": "/var/lib/grafana/dashboards"}
    assert (provider["allowUiUpdates"], provider["disableDeletion"]) == (False, True)


def test_the_command_writes_the_boards_and_names_a_folder_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["write", "--out", str(tmp_path / "new" / "boards")]) == 0
    written = {file.name: file.read_text(encoding="utf-8") for file in (tmp_path / "new" / "boards").iterdir()}
    assert written == {name: text + "\n" for name, text in build().items()}
    (tmp_path / "file").touch()
    assert command.main(["write", "--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err
