"""What Prometheus scrapes locally, and with which labels: the same job and label names as in a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from cacheclient.contract import Job
from infra import exporter
from infra.local.programs import LOOPBACK, STACK, Ports
from infra.local.state import Process

INTERVAL: Final = "2s"


def prometheus_config(
    nodes: Iterable[Process], ports: Ports, rule_file: Path, discovery: Path, *, with_api: bool
) -> str:
    """Return the text of ``prometheus.yml``: each node through its exporter, processes with the client, one rule file.

    Those are the API, and whatever process announces itself by a file in the folder ``discovery``.
    """
    by_kind: dict[str, list[Process]] = {"redis": [], "sentinel": []}
    for node in nodes:
        by_kind[node.kind].append(node)
    jobs = [
        _through_exporter(Job.REDIS, by_kind["redis"], ports.redis_exporter),
        _through_exporter(Job.SENTINEL, by_kind["sentinel"], ports.sentinel_exporter),
    ]
    found = {"files": [f"{discovery}/*.json"], "refresh_interval": INTERVAL}
    place = [{"target_label": "namespace", "replacement": STACK}]
    clients: dict[str, Any] = {"job_name": str(Job.API), "file_sd_configs": [found], "relabel_configs": place}
    if with_api:
        labels = {"pod": "cache-api", "instance": "cache-api"}
        clients["static_configs"] = [{"targets": [f"{LOOPBACK}:{ports.api}"], "labels": labels}]
    jobs.append(clients)
    config = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(rule_file)],
        "scrape_configs": jobs,
    }
    return str(yaml.safe_dump(config, sort_keys=False))


def _through_exporter(job: Job, nodes: list[Process], exporter_port: int) -> dict[str, Any]:
    """Ask one exporter for many nodes: the node's address is a parameter of the scrape."""
    return {
        "job_name": str(job),
        "metrics_path": "/scrape",
        "static_configs": [
            {
                "targets": [exporter.address(node.address, node.port, tls=node.encrypted)],
                "labels": {"namespace": STACK, "pod": node.name, "instance": node.name},
            }
            for node in nodes
        ],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"target_label": "__address__", "replacement": f"{LOOPBACK}:{exporter_port}"},
        ],
    }


def exporter_passwords(nodes: Iterable[Process], *, user: str, password: str) -> str:
    """Return the password file of an exporter that asks these nodes."""
    return exporter.password_file((node.address, node.port, user, password) for node in nodes)
