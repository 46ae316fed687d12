"""No alert goes silent when it matters: each loss of the series that it reads is covered, or has its reason beside it.

A comparison with nothing is nothing, so ``count(x) == 0``, ``a / b`` and ``a and b`` never fire once x, b or a has no
series. Here that is computed: from the losses of each selector (``contract.losses``) those of the rule.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import promql_parser as promql
import pytest
from prometheus_client import CollectorRegistry

from alerts.coverage import COVERED
from alerts.rules import ALERTS
from cacheclient import AsyncCache
from cacheclient.contract import EXPORTER_METRICS, METRICS, Exporter, Job, Loss, losses
from cacheclient.metrics import register
from tests.conftest import PATIENCE, free_port
from tests.views.conftest import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Server

Lost = frozenset[tuple[Job | None, Loss]]
RECORDED = {rule["record"]: promql.parse(rule["expr"]) for rule in RULES if "record" in rule}
CONDITIONS = {rule["alert"]: promql.parse(rule["expr"]) for rule in RULES if "alert" in rule}
SETS = {"and", "or", "unless"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


def lost(node: Any) -> Lost:
    """Return the losses with which the result of an expression has no series, so that it cannot fire."""
    match node:
        case promql.VectorSelector():
            if node.name in RECORDED:
                return lost(RECORDED[node.name])
            matched = {m.name: m.value for m in node.matchers.matchers}
            return frozenset((Job(matched["job"]), loss) for loss in losses(_family(node.name), frozenset(matched)))
        case promql.Call():
            return frozenset() if node.func.name == "absent" else frozenset().union(*map(lost, node.args))
        case promql.BinaryExpr():
            return _lost_between(node)
        case promql.NumberLiteral():
            return frozenset()
    return lost(node.vector_selector if isinstance(node, promql.MatrixSelector) else node.expr)


def _lost_between(node: Any) -> Lost:
    left, right = lost(node.lhs), lost(node.rhs)
    match str(node.op):
        case "or":
            return left & right
        case "unless":
            return left
        case "and":
            filtered = True
        case _:
            filtered = not isinstance(node.lhs, promql.NumberLiteral) or not isinstance(node.rhs, promql.NumberLiteral)
    return left | right | ({(None, Loss.FILTERED)} if filtered and _filters(node.rhs) else frozenset())


def _filters(node: Any) -> bool:
    """Return whether a comparison stands somewhere in an expression, so that it may let nothing through."""
    found: list[bool] = []

    def visit(each: Any) -> None:
        found.append(isinstance(each, promql.BinaryExpr) and str(each.op) in COMPARISONS)

    promql.walk(node, visit)
    return any(found)


def _family(series: str) -> str:
    """Return the name of the metric, without the suffix of a histogram's series."""
    names = {metric.name for metric in METRICS}
    return next(
        (series.removesuffix(end) for end in ("_bucket", "_count", "_sum") if series.removesuffix(end) in names), series
    )


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_what_silences_an_alert_is_covered_or_has_its_reason(alert: Any) -> None:
    open_ends = {loss for job, loss in lost(CONDITIONS[alert.name]) if (job, loss) not in COVERED}
    assert set(alert.silent) == open_ends, "each loss that no alert covers needs its reason in `silent`, and no other"


@pytest.mark.parametrize(("job", "loss"), COVERED)
def test_who_covers_a_loss_does_not_go_silent_with_it(job: Job, loss: Loss) -> None:
    condition = CONDITIONS[COVERED[job, loss]]
    assert (job, loss) not in lost(condition)
    assert f'job="{job}"' in condition.prettify()


@pytest.mark.parametrize(
    ("expr", "ends"),
    [
        ('count(redis_instance_info{job="redis",role="master"}) == 0', {Loss.ROLE}),
        ('redis_connected_slave_lag_seconds{job="redis"} > 5', {Loss.ROLE, Loss.PEER}),
        ('redis_up{job="redis"} == 0', set()),
        ('rate(redis_errors_total{job="redis"}[1m]) > 0', {Loss.UNBORN}),
        ('redis_memory_used_bytes{job="redis"} / (redis_memory_max_bytes{job="redis"} > 0) > 1', {Loss.FILTERED}),
        ('redis_up{job="redis"} == 0 and on (pod) redis_aof_enabled{job="redis"} == 1', {Loss.FILTERED}),
        ('redis_up{job="redis"} == 0 unless on (pod) redis_master_link_up{job="redis"}', set()),
        ('count(redis_instance_info{job="redis",role="master"}) or count(up{job="redis"}) * 0', set()),
        ('absent(redis_master_link_up{job="redis"})', set()),
    ],
)  # fmt: skip
def test_the_rule_sees_a_vector_that_goes_empty(expr: str, ends: set[Loss]) -> None:
    covered = {Loss.UNLISTED, Loss.UNSCRAPED, Loss.UNANSWERED}
    assert {loss for _, loss in lost(promql.parse(expr))} - covered == ends


# -- what the contract says of the series, held against real targets --------------------------------------------------


def test_what_only_one_role_exports_is_declared_so(scraped_by_role: dict[str, set[str]]) -> None:
    master, replica = scraped_by_role["master"], scraped_by_role["replica"]
    bound = {metric for metric in EXPORTER_METRICS & (master | replica) if Loss.ROLE in losses(metric)}
    assert bound == {metric for metric in EXPORTER_METRICS & (master ^ replica) if Loss.UNBORN not in losses(metric)}


@pytest.fixture
def exporter(own_server: Server) -> Iterator[Callable[[], set[str]]]:
    """Return a function that scrapes a real exporter of ``own_server``."""
    binary = shutil.which("redis_exporter") or shutil.which("prometheus-redis-exporter")
    if binary is None:
        pytest.skip("redis_exporter is not on PATH (Debian, Ubuntu: apt-get install prometheus-redis-exporter)")
    address = f"127.0.0.1:{free_port()}"
    command = [binary, "-web.listen-address", address, "-redis.addr", own_server.url, "-connection-timeout", "1s"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield lambda: _scrape(f"http://{address}/metrics")
        process.kill()


def _scrape(url: str) -> set[str]:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as reply:  # noqa: S310  the exporter's
                lines = reply.read().decode().splitlines()
        except urllib.error.URLError:  # it is not up yet
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return {line.partition("{")[0].partition(" ")[0] for line in lines if not line.startswith("#")}


def test_what_ends_with_the_server_is_declared_so(own_server: Server, exporter: Callable[[], set[str]]) -> None:
    alive = exporter() & EXPORTER_METRICS
    own_server.kill()
    left = exporter() & EXPORTER_METRICS
    assert len(alive) > 30
    assert left == {metric for metric in alive if Loss.UNANSWERED not in losses(metric)} == {Exporter.UP}


async def test_what_a_client_exports_is_there_before_the_first_lookup() -> None:
    registry = CollectorRegistry()
    async with AsyncCache.from_url("memory://", namespace="new") as cache:
        register(cache, registry=registry)
        there = {sample.name for family in registry.collect() for sample in family.samples}
    late = {m.name for m in METRICS if not {m.name, f"{m.name}_count"} & there}
    assert late == {m.name for m in METRICS if Loss.UNBORN in losses(m.name)}
