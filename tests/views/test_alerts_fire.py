"""Each alert fires when it must and stays silent on the near miss, as Prometheus itself evaluates the rules.

The cases are in tests/promtool. Mutants of the rules prove the cases: a flipped comparison or a dropped hold that no
case notices fails the suite.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from alerts import signals
from alerts.model import Signal
from alerts.rules import GROUPS
from tests.views.conftest import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = Path(__file__).parents[1] / "promtool"
JOBS = {
    "redis": "redis", "sentinel": "redis-sentinel", "cache-client": "cache-api", "backup": "redis", "slo": "cache-api",
    "warmup": "redis",
}  # fmt: skip
STEPS = dict.fromkeys(JOBS, 15) | {
    "slo": 60,
    "backup": 60,
    "warmup": 60,
}  # seconds between two samples, and between two evaluations


@dataclass(frozen=True)
class Case:
    """What happens to one alert: the samples, when it must fire or stay silent, and what it then says."""

    alert: str
    group: str
    because: str
    series: dict[str, str]
    at: tuple[str, ...] = ()
    onset: str = ""
    labels: dict[str, str] | None = None
    description: str = ""

    def __str__(self) -> str:
        return f"{self.alert}: {self.because}"

    def as_promtool(self, rule: dict[str, Any]) -> dict[str, Any]:
        """Return the case as a test group of ``promtool test rules``."""
        return {
            "interval": f"{STEPS[self.group]}s",
            "input_series": [{"series": _full(name, self.group), "values": v} for name, v in self.series.items()],
            "alert_rule_test": self._fires(rule) if self.onset else [self._silent(at) for at in self.at],
        }

    def _silent(self, at: str) -> dict[str, Any]:
        return {"eval_time": at, "alertname": self.alert, "exp_alerts": []}

    def _fires(self, rule: dict[str, Any]) -> list[dict[str, Any]]:
        due = seconds(self.onset) + seconds(rule["for"])
        expected = {
            "exp_labels": {"namespace": "cache", **rule["labels"], **(self.labels or {})},
            "exp_annotations": {**rule["annotations"], "description": self.description},
        }
        before = [self._silent(f"{due - STEPS[self.group]}s")] if due else []
        return [*before, {"eval_time": f"{due}s", "alertname": self.alert, "exp_alerts": [expected]}]


def seconds(duration: str) -> int:
    """Return a Prometheus duration in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    parts = re.findall(r"(\d+)([smhd])", duration)
    assert parts, f"{duration!r} is no duration"
    return sum(int(number) * units[unit] for number, unit in parts)


def _full(series: str, group: str) -> str:
    """Return the selector with the job and the namespace it inherits."""
    name, _, labels = series.rstrip("}").partition("{")
    defaults = {"job": JOBS[group], "namespace": "cache"}
    missing = [f'{key}="{value}"' for key, value in defaults.items() if not re.search(rf"\b{key}=", labels)]
    return f"{name}{{{','.join([*missing, labels])}}}"


def cases(kind: str) -> list[Case]:
    """Return all cases of one kind: ``fires`` or ``quiet``."""
    found = []
    for group in GROUPS:
        path = CASES / f"{group.name}.yaml"
        # BaseLoader keeps every scalar a string: `0x60` is sixty zeros to promtool and a hexadecimal number to YAML.
        for alert, entry in yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader).items():  # noqa: S506
            found += [Case(alert=alert, group=group.name, **fields) for fields in entry.get(kind, [])]
    return found


@dataclass(frozen=True)
class Trial:
    """Rules, and the test groups of ``promtool test rules`` that judge them."""

    rules: list[dict[str, Any]]
    tests: list[dict[str, Any]]
    step: int


def trial(rule: dict[str, Any], chosen: list[Case], mutant: dict[str, Any] | None = None) -> Trial:
    """Return the trial of an alert, or of a mutant of it, on some of its cases.

    promtool evaluates every rule at every step, so it gets this one and the recordings that it reads only.
    """
    read = [recording for recording in RECORDINGS if recording["record"] in rule["expr"]]
    return Trial([*read, mutant or rule], [case.as_promtool(rule) for case in chosen], STEPS[chosen[0].group])


def complaints(promtool: str, trials: list[Trial], folder: Path) -> list[str]:
    """Return what promtool says against each trial, "" for nothing; one process judges all of them."""
    for number, each in enumerate(trials):
        rules = {"groups": [{"name": "rules", "rules": each.rules}]}
        test = {"rule_files": [f"rules-{number}.yml"], "evaluation_interval": f"{each.step}s", "tests": each.tests}
        (folder / f"rules-{number}.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
        (folder / f"test-{number}.yml").write_text(yaml.safe_dump(test), encoding="utf-8")
    files = [str(folder / f"test-{number}.yml") for number in range(len(trials))]
    result = subprocess.run(
        [promtool, "test", "rules", *files],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=100,
    )  # fmt: skip
    _, *verdicts = re.split(r"^Unit Testing: .*\n", result.stdout, flags=re.MULTILINE)
    assert len(verdicts) == len(trials), result.stdout
    return ["" if verdict.strip() == "SUCCESS" else verdict for verdict in verdicts]


RECORDINGS = [rule for rule in RULES if "record" in rule]
ALERTING = {rule["alert"]: rule for rule in RULES if "alert" in rule}
FIRES, QUIET = cases("fires"), cases("quiet")
OPPOSITE = {"==": "!=", "!=": "==", ">": "<=", "<": ">=", ">=": "<", "<=": ">"}
COMPARISON = re.compile(r" (==|!=|>=|<=|>|<) ")


def test_every_alert_has_a_case_that_fires_and_a_near_miss_and_no_case_is_orphaned() -> None:
    for kind in (FIRES, QUIET):
        covered = Counter(case.alert for case in kind)
        assert set(covered) == set(ALERTING)
    assert all(case.at for case in QUIET)
    assert all(case.onset and case.description for case in FIRES)


@pytest.mark.parametrize("alert", ALERTING)
def test_the_alert_fires_on_time_and_not_on_the_near_miss(alert: str, promtool: str, tmp_path: Path) -> None:
    chosen = [case for case in FIRES + QUIET if case.alert == alert]
    (complaint,) = complaints(promtool, [trial(ALERTING[alert], chosen)], tmp_path)
    assert not complaint, "\n".join([*map(str, chosen), complaint])


@pytest.mark.parametrize("alert", ALERTING)
def test_a_broken_rule_is_noticed_by_its_cases(alert: str, promtool: str, tmp_path: Path) -> None:
    rule, survivors = ALERTING[alert], list(mutants(ALERTING[alert]))
    # The cases that fire tell nearly every mutant; only the rest is worth the near misses.
    for kind in (FIRES, QUIET):
        chosen = [case for case in kind if case.alert == alert]
        verdicts = complaints(promtool, [trial(rule, chosen, mutant) for mutant in survivors], tmp_path)
        survivors = [mutant for mutant, verdict in zip(survivors, verdicts, strict=True) if "exp:" not in verdict]
        if not survivors:
            return
    pytest.fail(f"no case of {alert} notices {survivors}")


TARGET = [("l1", "0+50x40", "0+50x40"), ("l2", "0+40x40", "0+10x40")]
IDLE = [("l1", "5x40", "5x40"), ("l2", "5x40", "5x40")]


@pytest.mark.parametrize(
    ("signal", "tiers", "expected"),
    [
        # L1 answers half, L2 four fifths of the rest: nine of ten, not six of ten.
        (signals.HIT_RATE, TARGET, [0.9]),
        (signals.L1_HIT_RATE, TARGET, [0.5]),
        (signals.LOOKUPS, [("l1", "0+15x40", "0+15x40"), ("l2", "0+9x40", "0+6x40")], [2]),
        # An idle cache has no ratio: neither 0, which would alert, nor NaN, which would spoil a sum.
        (signals.HIT_RATE, IDLE, []),
        (signals.L1_HIT_RATE, IDLE, []),
        (signals.L2_HIT_RATE, IDLE, []),
    ],
    ids=lambda value: value.title if isinstance(value, Signal) else None,
)
def test_recorded_ratios_count_each_lookup_once_and_are_absent_when_idle(
    signal: Signal,
    tiers: list[tuple[str, str, str]],
    expected: list[float],
    promtool: str,
    tmp_path: Path,
) -> None:
    series = {
        f'cache_{what}_total{{pod="api-0",cache="fp",tier="{tier}"}}': values
        for tier, *both in tiers
        for what, values in zip(("hits", "misses"), both, strict=True)
    }
    samples = [{"labels": f'{signal.record}{{namespace="cache"}}', "value": value} for value in expected]
    test = {
        "interval": f"{STEPS['cache-client']}s",
        "input_series": [{"series": _full(name, "cache-client"), "values": v} for name, v in series.items()],
        "promql_expr_test": [{"expr": signal.record, "eval_time": "8m", "exp_samples": samples}],
    }
    assert complaints(promtool, [Trial(RECORDINGS, [test], STEPS["cache-client"])], tmp_path) == [""]


def mutants(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield copies of a rule with one comparison flipped, or with its hold dropped."""
    expr = rule["expr"]
    for found in COMPARISON.finditer(expr):
        yield {**rule, "expr": f"{expr[: found.start(1)]}{OPPOSITE[found[1]]}{expr[found.end(1) :]}"}
    if rule["for"] != "0s":
        yield {**rule, "for": "0s"}
