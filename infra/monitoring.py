"""What Prometheus needs to find the exporters: a ServiceMonitor per set, for clusters with the Prometheus operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from cacheclient.contract import Component, Job
from infra import workloads

if TYPE_CHECKING:
    from infra.settings import Monitoring as MonitoringSettings
    from infra.workloads import Scope

_JOBS: Final = {Component.REDIS: Job.REDIS, Component.SENTINEL: Job.SENTINEL}


def service_monitor_spec(scope: Scope, component: Component, settings: MonitoringSettings) -> dict[str, Any]:
    """Return the ServiceMonitor of a set.

    It matches all Services of the set; only the headless one has a port named ``metrics``, so each pod is scraped once.
    The job label is set to the name that every rule and panel selects by.
    """
    return {
        "selector": {"matchLabels": workloads.selector(scope, component)},
        "namespaceSelector": {"matchNames": [scope.namespace]},
        "endpoints": [
            {
                "port": "metrics",
                "interval": settings.scrape_interval,
                "relabelings": [{"action": "replace", "targetLabel": "job", "replacement": _JOBS[component].value}],
            }
        ],
    }


class Monitoring(pulumi.ComponentResource):
    """The ServiceMonitors of one environment."""

    def __init__(
        self, name: str, scope: Scope, settings: MonitoringSettings, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("cachestack:monitoring:Monitoring", name, None, opts)
        for component in _JOBS:
            labelled = workloads.metadata(scope, component, component.value)
            labelled["labels"] = {**workloads.pod_labels(scope, component), **settings.labels}
            CustomResource(
                f"{component}-monitor",
                api_version="monitoring.coreos.com/v1",
                kind="ServiceMonitor",
                metadata=labelled,
                spec=service_monitor_spec(scope, component, settings),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
