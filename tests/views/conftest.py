"""What the tests of rules and panels share: promtool, parsed queries, and what real targets expose."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest

from alerts.rules import prometheus_rule_spec
from cacheclient.contract import METRICS, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRAPES = Path(__file__).parent / "data"
RULES: list[dict[str, Any]] = [rule for group in prometheus_rule_spec("cache")["groups"] for rule in group["rules"]]
TARGET_LABELS = {"job", "namespace", "pod", "instance"}


@dataclass(frozen=True)
class Use:
    """One selector in a query: the metric, its matchers, and the function and range (seconds) it stands under."""

    metric: str
    matchers: dict[str, str]
    function: str
    range_seconds: float | None


@dataclass(frozen=True)
class Exposed:
    """One metric that a real target exposes, or that the contract promises."""

    kind: str
    labels: frozenset[str]


class Query:
    """A PromQL expression, parsed; dashboard variables stand for any value, ``$__rate_interval`` for a minute.

    Prices are numbers, not texts.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        numbers = re.sub(r"\$price_\w+", "1", text)
        self.ast = promql.parse(re.sub(r"\$__rate_interval|\$__range", "1m", numbers))

    def uses(self) -> list[Use]:
        """Return every selector of the query."""
        return list(_uses(self.ast, "", None))

    def comparisons(self) -> list[str]:
        """Return the comparison operators of the query."""
        found: list[str] = []

        def visit(node: Any) -> None:
            if isinstance(node, promql.BinaryExpr) and str(node.op) in {"==", "!=", ">", "<", ">=", "<="}:
                found.append(str(node.op))

        promql.walk(self.ast, visit)
        return found

    def labels(self, exposed: dict[str, Exposed]) -> frozenset[str] | None:
        """Return the labels that the result carries, None for a scalar."""
        return _labels(self.ast, exposed)


def _uses(node: Any, function: str, window: float | None) -> Iterator[Use]:
    match node:
        case promql.VectorSelector():
            yield Use(node.name, {m.name: m.value for m in node.matchers.matchers}, function, window)
        case promql.MatrixSelector():
            yield from _uses(node.vector_selector, function, node.range.total_seconds())
        case promql.Call():
            for argument in node.args:
                yield from _uses(argument, node.func.name, None)
        case promql.BinaryExpr():
            yield from _uses(node.lhs, "", None)
            yield from _uses(node.rhs, "", None)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _uses(node.expr, "", None)


def _labels(node: Any, exposed: dict[str, Exposed]) -> frozenset[str] | None:
    match node:
        case promql.VectorSelector():
            return exposed[node.name].labels | TARGET_LABELS
        case promql.Call():
            return _call_labels(node, exposed)
        case promql.AggregateExpr():
            return _grouped_labels(node, exposed)
        case promql.BinaryExpr():
            return _binary_labels(node, exposed)
        case promql.NumberLiteral():
            return None
    return _labels(node.vector_selector if isinstance(node, promql.MatrixSelector) else node.expr, exposed)


def _grouped_labels(node: Any, exposed: dict[str, Exposed]) -> frozenset[str]:
    inner = _labels(node.expr, exposed) or frozenset()
    if str(node.op) in {"topk", "bottomk"}:
        return inner
    wanted = frozenset(node.modifier.labels) if node.modifier else frozenset()
    assert wanted <= inner, f"{sorted(wanted - inner)} is no label below {node.prettify()}"
    return wanted


def _call_labels(node: Any, exposed: dict[str, Exposed]) -> frozenset[str] | None:
    if node.func.name == "time":
        return None
    if node.func.name == "absent":
        return frozenset(m.name for m in node.args[0].matchers.matchers if m.op == promql.MatchOp.Equal)
    inner = _labels(node.args[-1], exposed)
    return inner - {"le"} if inner and node.func.name == "histogram_quantile" else inner


def _binary_labels(node: Any, exposed: dict[str, Exposed]) -> frozenset[str] | None:
    left, right = _labels(node.lhs, exposed), _labels(node.rhs, exposed)
    if left is None or right is None:
        return right if left is None else left
    if str(node.op) in {"and", "unless"}:
        return left
    if str(node.op) == "or":
        return left & right
    if node.modifier and node.modifier.matching:
        keep = frozenset(node.modifier.matching.labels)
        assert keep <= left & right, f"{sorted(keep)}: not on both sides of {node.op}"
        if node.modifier.card == promql.VectorMatchCardinality.ManyToOne:
            keep = left
        elif node.modifier.card == promql.VectorMatchCardinality.OneToMany:
            keep = right
        return keep | frozenset(node.modifier.group_labels or ())
    assert left == right, f"{sorted(left ^ right)}: on one side of {node.op} only, so nothing would match"
    return left


def _scraped() -> dict[str, Exposed]:
    found: dict[str, Exposed] = {}
    for path in sorted(SCRAPES.glob("*.prom")):
        kinds: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                kinds[name] = kind
                continue
            series = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line)
            assert series, f"{path.name}: {line!r} is no sample"
            labels = frozenset(re.findall(r'(\w+)="', series[2] or ""))
            known = found.get(series[1], Exposed("", frozenset())).labels
            found[series[1]] = Exposed(kinds.get(series[1], "summary"), known | labels)
    return found


@pytest.fixture(scope="session")
def scraped() -> dict[str, Exposed]:
    """Return what the committed scrapes of a real master, replica and Sentinel hold."""
    return _scraped()


@pytest.fixture(scope="session")
def scraped_by_role() -> dict[str, set[str]]:
    """Return which series each of the committed scrapes holds."""
    return {
        path.stem: set(re.findall(r"^(\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
        for path in SCRAPES.glob("*.prom")
    }


@pytest.fixture(scope="session")
def exposed(scraped: dict[str, Exposed], spec: dict[str, Any]) -> dict[str, Exposed]:
    """Return every metric a query may read: the exporter's, the client's, Prometheus's own ``up``, the recordings."""
    known = {**scraped, "up": Exposed("gauge", frozenset())}
    for process in Process:
        known[process] = Exposed("counter" if process.endswith("_total") else "gauge", frozenset())
    for metric in METRICS:
        if metric.kind == "histogram":
            for suffix, extra in (("_bucket", {"le"}), ("_sum", set()), ("_count", set())):
                known[metric.name + suffix] = Exposed("counter", frozenset(metric.labels) | extra)
        else:
            known[metric.name] = Exposed(metric.kind, frozenset(metric.labels))
    for group in spec["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                known[rule["record"]] = Exposed("recorded", Query(rule["expr"]).labels(known) or frozenset())
    return known


@pytest.fixture(scope="session")
def parse() -> Callable[[str], Query]:
    """Return the parser of queries."""
    return Query


@pytest.fixture(scope="session")
def spec() -> dict[str, Any]:
    """Return the rules of the namespace that the cases live in."""
    return prometheus_rule_spec("cache")


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the path of promtool."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not on PATH: install Prometheus (Debian, Ubuntu: apt-get install prometheus)")
    return path
