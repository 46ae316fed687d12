"""Grafana in the local environment: started where it is found, with the boards and the data source in place."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from cacheclient.contract import DASHBOARD_UIDS
from infra.local import binaries

# Listens where Grafana would be told to, and answers with what it was told.
STANDS_IN = f"""#!{sys.executable}
import http.server, json, os, sys
told = {{"argv": sys.argv[1:], **{{k: v for k, v in os.environ.items() if k.startswith("GF_")}}}}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(told).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
where = (os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"]))
http.server.HTTPServer(where, Handler).serve_forever()
"""


def test_grafana_is_started_and_provisioned_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = binaries.find()
    if found.prometheus is None:
        pytest.skip("Prometheus is not on PATH, and Grafana has nothing to show without it")
    program = tmp_path / "bin" / "grafana-server"
    program.parent.mkdir()
    program.write_text(STANDS_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    local = [sys.executable, "-m", "infra.local", "--dir", str(tmp_path / "local")]
    up = subprocess.run([*local, "up", "--down-after", "2"], check=True, capture_output=True, text=True)
    try:
        (line,) = (line for line in up.stdout.splitlines() if line.startswith("Grafana  ") and "http" in line)
        url = line.split()[1].removesuffix("dashboards")
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310  it begins with http
            told = json.load(reply)
        provisioning = Path(told["GF_PATHS_PROVISIONING"])
        (provider,) = yaml.safe_load((provisioning / "dashboards" / "cachestack.yaml").read_text())["providers"]
        boards = {path.stem for path in Path(provider["options"]["path"]).iterdir()}
        (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    finally:
        subprocess.run([*local, "down"], check=True, capture_output=True)
    assert boards == set(DASHBOARD_UIDS.values())
    assert source["url"].startswith("http://127.0.0.1:")
    assert told["argv"][0] == "--homepath"
    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert told["GF_PATHS_DATA"].startswith(str(tmp_path))
