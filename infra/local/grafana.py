"""Grafana in the local environment, where it is installed: provisioned from files, read without a login."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from dashboards.boards import build
from dashboards.provisioning import provider_yaml
from infra.local.programs import LOOPBACK, Ports
from infra.local.state import Places, Process

# Where distributions keep Grafana's own pages; a server that was unpacked by hand has them beside its bin/.
_HOMES: Final = ("/usr/share/grafana", "/usr/local/share/grafana")


def write_provisioning(places: Places, ports: Ports) -> None:
    """Write the data source, the boards, and the file by which Grafana finds them."""
    folder = places.conf / "grafana"
    boards = folder / "boards"
    source = {
        "apiVersion": 1,
        "datasources": [
            {"name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": True, "editable": False,
             "url": f"http://{LOOPBACK}:{ports.prometheus}"},
        ],
    }  # fmt: skip
    files = {
        folder / "datasources" / "prometheus.yaml": yaml.safe_dump(source, sort_keys=False),
        folder / "dashboards" / "cachestack.yaml": provider_yaml(str(boards)),
        **{boards / name: text for name, text in build().items()},
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def grafana(places: Places, binary: Path, ports: Ports) -> Process:
    """Grafana on the loopback interface, with its data in the environment's own folder and nothing sent home."""
    data = places.data / "grafana"
    environment = {
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(places.conf / "grafana"),
        "GF_SERVER_HTTP_ADDR": LOOPBACK,
        "GF_SERVER_HTTP_PORT": str(ports.grafana),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    }
    argv = (str(binary), "--homepath", str(_home(binary)))
    return Process(
        name="grafana", kind="grafana", address=LOOPBACK, port=ports.grafana, argv=argv, environment=environment
    )


def _home(binary: Path) -> Path:
    unpacked = binary.resolve().parent.parent
    return next((Path(home) for home in _HOMES if Path(home).is_dir()), unpacked)
