"""How Grafana finds the dashboards: ConfigMaps for its sidecar in a cluster, a provider file elsewhere."""

from __future__ import annotations

from typing import Any, Final

import yaml

from alerts.rules import Links
from alerts.thresholds import Thresholds
from cacheclient.savings import Prices
from dashboards.boards import build

# What the sidecar of the Grafana chart looks for, by default.
SIDECAR_LABEL: Final = {"grafana_dashboard": "1"}
FOLDER_ANNOTATION: Final = "grafana_folder"
_DEFAULTS: Final = Thresholds()
_PRICES: Final = Prices()
_NO_LINKS: Final = Links()


def config_maps(
    folder: str = "Cache", thresholds: Thresholds = _DEFAULTS, links: Links = _NO_LINKS, prices: Prices = _PRICES
) -> dict[str, dict[str, Any]]:
    """Return the labels, annotations and data of one ConfigMap per dashboard, by the name of the ConfigMap.

    The sidecar takes one dashboard per key ending in ``.json``. It reads the folder's annotation only where the chart
    sets ``sidecar.dashboards.folderAnnotation``; otherwise the dashboards land in the general folder.
    """
    return {
        f"dashboard-{name.removesuffix('.json')}": {
            "labels": dict(SIDECAR_LABEL),
            "annotations": {FOLDER_ANNOTATION: folder},
            "data": {name: text},
        }
        for name, text in build(thresholds, links, prices).items()
    }


def provider_yaml(path: str, folder: str = "Cache") -> str:
    """Return the file for ``provisioning/dashboards`` that makes Grafana read the dashboards from ``path``."""
    provider = {
        "name": "cachestack",
        "folder": folder,
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": path},
    }
    return yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False)
