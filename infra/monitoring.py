"""What Prometheus and Grafana need: a ServiceMonitor per component, the rules, and a ConfigMap per dashboard.

Custom resources are for clusters with the Prometheus operator: without its definitions the API server refuses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import ConfigMap

from alerts.rules import Links, prometheus_rule_spec
from cacheclient.contract import Component, Job
from cacheclient.savings import Prices
from dashboards.provisioning import config_maps
from infra import workloads
from infra.alert_limits import limits

if TYPE_CHECKING:
    from pulumi_kubernetes.meta.v1 import ObjectMetaArgsDict

    from infra.settings import Settings
    from infra.settings_schema import Cost
    from infra.settings_schema import Monitoring as MonitoringSettings
    from infra.workloads import Scope

_API: Final = "monitoring.coreos.com/v1"
_JOBS: Final = {Component.REDIS: Job.REDIS, Component.SENTINEL: Job.SENTINEL, Component.API: Job.API}
_PORTS: Final = {Component.REDIS: "metrics", Component.SENTINEL: "metrics", Component.API: "http"}


def service_monitor_spec(scope: Scope, component: Component, settings: MonitoringSettings) -> dict[str, Any]:
    """Return the ServiceMonitor of a component.

    It matches all Services of a set; only the headless one has a port named ``metrics``, so each pod is scraped once.
    The job label is set to the name that every rule and panel selects by.
    """
    return {
        "selector": {"matchLabels": workloads.selector(scope, component)},
        "namespaceSelector": {"matchNames": [scope.namespace]},
        "endpoints": [
            {
                "port": _PORTS[component],
                "interval": settings.scrape_interval,
                "relabelings": [{"action": "replace", "targetLabel": "job", "replacement": _JOBS[component].value}],
            }
        ],
    }


def links(settings: MonitoringSettings) -> Links:
    """Return where alerts point, as far as the stack says."""
    given = {"runbooks": settings.runbooks, "grafana": settings.grafana}
    return Links(**{name: address for name, address in given.items() if address})


def prices(cost: Cost) -> Prices:
    """Return the prices of the dashboard and of the cache API."""
    return Prices(**msgspec.structs.asdict(cost))


class Monitoring(pulumi.ComponentResource):
    """The ServiceMonitors, the PrometheusRule and the dashboards of one environment."""

    def __init__(self, name: str, scope: Scope, settings: Settings, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cachestack:monitoring:Monitoring", name, None, opts)
        self._scope, self._settings = scope, settings
        for component in _JOBS if settings.api.enabled else (Component.REDIS, Component.SENTINEL):
            spec = service_monitor_spec(scope, component, settings.monitoring)
            self._custom(f"{component}-monitor", "ServiceMonitor", component, component.value, spec)
        rules = prometheus_rule_spec(scope.namespace, limits(settings), links(settings.monitoring))
        self._custom("rules", "PrometheusRule", Component.REDIS, scope.instance, rules)
        if settings.monitoring.dashboards:
            self._dashboards()
        self.register_outputs({})

    def _custom(self, name: str, kind: str, component: Component, object_name: str, spec: dict[str, Any]) -> None:
        CustomResource(
            name,
            api_version=_API,
            kind=kind,
            metadata=self._labelled(component, object_name, self._settings.monitoring.labels),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _dashboards(self) -> None:
        settings = self._settings
        boards = config_maps(
            thresholds=limits(settings), links=links(settings.monitoring), prices=prices(settings.cost)
        )
        for name, board in boards.items():
            labelled = self._labelled(Component.REDIS, name, board["labels"])
            labelled["annotations"] = board["annotations"]
            ConfigMap(name, metadata=labelled, data=board["data"], opts=pulumi.ResourceOptions(parent=self))

    def _labelled(self, component: Component, name: str, labels: dict[str, str]) -> ObjectMetaArgsDict:
        metadata = workloads.metadata(self._scope, component, name)
        metadata["labels"] = {**workloads.pod_labels(self._scope, component), **labels}
        return metadata
