"""Recording rules and alerts in groups, as a Prometheus rule file and as the spec of a PrometheusRule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from alerts import backups, clients, consistency, objectives, redis_data, redis_servers, sentinels, signals, warmups
from alerts.scope import Scope
from alerts.thresholds import Thresholds
from cacheclient.contract import DASHBOARD_UIDS, SCRAPE_SECONDS

if TYPE_CHECKING:
    from alerts.model import Alert, Recording


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates one after the other, recordings first."""

    name: str
    recordings: tuple[Recording, ...]
    alerts: tuple[Alert, ...]


# A group's alerts may read recordings of an earlier group: those are at most one evaluation old.
GROUPS: Final = (
    Group(
        "cache-client",
        tuple(
            signal.recording()
            for signal in (signals.LOOKUPS, signals.HIT_RATE, signals.L1_HIT_RATE, signals.L2_HIT_RATE)
        )
        + consistency.RECORDINGS,
        clients.HIT_RATE + clients.SERVICE + consistency.ALERTS,
    ),
    Group(
        "redis",
        tuple(signal.recording() for signal in (signals.MASTERS, signals.MEMORY_RATIO, signals.BACKLOG_RATIO)),
        redis_servers.AVAILABILITY
        + redis_servers.REPLICATION
        + redis_data.PERSISTENCE
        + redis_data.MEMORY
        + redis_data.COMMANDS,
    ),
    Group("sentinel", (), sentinels.FAILOVERS + sentinels.QUORUM),
    Group("backup", (), backups.BACKUPS),
    Group("warmup", (), warmups.WARMUPS),
    Group(
        "slo",
        tuple(recording for objective in objectives.OBJECTIVES for recording in objective.recordings()),
        tuple(alert for objective in objectives.OBJECTIVES for alert in objective.alerts()),
    ),
)
ALERTS: Final = tuple(alert for group in GROUPS for alert in group.alerts)
_DEFAULTS: Final = Thresholds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where the annotations point: the runbook page, and the base URL of Grafana (empty: a path within it)."""

    runbooks: str = "docs/runbooks.md"
    grafana: str = ""

    def runbook(self, alert: str) -> str:
        """Return the address of the section about an alert."""
        return f"{self.runbooks}#{alert.lower()}"

    def annotations(self, alert: Alert) -> dict[str, str]:
        """Return the links of one alert: its section of the runbooks and the dashboard that shows the cause."""
        return {
            "runbook_url": self.runbook(alert.name),
            "dashboard_url": f"{self.grafana.rstrip('/')}/d/{DASHBOARD_UIDS[alert.board]}",
        }


_NO_LINKS: Final = Links()


def prometheus_rule_spec(
    namespace: str, thresholds: Thresholds = _DEFAULTS, links: Links = _NO_LINKS
) -> dict[str, list[dict[str, Any]]]:
    """Return the ``spec`` of a PrometheusRule that watches one namespace.

    Raises:
        ValueError: if ``namespace`` is not a Kubernetes name.
    """
    scope = Scope.of_namespace(namespace)
    return {"groups": [_group(group, scope, thresholds, links) for group in GROUPS]}


def prometheus_yaml(namespace: str, thresholds: Thresholds = _DEFAULTS, links: Links = _NO_LINKS) -> str:
    """Return the same rules as the text of a Prometheus rule file.

    Raises:
        ValueError: if ``namespace`` is not a Kubernetes name.
    """
    spec = prometheus_rule_spec(namespace, thresholds, links)
    return yaml.safe_dump(spec, sort_keys=False, width=1000, allow_unicode=True)


def _group(group: Group, scope: Scope, thresholds: Thresholds, links: Links) -> dict[str, Any]:
    recordings = [{"record": recording.name, "expr": recording.expr(scope)} for recording in group.recordings]
    alerts = [_alert(alert, scope, thresholds, links) for alert in group.alerts]
    return {"name": group.name, "interval": f"{SCRAPE_SECONDS}s", "rules": recordings + alerts}


def _alert(alert: Alert, scope: Scope, thresholds: Thresholds, links: Links) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.condition(scope, thresholds),
        "for": alert.hold,
        "labels": {"severity": str(alert.severity)},
        "annotations": {"summary": alert.summary, "description": alert.description, **links.annotations(alert)},
    }
