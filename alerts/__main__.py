"""Write the rules, or an example for Alertmanager: ``python -m alerts --namespace cache-prod --out rules.yml``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml

from alerts.routing import alertmanager_yaml
from alerts.rules import ALERTS, Links, prometheus_rule_spec, prometheus_yaml
from alerts.thresholds import Thresholds

_EXAMPLE = {name: f"https://hooks.example/{name}" for name in ("page", "chat", "log")}


def main(arguments: list[str] | None = None) -> int:
    """Print the rules, or write them to ``--out``; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m alerts", description="Write the Prometheus rules of one namespace."
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--namespace", help="Kubernetes namespace the rules watch, e.g. cache-prod")
    wanted.add_argument(
        "--alertmanager",
        action="store_true",
        help="write Alertmanager's configuration instead: routes by severity, and which alert silences which; "
        "put the URLs of your receivers in place of the example's",
    )
    parser.add_argument("--runbooks", default=Links().runbooks, help="URL of the runbook page (default: %(default)s)")
    parser.add_argument("--grafana", default=Links().grafana, help="base URL of Grafana, for links to dashboards")
    parser.add_argument("--json", action="store_true", help="write JSON, which is YAML, too")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    options = parser.parse_args(arguments)
    try:
        text = _text(options)
        if options.out is None:
            sys.stdout.write(text)
        else:
            options.out.write_text(text, encoding="utf-8")
            what = "routes and inhibitions" if options.alertmanager else f"{len(ALERTS)} alerts"
            sys.stderr.write(f"{what} written to {options.out}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"alerts: {error}\n")
        return 2
    return 0


def _text(options: argparse.Namespace) -> str:
    if options.alertmanager:
        text = alertmanager_yaml(_EXAMPLE)
        return _as_json(yaml.safe_load(text)) if options.json else text
    links = Links(runbooks=options.runbooks, grafana=options.grafana)
    if options.json:
        return _as_json(prometheus_rule_spec(options.namespace, Thresholds(), links))
    return prometheus_yaml(options.namespace, Thresholds(), links)


def _as_json(document: object) -> str:
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
