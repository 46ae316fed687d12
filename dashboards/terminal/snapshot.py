"""What the terminal view shows at one moment, asked of Prometheus or of one process's own API."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from alerts import signals
from alerts.scope import Scope
from cacheclient.contract import FAILOVER_EVENTS, LISTENER_CONNECTED, Exporter, Job, Tier
from dashboards.preview.results import Prometheus, QueryError, Series

_EVERY: Final = 'namespace=~".+"'
_TIERS: Final = (Tier.ALL, Tier.L1, Tier.L2, Tier.L3)


@dataclass(frozen=True, slots=True)
class Server:
    """One Redis server: ``role`` is master, replica or down; None where it says nothing."""

    name: str
    role: str
    memory_ratio: float | None = None
    clients: float | None = None
    uptime: float | None = None
    link_up: bool | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alert that is pending or firing, and whom it names."""

    name: str
    severity: str
    state: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state at Unix time ``moment``: ratios 0 to 1, seconds, None for what is not known.

    ``problem`` says why nothing is known.
    """

    moment: float
    source: str
    problem: str = ""
    lookups: float | None = None
    hit_rate: float | None = None
    l1_hit_rate: float | None = None
    l2_hit_rate: float | None = None
    p95: Mapping[str, float] = field(default_factory=dict)
    processes: int | None = None
    listening: int | None = None
    servers: tuple[Server, ...] = ()
    lag: float | None = None
    sentinels: float | None = None
    quorum: bool | None = None
    failovers: float | None = None
    alarms: tuple[Alarm, ...] | None = None


def from_prometheus(prometheus: Prometheus, namespace: str = "", window: str = "") -> Snapshot:
    """Ask everything at once; a Prometheus that does not answer is a snapshot that says so."""
    now = time.time()
    try:
        window = window or f"{4 * prometheus.scrape_seconds():.0f}s"
        with ThreadPoolExecutor(8) as pool:
            asked = {name: pool.submit(prometheus.at, expr, now) for name, expr in _queries(namespace, window).items()}
            found = {name: answer.result() for name, answer in asked.items()}
    except QueryError as error:
        return Snapshot(moment=now, source=prometheus.url, problem=str(error))
    return Snapshot(
        moment=now, source=prometheus.url, lookups=_sum(found["lookups"]), hit_rate=_worst(found["hit_rate"]),
        l1_hit_rate=_worst(found["l1_hit_rate"]), l2_hit_rate=_worst(found["l2_hit_rate"]),
        p95={s.labels["tier"]: s.last for s in found["p95"]}, processes=_count(found["listening"]),
        listening=_count([s for s in found["listening"] if s.last > 0]), servers=_servers(found),
        lag=_largest(found["lag"]), sentinels=_worst(found["sentinels"]),
        quorum=None if not found["quorum"] else _worst(found["quorum"]) == 1, failovers=_largest(found["failovers"]),
        alarms=_alarms(found["alerts"]),
    )  # fmt: skip


def from_api(url: str, timeout: float = 5.0) -> Snapshot:
    """Ask one process for its own figures: hit rates since it started, no topology, no alerts.

    Raises:
        ValueError: if ``url`` is no http or https URL.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError(f"api {url!r}: an http:// or https:// URL")
    now = time.time()
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/cache/stats", timeout=timeout) as reply:  # noqa: S310  checked
            stats: dict[str, Any] = json.load(reply)
        tiers = {tier: stats[tier].get("p95_seconds") for tier in ("l1", "l2")}
        return Snapshot(
            moment=now, source=url, hit_rate=stats["combined"]["hit_rate"], l1_hit_rate=stats["l1"]["hit_rate"],
            l2_hit_rate=stats["l2"]["hit_rate"], p95={t: v for t, v in tiers.items() if v is not None},
            failovers=stats.get("failovers"), processes=1, listening=int(bool(stats.get("listener_connected"))),
        )  # fmt: skip
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return Snapshot(moment=now, source=url, problem=f"no answer from {url}: {getattr(error, 'reason', error)}")


def _queries(namespace: str, window: str) -> dict[str, str]:
    within = f'namespace="{namespace}"' if namespace else _EVERY
    scope = Scope(
        redis_targets=f'job="{Job.REDIS}",{within}', sentinel_targets=f'job="{Job.SENTINEL}",{within}',
        client_targets=within, process_targets=within, recorded_series=within, window=window,
    )  # fmt: skip
    by_pod: Callable[[str], str] = lambda metric: f"max by (pod) ({scope.redis(metric)})"  # noqa: E731  used below only
    tiers = "|".join(_TIERS)
    buckets = scope.rate(scope.client("cache_lookup_duration_seconds_bucket", f'tier=~"{tiers}"'))
    return {
        "lookups": signals.looked_up(scope),
        "hit_rate": signals.hit_rate(scope),
        "l1_hit_rate": signals.tier_hit_rate(scope, Tier.L1),
        "l2_hit_rate": signals.tier_hit_rate(scope, Tier.L2),
        "p95": f"histogram_quantile(0.95, sum by (tier, le) ({buckets}))",
        "listening": scope.client(LISTENER_CONNECTED.name),
        "role": f"max by (pod, role) ({scope.redis(Exporter.INSTANCE_INFO)})",
        "up": by_pod(Exporter.UP),
        "memory": f"max by (pod) ({signals.MEMORY_RATIO.expr(scope)})",
        "clients": by_pod(Exporter.CLIENTS),
        "uptime": by_pod(Exporter.UPTIME),
        "link": by_pod(Exporter.MASTER_LINK_UP),
        "lag": signals.REPLICATION_LAG.expr(scope),
        "sentinels": signals.USABLE_SENTINELS.expr(scope),
        "quorum": signals.QUORUM.expr(scope),
        "failovers": f"max by (namespace) (round(increase({scope.client(FAILOVER_EVENTS.name)}[1h])))",
        "alerts": f"ALERTS{{{within}}}",
    }


def _servers(found: Mapping[str, list[Series]]) -> tuple[Server, ...]:
    def of(name: str) -> dict[str, float]:
        return {series.labels.get("pod", ""): series.last for series in found[name]}

    roles = {s.labels["pod"]: {"slave": "replica"}.get(s.labels["role"], s.labels["role"]) for s in found["role"]}
    memory, clients, uptime, link, up = (of(name) for name in ("memory", "clients", "uptime", "link", "up"))
    return tuple(
        Server(
            pod,
            roles.get(pod, "unknown") if up[pod] else "down",
            memory.get(pod),
            clients.get(pod),
            uptime.get(pod),
            bool(link[pod]) if pod in link else None,
        )
        for pod in sorted(up)
    )


def _alarms(series: list[Series]) -> tuple[Alarm, ...]:
    rank = {"critical": 0, "warning": 1, "info": 2}
    found = [
        Alarm(
            s.labels["alertname"], s.labels.get("severity", ""), s.labels["alertstate"],
            s.labels.get("pod") or s.labels.get("master_name") or s.labels.get("namespace", ""),
        )
        for s in series
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda a: (a.state != "firing", rank.get(a.severity, 3), a.name, a.where)))


def _sum(series: list[Series]) -> float | None:
    return sum(s.last for s in series) if series else None


def _worst(series: list[Series]) -> float | None:
    return min((s.last for s in series), default=None)


def _largest(series: list[Series]) -> float | None:
    return max((s.last for s in series), default=None)


def _count(series: list[Series]) -> int:
    return len(series)
